"""`--storage-driver` and `--storage-opt` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.engine.folders import Folders

pytestmark = pytest.mark.root


def command(folders: Folders, *words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "ardock.cli",
        "--root",
        str(folders["root"]),
        "--run-dir",
        str(folders["run_dir"]),
        *words,
    ]


@contextmanager
def daemon(folders: Folders, *words: str) -> Iterator[None]:
    process = subprocess.Popen(command(folders, "daemon", *words), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "serving" in line:
                break
        else:
            pytest.fail("it ended")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_the_daemons_driver_is_told_by_info(folders: Folders) -> None:
    with daemon(folders, "--storage-driver", "vfs", "--storage-opt", "size=1g"):
        shown = subprocess.run(command(folders, "info", "--format", "json"), capture_output=True, text=True, check=True)
        text = subprocess.run(command(folders, "info"), capture_output=True, text=True, check=True).stdout
    server = json.loads(shown.stdout)["server"]
    assert (server["storage_driver"], server["storage_reason"]) == ("vfs", "asked for by --storage-driver")
    assert "vfs: asked for by --storage-driver" in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--storage-driver", "zfs"), "give overlay, btrfs, vfs, devicemapper or aufs"),
        (("--storage-opt", "size"), "give NAME=VALUE"),
        (("--storage-opt", "overlay2.size=1g"), "there is no option 'overlay2.size'"),
        (("--storage-driver", "vfs", "--storage-opt", "dm.fs=xfs"), "dm.fs is an option of the driver devicemapper"),
    ],
)
def test_what_is_wrong_is_one_sentence(folders: Folders, words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(command(folders, "daemon", *words), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_size_for_a_container_in_memory_is_its_tmpfs(folders: Folders, rootfs: str) -> None:
    words = ("run", "--rm", "--rootfs", rootfs, "--scratch", "memory", "--storage-opt", "size=1m")
    done = subprocess.run(
        command(folders, *words, "dd", "if=/dev/zero", "of=/f", "bs=1M", "count=4"), capture_output=True, check=False
    )
    assert b"No space left" in done.stderr
