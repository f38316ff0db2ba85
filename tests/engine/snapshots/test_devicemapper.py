"""`devicemapper`: where the kernel has thin provisioning, as in the virtual machine of ``make test-vm``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ardock.engine.snapshots import Driver
from ardock.engine.snapshots.devicemapper import Devicemapper
from ardock.engine.snapshots.options import DeviceMapperOptions
from ardock.model.errors import DiskFull, FolderUnusable, Unsupported
from tests.engine.snapshots.layers import commit, file
from tests.engine.snapshots.suite import PLACES, Opener, Suite, chain, open_driver

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def thin_provisioning(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("thin")
    try:
        open_driver("devicemapper", home).close()
    except (Unsupported, FolderUnusable) as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("thin_provisioning")
class TestDevicemapper(Suite):
    """The suite, and what is its own."""

    name = "devicemapper"
    places = (*PLACES, "devicemapper.prepare.recorded", "devicemapper.prepare.mounted",
              "devicemapper.make.before", "devicemapper.make.made")  # fmt: skip

    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Path]:
        home = tmp_path / "home"
        yield home
        left = subprocess.run(["dmsetup", "ls"], capture_output=True, text=True, check=True).stdout
        assert "ardock" not in left, left
        assert str(home) not in Path("/proc/self/mounts").read_text()
        loops = subprocess.run(
            ["losetup", "--list", "--output", "BACK-FILE"], capture_output=True, text=True, check=True
        )
        assert str(home) not in loops.stdout

    def orphans(self, home: Path, driver: Driver) -> list[str]:
        """Neither in the folder nor in the pool."""
        known = driver.committed() | driver.keys()
        numbers = {self._number(home, name) for name in (*known, ".base")}
        assert isinstance(driver, Devicemapper)
        pool = driver._pool.name
        subprocess.run(["dmsetup", "message", f"{pool}-pool", "0", "reserve_metadata_snap"], check=True)
        try:
            loops = subprocess.run(["losetup", "--associated", home / ".pool" / "metadata", "--noheadings", "-O", "NAME"],
                                   capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
            listed = subprocess.run(["thin_ls", "--metadata-snap", "--no-headers", "-o", "DEV", loops[0]],
                                    capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
        finally:
            subprocess.run(["dmsetup", "message", f"{pool}-pool", "0", "release_metadata_snap"], check=True)
        strays = [f"device {number}" for number in sorted(set(map(int, listed)) - numbers)]
        return [each for each in super().orphans(home, driver) if each not in (".base", ".pool")] + strays

    def _number(self, home: Path, name: str) -> int:
        folder = name if len(name) == 64 or name == ".base" else f".tmp-{name}"
        number: int = msgspec.json.decode((home / folder / "device").read_bytes())["number"]
        return number

    def test_a_full_pool_is_a_full_disk_and_room_comes_back(self, home: Path) -> None:
        options = DeviceMapperOptions(basesize=256 << 20, loopdatasize=64 << 20, loopmetadatasize=16 << 20)
        driver = Devicemapper(home, options)
        try:
            small = commit(driver, chain(1), (), [file("a", b"a")])
            path = driver.prepare("key", [small])
            with pytest.raises(OSError, match=r"No space|Input/output|Read-only"):
                fill(path / "big", 128 << 20)
            with pytest.raises(DiskFull, match=r"thin pool .* is full"):
                driver.prepare("other", [small])
            with pytest.raises((DiskFull, FolderUnusable)):
                driver.commit("key", chain(2))
            driver.remove("key")
            assert (driver.committed(), driver.keys()) == ({small}, set())
            path = driver.prepare("other", [small])
            assert (path / "a").read_bytes() == b"a"
            (path / "b").write_bytes(b"b" * (1 << 20))
            driver.commit("other", chain(2))
            assert (driver.view("view", [chain(2), small]) / "b").stat().st_size == 1 << 20
            driver.remove("view")
        finally:
            for name in driver.keys() | driver.committed():
                driver.remove(name)
            driver.close()

    def test_a_size_is_that_of_the_file_system(self, driver: Driver) -> None:
        small = commit(driver, chain(1), (), [file("a", b"a")])
        with pytest.raises(Unsupported, match=r"dm\.basesize"):
            driver.prepare("key", [small], size=1 << 20)
        path = driver.prepare("key", [small], size=400 << 20, container=True)
        found = os.statvfs(path)
        assert 300 << 20 < found.f_blocks * found.f_frsize <= 400 << 20
        driver.release("key")
        again = Path(driver.mounts([small], "key").directories[0])
        assert os.statvfs(again).f_blocks == found.f_blocks
        assert (again / "a").read_bytes() == b"a"

    def test_what_is_looked_at_stays_mounted_and_no_longer(self, driver: Driver) -> None:
        path = driver.prepare("key", (), container=True)
        (path / "a").write_bytes(b"a")
        with driver.directories("key", ()) as found:
            driver.release("key")  # its container has ended
            assert (Path(found.dirs[0]) / "a").read_bytes() == b"a"
        assert not path.parent.is_mount()
        with driver.directories("key", ()) as found:
            assert (Path(found.dirs[0]) / "a").read_bytes() == b"a"
        assert not path.parent.is_mount()
        assert driver.mounts((), "key").directories == (str(path),)
        with driver.directories("key", ()):
            pass
        assert (path / "a").read_bytes() == b"a"  # it runs

    def test_xfs(self, home: Path) -> None:
        driver = Devicemapper(
            home, DeviceMapperOptions(fs="xfs", basesize=320 << 20, loopdatasize=1 << 30, loopmetadatasize=16 << 20)
        )
        try:
            lower = commit(driver, chain(1), (), [file("a", b"a")])
            upper = commit(driver, chain(2), (lower,), [file("b", b"b")])
            path = driver.prepare("key", [upper, lower], size=512 << 20, container=True)
            assert sorted(each.name for each in path.iterdir()) == ["a", "b"]
            assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 400 << 20
        finally:
            for name in driver.keys() | driver.committed():
                driver.remove(name)
            driver.close()

    def test_a_pool_that_is_not_the_one_that_was_left_is_found_out(self, home: Path, opener: Opener) -> None:
        driver = opener()
        commit(driver, chain(1), (), [file("a", b"a")])
        driver.close()
        state = home / ".pool" / "state"
        known = state.read_bytes()
        older = msgspec.json.decode(known)
        older["transaction"] += 5
        state.write_bytes(msgspec.json.encode(older))
        with pytest.raises(FolderUnusable, match="is not the one that this folder was left with"):
            opener()
        state.write_bytes(known)
        driver = opener()
        driver.remove(chain(1))
        driver.close()

    def test_a_given_pool_is_used_and_left(self, home: Path, tmp_path: Path) -> None:
        """``dm.thinpooldev``."""
        loops = []
        for name, size in (("meta", 16 << 20), ("data", 512 << 20)):
            path = tmp_path / name
            path.write_bytes(b"")
            os.truncate(path, size)
            loops.append(
                subprocess.run(
                    ["losetup", "--find", "--show", path], capture_output=True, text=True, check=True
                ).stdout.strip()
            )
        table = f"0 {(512 << 20) // 512} thin-pool {loops[0]} {loops[1]} 128 0"
        subprocess.run(["dmsetup", "create", "given", "--table", table], check=True)
        try:
            driver = Devicemapper(home, DeviceMapperOptions(thinpooldev="/dev/mapper/given", basesize=256 << 20))
            assert driver.status()["pool"] == "/dev/mapper/given"
            name = commit(driver, chain(1), (), [file("a", b"a")])
            driver.remove(name)
            driver.close()
            assert subprocess.run(["dmsetup", "info", "given"], stdout=subprocess.DEVNULL, check=False).returncode == 0
            with pytest.raises(FolderUnusable, match="is no thin pool"):
                Devicemapper(tmp_path / "other", DeviceMapperOptions(thinpooldev="no-such-pool"))
        finally:
            subprocess.run(["dmsetup", "remove", "given"], check=True)
            for loop in loops:
                subprocess.run(["losetup", "--detach", loop], check=True)


def fill(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))
            os.fsync(out.fileno())
