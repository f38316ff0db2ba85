"""Everything that is done with volumes, at once: no error but honest ones, and nothing left."""

from __future__ import annotations

import itertools
import os
import random

import pytest
import trio

import ardock
from ardock import Mount
from ardock.engine import Engine

pytestmark = pytest.mark.root

# s. `ARDOCK_SOAK=600` is the ten minutes of a release.
LENGTH = float(os.environ.get("ARDOCK_SOAK", "5"))
NAMES = tuple(f"v{number}" for number in range(6))


class Soak:
    """Tasks that go on until they are cancelled, and what they have done."""

    def __init__(self, engine: Engine) -> None:
        self.done = dict.fromkeys(("run", "kept", "removed", "in use", "pruned"), 0)
        self._containers, self._volumes = engine.containers, engine.volumes
        self._random = random.Random(1)

    def _mounts(self) -> list[Mount]:
        first, second = self._random.sample(NAMES, 2)
        return [
            Mount(type="volume", source=first, target="/etc"),
            Mount(type="volume", source=second, target="/two", read_only=True),
            Mount(type="volume", target="/own"),
        ]

    async def run(self) -> None:
        """What the image has is there, whoever filled the volume."""
        script = ["sh", "-c", "cat /etc/passwd && echo x > /own/x"]
        while True:
            result = await self._containers.run(script, image="base", mounts=self._mounts())
            assert (result.exit_code, result.stdout[:5]) == (0, b"root:"), result.stderr
            self.done["run"] += 1

    async def keep(self) -> None:
        for turn in itertools.count():
            created = await self._containers.create(["cat", "/etc/passwd"], image="base", mounts=self._mounts())
            await self._containers.start(created.id)
            assert (await self._containers.wait(created.id)).exit_code == 0
            await self._containers.remove(created.id, volumes=bool(turn % 2))
            self.done["kept"] += 1

    async def be_cancelled(self) -> None:
        while True:
            with trio.move_on_after(self._random.random() * 0.05):
                await self._containers.run(["sleep", "1"], image="base", mounts=self._mounts())

    async def remove(self) -> None:
        while True:
            try:
                await self._volumes.remove(self._random.choice(NAMES))
                self.done["removed"] += 1
            except ardock.NotFound:
                await trio.sleep(0.005)
            except ardock.Conflict:
                self.done["in use"] += 1
                await trio.sleep(0.005)

    async def prune(self) -> None:
        while True:
            pruned = await self._volumes.prune(all=self._random.random() < 0.5)
            self.done["pruned"] += len(pruned.removed)
            await self._volumes.list(sizes=True)
            await trio.sleep(0.02)


@pytest.mark.timeout(LENGTH * 3 + 120)
async def test_make_use_remove_and_prune_at_once(engine: Engine, rootfs: str) -> None:
    await engine.images.import_tree(rootfs, "base")
    soak = Soak(engine)
    with trio.move_on_after(LENGTH):
        async with trio.open_nursery() as nursery:
            for task in (
                soak.run,
                soak.run,
                soak.run,
                soak.keep,
                soak.keep,
                soak.be_cancelled,
                soak.remove,
                soak.prune,
            ):
                nursery.start_soon(task)
    assert all(soak.done.values()), soak.done
    with trio.fail_after(30):
        while (await engine.containers.list()).containers:  # noqa: ASYNC110 - those that were cut off
            await trio.sleep(0.05)
        for one in (await engine.containers.list(all=True)).containers:
            await engine.containers.remove(one.id, force=True, volumes=True)
        await engine.volumes.prune(all=True)
        # What goes in the background goes.
        while len(engine.volumes) or os.listdir(engine.root / "volumes"):
            await trio.sleep(0.05)
            await engine.volumes.prune(all=True)
    assert engine.volumes.leased == {}
