"""`vfs`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ardock.engine.snapshots.vfs import Vfs
from ardock.model.errors import DiskFull
from tests.engine.snapshots.layers import commit, file
from tests.engine.snapshots.loops import file_system
from tests.engine.snapshots.suite import Suite, chain

pytestmark = pytest.mark.root


class TestVfs(Suite):
    """The suite."""

    name = "vfs"


def test_a_copy_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with file_system(tmp_path, "ext4", size=24 << 20, make=("-q",)) as disk:
        driver = Vfs(disk / "home")
        name = commit(driver, chain(1), (), [file("a", os.urandom(9 << 20))])
        for _ in range(3):  # room has come back each time
            driver.prepare("one", [name], container=True)
            with pytest.raises(DiskFull):
                driver.prepare("two", [name], container=True)
            assert driver.keys() == {"one"}
            driver.remove("one")
        assert sorted(os.listdir(disk / "home")) == [name]
