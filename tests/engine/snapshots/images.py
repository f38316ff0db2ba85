"""An image of two layers in an engine."""

from __future__ import annotations

from ardock.engine import Engine

NAME = "own:latest"


async def give_image(engine: Engine, rootfs: str) -> str:
    """`rootfs` and above it a layer without /home and with a file /layered; its name."""
    await engine.images.import_tree(rootfs, "base")
    command = ["sh", "-c", "rm -r /home && echo upper > /layered"]
    made = await engine.containers.create(command, image="base")
    await engine.containers.start(made.id)
    assert (await engine.containers.wait(made.id)).exit_code == 0
    await engine.containers.commit(made.id, NAME)
    await engine.containers.remove(made.id)
    return NAME
