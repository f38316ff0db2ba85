"""A cancelled call leaves nothing."""

from __future__ import annotations

from functools import partial

import pytest
import trio

import ardock
from ardock.engine import Engine, own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders


@pytest.mark.parametrize("after", [0.0, 0.001, 0.003, 0.006, 0.02, 0.2])
async def test_a_cancelled_run_kills_its_container_and_leaves_nothing(
    engine: Engine, rootfs: str, after: float
) -> None:
    await engine.containers.run(["true"], rootfs=rootfs)
    await leftovers.no_containers(engine.id, engine.root)
    descriptors = leftovers.descriptors()
    for _ in range(3):
        with trio.move_on_after(after) as scope:
            await engine.containers.run(["sleep", "1000"], rootfs=rootfs, input=b"x")
        assert scope.cancelled_caught
        # Not merely soon: when the call is over, the program has ended.
        await leftovers.forgotten(engine)
    await leftovers.no_containers(engine.id, engine.root)
    assert leftovers.descriptors() == descriptors


async def test_many_cancelled_at_once_leave_nothing(engine: Engine, rootfs: str) -> None:
    with trio.move_on_after(0.1):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(lambda: engine.containers.run(["sleep", "1000"], rootfs=rootfs))
    await leftovers.no_containers(engine.id, engine.root)


async def test_a_cancelled_start_leaves_nothing(engine: Engine, rootfs: str) -> None:
    await engine.containers.run(["true"], rootfs=rootfs)
    descriptors = leftovers.descriptors()
    for after in (0.0, 0.001, 0.003, 0.005):
        with trio.move_on_after(after):
            container = await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs)
            await container.aclose()
    await leftovers.no_containers(engine.id, engine.root)
    assert leftovers.descriptors() == descriptors


async def test_leaving_the_engine_ends_what_runs(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        containers = [await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs) for _ in range(5)]
        assert len(leftovers.processes(engine.id)) == 5
    assert leftovers.processes(engine.id) == []
    for container in containers:
        assert container.exit is not None
        assert container.exit.exit_code == 137
        await container.aclose()


async def test_an_error_in_the_body_comes_out_as_it_is(folders: Folders, rootfs: str) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what comes out of the context is the point
        async with own_engine(**folders) as engine:
            await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs)
            raise ZeroDivisionError


async def test_cancelling_all_around_the_engine_ends_what_runs(folders: Folders, rootfs: str) -> None:
    """Its connections' tasks are cancelled together with its body, and are needed all the same to kill what runs."""
    with trio.fail_after(20):
        with trio.CancelScope() as scope:
            async with own_engine(**folders) as engine, trio.open_nursery() as nursery:
                container = await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs)
                scope.deadline = trio.current_time() + 0.3
                for _ in range(5):
                    nursery.start_soon(partial(engine.containers.run, ["sleep", "1000"], rootfs=rootfs))
                async for _ in engine.containers.run_many(
                    [ardock.ContainerSpec(argv=("sleep", "1000"), rootfs=rootfs)] * 5
                ):
                    pass
    assert scope.cancelled_caught
    assert leftovers.processes(engine.id) == []
    assert container.exit is not None
    await container.aclose()
