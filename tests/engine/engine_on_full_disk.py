# ruff: noqa: ASYNC221, ASYNC240 - a test may wait for small local files and programs
"""An engine whose disk is full: run by `test_full_disk` in a mount namespace of its own. Arguments: root and run folder, root file system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import ardock
from ardock.engine import own_engine
from tests.engine.filling import fill


async def main(root: str, run_dir: str, rootfs: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", root], check=True)
    filler = Path(root, "filler")
    async with own_engine(root, run_dir, scratch="memory") as engine:
        containers = engine.containers
        for number in range(3):
            created = await containers.create(["sleep", "1000"], rootfs=rootfs, name=f"c{number}")
            await containers.start(created.id)
        fill(filler)
        names: list[str] = []

        async def create_many() -> None:
            while True:
                names.append((await containers.create(["true"], rootfs=rootfs, labels={"x": "y" * 10_000})).name)

        with pytest.raises(ardock.DiskFull) as caught:
            await create_many()
        assert caught.value.code == "disk_full"
        assert "free space" in caught.value.message
        # Nothing of it is left, and all that was answered is there.
        there = {one.name for one in (await containers.list(all=True)).containers}
        assert there == {"c0", "c1", "c2", *names}
        # All else works.
        await containers.stop("c0", timeout=0)
        assert (await containers.wait("c0")).exit_code == 137
        await containers.remove("c0")
        await containers.remove("c1", force=True)
        for name in names:
            await containers.remove(name)
        assert [one.name for one in (await containers.list(all=True)).containers] == ["c2"]
        filler.unlink()
        with trio.fail_after(20):
            while True:
                try:
                    await containers.create(["true"], rootfs=rootfs, name="after")
                    break
                except ardock.DiskFull:
                    await trio.sleep(0.1)
    async with own_engine(root, run_dir) as engine:
        assert {one.name for one in (await engine.containers.list(all=True)).containers} == {"c2", "after"}
        for name in ("c2", "after"):
            await engine.containers.remove(name, force=True)
    os.sync()


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
