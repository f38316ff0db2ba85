# ruff: noqa: ASYNC221, ASYNC240 - a test may wait for small local files and programs
"""Volumes on a disk that is full or read-only; run by `test_volume_crash` in a mount namespace of its own.

Arguments: root and run folder, root file system, ``full`` or ``read-only``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import ardock
from ardock import Mount
from ardock.engine import Engine, own_engine
from tests.engine.filling import fill


def at(target: str, source: str = "") -> Mount:
    return Mount(type="volume", source=source, target=target)


def there(engine: Engine) -> set[str]:
    return {path.name for path in (engine.root / "volumes").iterdir()}


async def refused(engine: Engine, kind: type[ardock.ArdockError], words: str) -> None:
    """Every way to make a volume is refused, in one sentence, and leaves nothing."""
    before = there(engine)
    containers = [one.id for one in (await engine.containers.list(all=True)).containers]
    ways = (
        lambda: engine.volumes.create("new"),
        lambda: engine.containers.create(["true"], image="big", mounts=[at("/d"), at("/big", "filled")]),
        lambda: engine.containers.run(["true"], image="big", mounts=[at("/big")]),
    )
    for way in ways:
        with pytest.raises(kind) as caught:
            await way()
        assert words in caught.value.message, caught.value.message
        assert "\n" not in caught.value.message
    with trio.fail_after(10):
        while there(engine) - {"filled"} != before - {"filled"}:  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.05)
    assert [one.id for one in (await engine.containers.list(all=True)).containers] == containers


async def full(engine: Engine) -> None:
    filler = Path(engine.root, "volumes", "kept", "_data", "filler")
    # Room for a row and a directory, and not for what the image has.
    fill(filler)
    os.truncate(filler, filler.stat().st_size - (1 << 20))
    with pytest.raises(ardock.DiskFull) as caught:
        await engine.containers.create(["true"], image="big", mounts=[at("/big", "filled")])
    assert "free space" in caught.value.message
    assert list(Path((await engine.volumes.inspect("filled")).mountpoint).iterdir()) == []
    assert sorted(path.name for path in (engine.root / "volumes" / "filled").iterdir()) == ["_data", "volume.json"]
    fill(Path(engine.root, "volumes", "kept", "_data", "rest"))
    await refused(engine, ardock.DiskFull, "free space")
    # Removing goes on, and gives the room back.
    await engine.volumes.remove("filled")
    await engine.volumes.remove("kept")
    with trio.fail_after(20):
        while True:
            try:
                await engine.volumes.create("after")
                break
            except ardock.DiskFull:
                await trio.sleep(0.1)
    await engine.volumes.remove("after")


async def read_only(engine: Engine) -> None:
    folder = str(engine.root / "volumes")
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    await refused(engine, ardock.FolderUnusable, "Read-only file system")
    with pytest.raises(ardock.FolderUnusable, match="Read-only file system"):
        await engine.volumes.remove("kept")
    assert [volume.name for volume in await engine.volumes.list()] == ["kept"]
    subprocess.run(["umount", folder], check=True)
    await engine.volumes.remove("kept")


async def main(root: str, run_dir: str, rootfs: str, kind: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", root], check=True)
    async with own_engine(root, run_dir, scratch="memory") as engine:
        big = Path(run_dir, "big")
        subprocess.run(["cp", "-a", rootfs, str(big)], check=True)
        (big / "big").mkdir()
        (big / "big" / "file").write_bytes(os.urandom(3 << 20))
        await engine.images.import_tree(big, "big")
        await engine.volumes.create("kept")
        await (full if kind == "full" else read_only)(engine)
        assert await engine.volumes.list() == []
        assert list((engine.root / "volumes").iterdir()) == []


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
