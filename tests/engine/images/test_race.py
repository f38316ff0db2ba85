"""Pull, run, tag, save, remove and prune at the same time: no error but honest ones, and everything whole in the end.

``ARDOCK_SOAK=1`` (`make soak`) races for ten minutes; without, for some seconds.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
import trio

from ardock.engine import Engine
from ardock.model.errors import Conflict, NotFound
from tests.engine.folders import Folders
from tests.engine.images import made
from tests.registry.servers import plain_registry

pytestmark = pytest.mark.root

SECONDS: Final = 600 if os.environ.get("ARDOCK_SOAK") else 6
# What another task may do between two steps of ours.
HONEST: Final = {
    "pull": (),
    "run": (NotFound,),
    "create": (NotFound,),
    "tag": (NotFound,),
    "save": (NotFound,),
    "remove": (NotFound, Conflict),
    "prune": (),
    "commit": (NotFound,),
}


def images_of(busybox: Path) -> list[made.Made]:
    """Images that share their lowest layers."""
    tool = (busybox / "bin" / "busybox").read_bytes()
    base: dict[str, bytes | str | None] = {
        "bin": None,
        "bin/sh": tool,
        "etc": None,
        "etc/passwd": b"root:x:0:0::/:/bin/sh\n",
    }
    shared: dict[str, bytes | str | None] = {"shared": b"s" * 100_000}
    return [
        made.image(base, shared, {"own": str(number).encode()}, config={"Cmd": ["sh", "-c", "read x < /own; echo $x"]})
        for number in range(4)
    ]


@pytest.mark.timeout(SECONDS + 120)
async def test_all_at_once(engine: Engine, folders: Folders, busybox_root: Path) -> None:  # noqa: C901 - a step each
    chosen = random.Random(6)  # the order of steps; what they meet is the scheduler's
    counts: Counter[str] = Counter()
    images = images_of(busybox_root)
    with plain_registry() as registry:
        for number, image in enumerate(images):
            for blob in (image.config, *image.layers):
                registry.put_blob(f"app{number}", blob)
            registry.put_manifest(f"app{number}", "1", image.manifest, json.loads(image.manifest)["mediaType"])
        names = [f"{registry.host}/app{number}:1" for number in range(len(images))]

        async def pull() -> None:
            await engine.images.pull(chosen.choice(names))

        async def run() -> None:
            number = chosen.randrange(len(names))
            result = await engine.containers.run([], image=names[number])
            assert (result.exit_code, result.stdout) == (0, f"{number}\n".encode()), result.stderr

        async def create() -> None:
            created = await engine.containers.create([], image=chosen.choice(names))
            await engine.containers.start(created.id)
            assert (await engine.containers.wait(created.id)).exit_code == 0
            await engine.containers.remove(created.id)

        async def commit() -> None:
            created = await engine.containers.create(["sh", "-c", "echo new > /new"], image=chosen.choice(names))
            await engine.containers.start(created.id)
            await engine.containers.wait(created.id)
            await engine.containers.commit(created.id, "committed")
            await engine.containers.remove(created.id)

        async def tag() -> None:
            await engine.images.tag(chosen.choice(names), f"tag{chosen.randrange(3)}")

        async def save() -> None:
            async with engine.images.save([chosen.choice(names)]) as stream:
                assert sum([len(piece) async for piece in stream]) > 100_000

        async def remove() -> None:
            await engine.images.remove(
                chosen.choice([*names, "tag0", "tag1", "committed"]), force=chosen.random() < 0.5
            )

        async def prune() -> None:
            await engine.images.prune(all=chosen.random() < 0.3)

        async def repeat(step: Callable[[], Awaitable[None]], name: str) -> None:
            while True:
                try:
                    await step()
                except HONEST[name]:
                    counts[f"{name} refused"] += 1
                else:
                    counts[name] += 1
                await trio.sleep(chosen.random() * 0.02)

        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "pull": pull, "run": run, "create": create, "tag": tag, "save": save, "remove": remove, "prune": prune,
            "commit": commit,
        }  # fmt: skip
        with trio.move_on_after(SECONDS):
            async with trio.open_nursery() as nursery:
                for name, step in steps.items():
                    for _ in range(3 if name in ("pull", "run") else 1):
                        nursery.start_soon(repeat, step, name)
        assert all(counts[name] for name in steps), counts
        # Cancelled in the middle of all that, everything that is told to be there is whole.
        for one in (await engine.containers.list(all=True)).containers:
            await engine.containers.remove(one.id, force=True)
        assert (await engine.images.check()).problems == ()
        for number, name in enumerate(names):
            await engine.images.pull(name)
            assert (await engine.containers.run([], image=name)).stdout == f"{number}\n".encode()
    await engine.images.prune(all=True)
    assert await engine.images.list() == []
    root = folders["root"]
    with trio.fail_after(20):
        while left(root):  # noqa: ASYNC110 - trees go in the background
            await trio.sleep(0.05)


def left(root: Path) -> list[str]:
    """Everything in the stores."""
    found = [str(path) for path in (root / "content").glob("*/*")] + [
        str(path) for path in (root / "content").glob(".*")
    ]
    drivers = [path for path in (root / "snapshots").iterdir() if path.is_dir()]
    return found + [str(path) for folder in drivers for path in folder.iterdir()]
