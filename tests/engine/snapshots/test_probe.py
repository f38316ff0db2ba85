"""Which driver a root folder gets, and why; it keeps it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import ardock
from ardock.engine import own_engine
from ardock.engine.snapshots import open_storage, tidy
from ardock.engine.snapshots.options import parse
from ardock.model.errors import InvalidArgument, Unsupported
from tests.engine.folders import Folders
from tests.engine.snapshots.loops import file_system

pytestmark = pytest.mark.root


def test_overlay_where_it_works(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    if storage.driver.name != "overlay":
        pytest.skip(f"overlays do not work in {tmp_path}: {storage.reason}")
    assert storage.reason.startswith("overlays work on the root folder's file system (")
    assert os.listdir(tmp_path) == ["snapshots"]  # nothing is left of the trial


def test_vfs_where_the_kernel_has_no_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", "overlay")
    storage = open_storage(tmp_path)
    assert storage.driver.name == "vfs"
    assert "this kernel has no overlay file system" in storage.reason
    # It keeps what it has, also once there is a better one, and says why it was taken.
    monkeypatch.delenv("ARDOCK_KERNEL_WITHOUT")
    again = open_storage(tmp_path)
    assert again.driver.name == "vfs"
    assert again.reason == f"the root folder was made with it: {storage.reason}"


def test_btrfs_where_the_root_folder_is_on_one_and_the_kernel_has_no_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARDOCK_KERNEL_WITHOUT", "overlay")
    with file_system(tmp_path, "btrfs") as root:
        storage = open_storage(root)
        assert storage.driver.name == "btrfs"
        assert storage.reason.startswith("the root folder is on btrfs, and overlay cannot be used: ")


def test_an_upper_directory_that_cannot_be_one_is_found_by_trying(tmp_path: Path) -> None:
    """No whiteout can be made in an overlay, so none can be the upper directory of another."""
    root = tmp_path / "merged"
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = ",".join(f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work"))
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)
    try:
        storage = open_storage(root)
        assert storage.driver.name == "vfs"
        assert "overlay cannot be used: the kernel refuses it there (" in storage.reason
        assert "(overlay)" in storage.reason
    finally:
        subprocess.run(["umount", root], check=True)


def test_another_driver_than_it_was_made_with_is_refused(tmp_path: Path) -> None:
    open_storage(tmp_path, "vfs")
    with pytest.raises(InvalidArgument, match=r"overlay was asked for, .* was made with vfs, .* give vfs, or another"):
        open_storage(tmp_path, "overlay")
    assert open_storage(tmp_path).driver.name == "vfs"


def test_what_is_no_driver_or_cannot_be_used_leaves_the_folder_open_to_others(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="there is no driver 'zfs'"):
        open_storage(tmp_path, "zfs")
    with file_system(tmp_path, "ext4") as root:
        with pytest.raises(Unsupported, match=r"btrfs needs a root folder on a btrfs, and .* is on ext4"):
            open_storage(root, "btrfs")
        assert open_storage(root, "vfs").driver.name == "vfs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"siz": "1"}, "there is no option 'siz'"),
        ({"size": "many"}, "invalid size"),
        ({"size": "0"}, "more than 0"),
        ({"dm.fs": "reiserfs"}, "give ext4 or xfs"),
        ({"dm.blocksize": "100k"}, "multiple of 64k"),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse(options)


def test_options_are_read() -> None:
    found = parse({"size": "1g", "dm.basesize": "2g", "dm.fs": "xfs", "dm.thinpooldev": "pool"})
    assert found.size == 1 << 30
    assert (found.devicemapper.basesize, found.devicemapper.fs, found.devicemapper.thinpooldev) == (
        2 << 30,
        "xfs",
        "pool",
    )


def test_another_drivers_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"dm.fs is an option of the driver devicemapper"):
        open_storage(tmp_path, "vfs", {"dm.fs": "xfs"})


def test_what_nobody_knows_is_removed_when_an_engine_opens(tmp_path: Path) -> None:
    driver = open_storage(tmp_path, "vfs").driver
    for key in ("mine", "stray"):
        driver.prepare(key, ())
    for number in range(2):
        driver.prepare("layer", ())
        driver.commit("layer", f"{number:064x}")
    tidy(driver, {"mine", "unknown"}, {f"{0:064x}"})
    assert (driver.keys(), driver.committed()) == ({"mine"}, {f"{0:064x}"})


async def test_info_tells_the_driver_and_why(folders: Folders) -> None:
    async with own_engine(**folders, storage_driver="vfs") as engine:
        info = await engine.info()
        assert (info.storage_driver, info.storage_reason) == ("vfs", "asked for by --storage-driver")
    with pytest.raises(ardock.InvalidArgument, match="made with vfs"):
        async with own_engine(**folders, storage_driver="overlay"):
            pass
