"""`btrfs`, on a loop file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ardock.engine.snapshots import Driver
from tests.engine.snapshots.layers import commit, file
from tests.engine.snapshots.loops import file_system
from tests.engine.snapshots.suite import Suite, chain

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with file_system(tmp_path_factory.mktemp("btrfs"), "btrfs") as point:
        yield point


class TestBtrfs(Suite):
    """The suite, and what is its own."""

    name = "btrfs"

    @pytest.fixture
    def home(self, btrfs: Path, tmp_path: Path) -> Iterator[Path]:
        home = btrfs / tmp_path.name
        yield home
        assert os.listdir(home) == []

    def test_a_layer_cannot_be_written_to(self, driver: Driver) -> None:
        path = driver.view("view", [commit(driver, chain(1), (), [file("a")])])
        with pytest.raises(OSError, match="Read-only"):
            (path / "b").write_bytes(b"b")
        driver.remove("view")

    def test_subvolumes_that_a_container_made_go_with_it(self, driver: Driver) -> None:
        path = driver.prepare("key", (), container=True)
        (path / "folder").mkdir()
        for name in ("one", "folder/two", "folder/two/three"):
            subprocess.run(["btrfs", "subvolume", "create", path / name], capture_output=True, check=True)
        (path / "folder" / "two" / "three" / "file").write_bytes(b"x")
        driver.remove("key")
        assert driver.keys() == set()

    def test_a_snapshot_takes_only_what_it_changes(self, driver: Driver) -> None:
        name = commit(driver, chain(1), (), [file("a", os.urandom(4 << 20))])
        path = driver.prepare("key", [name])
        os.sync()
        assert driver.usage("key").bytes < 1 << 20
        (path / "b").write_bytes(os.urandom(2 << 20))
        os.sync()
        assert 2 << 20 <= driver.usage("key").bytes < 3 << 20

    def test_the_size_of_what_is_written_is_limited(self, driver: Driver) -> None:
        name = commit(driver, chain(1), (), [file("a", os.urandom(16 << 20))])
        path = driver.prepare("key", [name], size=8 << 20, container=True)
        (path / "b").write_bytes(os.urandom(4 << 20))
        with pytest.raises(OSError, match="quota"):
            fill(path / "c", 16 << 20)


def fill(path: Path, size: int) -> None:
    with path.open("wb") as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))
            out.flush()
            os.fsync(out.fileno())
