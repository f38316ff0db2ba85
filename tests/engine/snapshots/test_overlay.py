"""`overlay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardock.engine import own_engine
from ardock.engine.snapshots import Driver
from ardock.engine.snapshots.overlay import Overlay
from tests.engine.folders import Folders
from tests.engine.snapshots.layers import commit, file, gone
from tests.engine.snapshots.suite import Suite, chain

pytestmark = pytest.mark.root


class TestOverlay(Suite):
    """The suite, and what is its own."""

    name = "overlay"

    def test_500_layers(self, driver: Driver) -> None:
        names: tuple[str, ...] = ()
        for number in range(500):
            names = (commit(driver, chain(number), names, [file(f"file{number}", b"x")]), *names)
        assert len(list(driver.view("view", names).iterdir())) == 500
        driver.remove("view")

    def test_layers_come_in_any_order(self, driver: Driver) -> None:
        upper = commit(driver, chain(2), (chain(1),), [file("a", b"upper")])
        lower = commit(driver, chain(1), (), [file("a", b"lower"), file("b", b"b")])
        path = driver.view("view", (upper, lower))
        assert ((path / "a").read_bytes(), (path / "b").read_bytes()) == (b"upper", b"b")
        driver.remove("view")

    def test_a_views_mount_goes_with_the_driver_that_comes_next(self, home: Path, driver: Driver) -> None:
        names = [commit(driver, chain(number), (), [file(f"file{number}")]) for number in range(2)]
        path = driver.view("view", names)
        assert path.is_mount()
        Overlay(home)
        assert not path.exists()
        assert driver.committed() == set(names)


@pytest.mark.parametrize("count", [127, 500])
async def test_a_container_runs_on_as_many_layers(count: int, folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders, storage_driver="overlay") as engine:
        await engine.images.import_tree(rootfs, "base")
        driver, names = engine.storage.driver, engine.images.chain_of("base")
        for number in range(count - 1):
            more = [file(f"file{number}", b"x"), *([gone(f"file{number - 1}")] if number % 2 else [])]
            names = (commit(driver, chain(number), names, more), *names)
        layers = driver.mounts(names).directories
        assert len(layers) == count
        result = await engine.containers.run(["sh", "-c", "ls / | grep -c file; echo x > /mine"], layers=layers)
        assert (result.stdout, result.stderr) == (f"{(count - 1 + 1) // 2}\n".encode(), b"")
