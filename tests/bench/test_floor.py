"""The floor program does what it says and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import build, peers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and control groups need root"),
    pytest.mark.skipif(
        not Path("/sys/fs/cgroup/memory/tasks").exists(), reason="the floor program knows cgroup v1 only so far"
    ),
]


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return build.rootfs(tmp_path / "rootfs")


def floor(rootfs: Path, *options: str) -> list[dict[str, Any]]:
    command = [str(build.floor()), "--rootfs", str(rootfs), "--group", f"{peers.GROUP}-test", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def groups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"*/{peers.GROUP}-test"))


@pytest.mark.parametrize(
    "options",
    [
        ("--no-seccomp",),
        ("--no-seccomp", "--threads"),
        ("--no-seccomp", "--capture"),
        ("--bare",),
        ("--bare", "--capture"),
        *[
            ("--no-seccomp", f"--no-{piece}")
            for piece in (
                "net", "cgroup-ns", "groups", "memory-group", "devices", "pts", "mqueue", "sys", "files", "masks",
                "readonly", "capabilities",
            )
        ],
    ],
)  # fmt: skip
def test_every_choice_of_pieces_starts_containers_and_leaves_nothing(rootfs: Path, options: tuple[str, ...]) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    results = floor(rootfs, "-n", "12", "-j", "1,3", *options)
    assert [(result["in_flight"], result["n"]) for result in results] == [(1, 12), (3, 12)]
    assert all(0 < result["exec_p50_ms"] <= result["p50_ms"] <= result["p99_ms"] for result in results)
    assert groups() == []
    assert Path("/proc/self/mounts").read_text() == mounts


@pytest.mark.parametrize("options", [(), ("--volatile",), ("--bare",)])
def test_uppers_on_the_disk_are_removed(rootfs: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    seccomp = () if "--bare" in options else ("--no-seccomp",)
    floor(rootfs, "-n", "5", "-j", "2", "--scratch", "disk", "--work", str(work), *options, *seccomp)
    assert list(work.iterdir()) == []


def test_kept_containers_stay_until_standard_input_ends(rootfs: Path) -> None:
    options = ["--rootfs", str(rootfs), "--group", f"{peers.GROUP}-test", "--no-seccomp", "-n", "3", "--keep"]
    with subprocess.Popen(
        [str(build.floor()), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"kept": 3}
        tasks = list(Path("/sys/fs/cgroup/memory").glob(f"{peers.GROUP}-test/k1/*/tasks"))
        assert sum(len(file.read_text().split()) for file in tasks) == 3
        process.stdin.close()
    assert process.returncode == 0
    assert groups() == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--no-seccomp", "--no-such-piece"), "unknown option: --no-such-piece"),
        (("--no-seccomp", "-j", "0"), "-j: numbers from 1 to 256"),
        (("--no-seccomp", "--scratch", "disk"), "--scratch disk needs: --work DIR"),
        ((), "missing: --seccomp FILE"),
    ],
)
def test_wrong_options_are_named(rootfs: Path, options: tuple[str, ...], problem: str) -> None:
    done = subprocess.run([build.floor(), "--rootfs", rootfs, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert problem in done.stderr
