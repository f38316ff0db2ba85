"""Several keepers of one engine."""

from __future__ import annotations

import trio

import ardock
from ardock.engine import Engine
from tests.engine import leftovers


async def test_another_keeper_is_started_where_the_first_has_no_room(engine: Engine, rootfs: str) -> None:
    await engine.containers.run(["true"], rootfs=rootfs)
    (first,) = engine._pool.connections
    first._capacity = 20
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(lambda: engine.containers.run(["sleep", "0.5"], rootfs=rootfs))
    assert len(engine._pool.connections) == 2
    codes = [
        result.exit_code
        async for result in engine.containers.run_many(
            ardock.ContainerSpec(argv=("sleep", "0.3"), rootfs=rootfs) for _ in range(40)
        )
    ]
    assert codes == [0] * 40


async def test_without_any_room_the_limit_is_named(engine: Engine, rootfs: str) -> None:
    await engine.containers.run(["true"], rootfs=rootfs)
    counters = await engine.keeper_counters()
    assert counters[0]["capacity"] > 100
    assert repr(engine) == f"<Engine {engine.id} on {engine.root}: 0 programs, 1 keepers>"


async def test_roots_come_and_go_with_their_use(engine: Engine, rootfs: str, tmp_path: object) -> None:
    """More roots than are kept: the least recently used ones are let go of, here and in the keeper."""
    roots = engine.containers._launcher._resolver.roots
    before = 0
    for number in range(140):
        layer = f"{tmp_path}/{number}"
        await trio.Path(layer).mkdir()
        result = await engine.containers.run(["true"], layers=[layer, rootfs])
        assert result.exit_code == 0
        if number == 130:
            before = leftovers.descriptors()
    assert leftovers.descriptors() == before
    assert len(roots._by_identity) == 128
