"""A program that is to join a container just while that ends."""

from __future__ import annotations

import pytest
import trio

import ardock
from ardock.engine import Engine
from tests.engine import leftovers


@pytest.mark.parametrize("memory", [None, "32m"])
async def test_it_runs_or_is_killed_or_is_told_that_the_container_does_not_run(
    engine: Engine, rootfs: str, memory: str | None
) -> None:
    containers = engine.containers
    await containers.create(["sleep", "1000"], rootfs=rootfs, name="host", memory=memory)
    answers: set[int | str] = set()

    async def join() -> None:
        try:
            result = await containers.exec_run("host", ["true"])
        except ardock.NotRunning as error:
            answers.add(error.code)
        else:
            answers.add(result.exit_code)

    for turn in range(40):
        await containers.start("host")
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(join)
                await trio.sleep(0.0005)
                if number == turn % 8:
                    nursery.start_soon(containers.kill, "host")
        await containers.wait("host")
    assert answers <= {0, 137, "not_running"}
    assert answers >= {0, "not_running"}
    # A container that is written down before the last of those who came too late is told so is forgotten all the same.
    await leftovers.forgotten(engine)
    await containers.remove("host")
