"""Every way around what an older kernel lacks, forced on this one: containers are the same on each."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ardock
from ardock.engine import own_engine
from ardock.engine.containers.resolve import MOST_LAYERS
from ardock.engine.kernel_paths import kernel_features, kernel_paths

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

EVERYTHING = "lowerdir+,lowerdir+fd,open_tree_attr,mfd_exec,idmap,proc_pidns"
"""What can be done without on every kernel, but memfds."""

WITHOUT = ["", "lowerdir+", "open_tree_attr", "mfd_exec", "memfd", EVERYTHING, f"{EVERYTHING},memfd"]


def layers(folder: Path, count: int, rootfs: str) -> list[str]:
    """`count` layers upon one with programs, each with a file of its own and one that all have."""
    paths = []
    for number in range(count - 1):
        path = folder / f"layer-{number}"
        path.mkdir()
        (path / f"n{number}").touch()
        (path / "who").write_text(str(number))
        paths.append(str(path))
    return [*paths, rootfs]


async def seen(engine: ardock.interface.Engine, paths: list[str], scratch: str) -> list[bytes]:
    spec = ardock.ContainerSpec(
        argv=("sh", "-c", "cat /who; echo; ls / | grep -c '^n[0-9]'; echo > /made; cat /proc/sys/kernel/panic"),
        layers=tuple(paths),
        scratch="disk" if scratch == "disk" else "memory",
    )
    result = await engine.containers.run(spec, timeout=60)
    assert result.exit_code == 0, result
    return result.stdout.split()[:2]


@pytest.mark.parametrize("without", WITHOUT)
async def test_containers_run_the_same_without_what_newer_kernels_have(
    without: str, tmp_path: Path, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", without)
    paths = layers(tmp_path, 5, rootfs)
    async with own_engine(tmp_path / "root", tmp_path / "run") as engine:
        for scratch in ("disk", "memory"):
            assert await seen(engine, paths, scratch) == [b"0", b"4"]
        result = await engine.containers.run(["sh", "-c", "echo 1 > /proc/sys/kernel/panic"], rootfs=rootfs)
        assert result.exit_code == 1
        assert b"Read-only file system" in result.stderr


@pytest.mark.parametrize("without", ["", "lowerdir+"])
async def test_as_many_layers_as_docker_takes(
    without: str, tmp_path: Path, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", without)
    paths = layers(tmp_path, 127, rootfs)
    async with own_engine(tmp_path / "root", tmp_path / "run") as engine:
        for scratch in ("disk", "memory"):
            assert await seen(engine, paths, scratch) == [b"0", b"126"]


@pytest.mark.parametrize("without", ["", "lowerdir+"])
async def test_as_many_layers_as_overlay_takes(
    without: str, tmp_path: Path, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", without)
    paths = layers(tmp_path, MOST_LAYERS, rootfs)
    async with own_engine(tmp_path / "root", tmp_path / "run") as engine:
        assert await seen(engine, paths, "disk") == [b"0", str(MOST_LAYERS - 1).encode()]
        with pytest.raises(ardock.InvalidArgument, match="501 are given, and the overlay file system takes 500"):
            await engine.containers.run(["true"], layers=[str(tmp_path), *paths])


@pytest.mark.parametrize(("without", "binary"), [("", None), ("memfd", "read-only mount of its file")])
async def test_the_log_and_info_tell_once_which_ways_are_taken(
    without: str,
    binary: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", without)
    caplog.set_level(logging.INFO, "ardock.engine")
    async with own_engine(tmp_path / "root", tmp_path / "run") as engine:
        told = (await engine.info()).kernel_paths
        told_in_log = [vars(record)["fields"] for record in caplog.records if record.name == "ardock.engine"]
        assert told_in_log == [told]
        assert set(told) == {path.key for path in kernel_paths({})}
        assert binary is None or told["keeper_binary"] == binary


async def test_an_unknown_feature_is_refused_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", "lowerdir")
    with pytest.raises(ardock.InvalidArgument, match=r"\"lowerdir\" is none of overlay, lowerdir\+"):
        async with own_engine(tmp_path / "root", tmp_path / "run"):
            pass


def test_doctor_and_info_tell_each_way_and_what_is_done_instead(tmp_path: Path) -> None:
    def told(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("ardock")), "--root", str(tmp_path), *arguments]
        environment = {**os.environ, "ARDOCK_KERNEL_WITHOUT": EVERYTHING}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment).stdout

    checks = {check["name"]: check for check in json.loads(told("doctor", "--format", "json"))["checks"]}
    found = {name: (checks[name]["status"], checks[name]["found"]) for name in ("overlay layers", "joined proc")}
    assert found == {
        "overlay layers": ("ok", "by links with short names; lowerdir+ (since 6.8): no"),
        "joined proc": (
            "note",
            "refused; proc_pidns (since 6.17): no: a container in another's pid namespace gets no /proc",
        ),
    }
    assert json.loads(told("info", "--format", "json"))["kernel_paths"]["overlay_layers"] == "by links with short names"
    row = next(line for line in told("info").splitlines() if line.startswith("overlay layers"))
    assert row.split("  ")[-1] == "by links with short names"


def test_looking_is_quick_and_told_by_name() -> None:
    features = kernel_features()
    assert features["overlay"]
    assert {path.feature for path in kernel_paths(features)} == set(features) - {"overlay"}
