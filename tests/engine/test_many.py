# ruff: noqa: ASYNC110 - what a keeper does in the background has no event here
"""`Containers.run_many`."""

from __future__ import annotations

import os

import pytest
import trio

import ardock
from ardock import ContainerSpec
from ardock.engine import Engine, own_engine
from ardock.engine.state import Retention
from tests.engine import leftovers
from tests.engine.folders import Folders


def echo(number: int, rootfs: str) -> ContainerSpec:
    return ContainerSpec(argv=("echo", f"number {number}"), rootfs=rootfs, memory="32m")


async def test_every_spec_gives_one_exact_result(engine: Engine, rootfs: str) -> None:
    outputs = {}
    async for result in engine.containers.run_many(echo(number, rootfs) for number in range(200)):
        assert result.exit_code == 0
        assert result.error is None
        outputs[result.index] = result.stdout
    assert outputs == {number: f"number {number}\n".encode() for number in range(200)}


async def test_those_that_cannot_be_started_are_results_and_the_others_go_on(engine: Engine, rootfs: str) -> None:
    specs = [
        echo(0, rootfs),
        ContainerSpec(argv=("nonexistent",), rootfs=rootfs),
        ContainerSpec(argv=("echo",), rootfs="/nonexistent"),
        ContainerSpec(argv=("echo",), rootfs=rootfs, memory="1k"),
        ContainerSpec(argv=("/bin/data",), rootfs=rootfs),
        echo(5, rootfs),
    ] * 20
    found: dict[int, tuple[int, str]] = {}
    async for result in engine.containers.run_many(specs):
        found[result.index] = (result.exit_code, result.error.code if result.error else "")
    assert [found[index] for index in range(6)] == [
        (0, ""),
        (127, "command_not_found"),
        (125, "not_found"),
        (125, "invalid_argument"),
        (126, "command_not_executable"),
        (0, ""),
    ]
    assert all(found[index] == found[index % 6] for index in range(120))


async def test_results_come_in_the_order_in_which_they_end(engine: Engine, rootfs: str) -> None:
    specs = [ContainerSpec(argv=("sleep", duration), rootfs=rootfs) for duration in ("0.9", "0.5", "0")]
    assert [result.index async for result in engine.containers.run_many(specs)] == [2, 1, 0]


async def test_no_more_than_in_flight_run_at_once(engine: Engine, rootfs: str) -> None:
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(leftovers.processes(engine.id)))
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        specs = [ContainerSpec(argv=("sleep", "0.1"), rootfs=rootfs) for _ in range(30)]
        count = 0
        async for result in engine.containers.run_many(specs, in_flight=3):
            assert result.exit_code == 0
            count += 1
        nursery.cancel_scope.cancel()
    assert count == 30
    assert 1 <= most <= 3


async def test_specs_are_taken_lazily(engine: Engine, rootfs: str) -> None:
    taken = 0

    def specs() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield echo(taken, rootfs)

    results = engine.containers.run_many(specs(), in_flight=4)  # type: ignore[arg-type]
    assert taken == 0
    for _ in range(10):
        await results.__anext__()
    assert taken <= 16
    await results.aclose()


async def test_leaving_the_loop_kills_the_rest(engine: Engine, rootfs: str) -> None:
    specs = [echo(0, rootfs), *[ContainerSpec(argv=("sleep", "1000"), rootfs=rootfs) for _ in range(20)]]
    async for result in engine.containers.run_many(specs):
        assert result.index == 0
        break
    with trio.fail_after(10):
        await leftovers.no_containers(engine.id, engine.root)


async def test_as_a_context_manager_it_awaits_the_end_of_the_rest(engine: Engine, rootfs: str) -> None:
    specs = [echo(0, rootfs), *[ContainerSpec(argv=("sleep", "1000"), rootfs=rootfs) for _ in range(20)]]
    async with engine.containers.run_many(specs) as results:
        async for result in results:
            assert result.index == 0
            break
    await leftovers.forgotten(engine)


async def test_cancelled_it_kills_all(engine: Engine, rootfs: str) -> None:
    specs = [ContainerSpec(argv=("sleep", "1000"), rootfs=rootfs) for _ in range(50)]
    with trio.move_on_after(0.2) as scope:
        async for _ in engine.containers.run_many(specs):
            pass
    assert scope.cancelled_caught
    await leftovers.forgotten(engine)


async def test_long_output_is_fetched_in_pieces(engine: Engine, rootfs: str) -> None:
    specs = [ContainerSpec(argv=("head", "-c", str(size), "/dev/zero"), rootfs=rootfs) for size in (0, 70_000, 500_000)]
    sizes = {result.index: len(result.stdout) async for result in engine.containers.run_many(specs)}
    assert sizes == {0: 0, 1: 70_000, 2: 500_000}


async def test_its_arguments_are_checked(engine: Engine, rootfs: str) -> None:
    with pytest.raises(ardock.InvalidArgument):
        engine.containers.run_many([], in_flight=0)
    with pytest.raises(ardock.InvalidArgument):
        engine.containers.run_many([], max_output=-1)
    assert [result async for result in engine.containers.run_many([])] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_distinct_outputs_and_flat_descriptors_and_memory(folders: Folders, rootfs: str) -> None:
    # What is kept for a time (exits, the journal's tail) is at its bound after some hundreds, then.
    kept = Retention(exits=500, tail_bytes=1 << 18, requests=500)
    async with own_engine(**folders, retention=kept) as engine:
        await ten_thousand(engine, rootfs)


async def ten_thousand(engine: Engine, rootfs: str) -> None:
    async def rounds(count: int) -> None:
        seen = set()
        async for result in engine.containers.run_many(echo(number, rootfs) for number in range(count)):
            assert (result.exit_code, result.stdout) == (0, f"number {result.index}\n".encode())
            seen.add(result.index)
        assert seen == set(range(count))

    # Caches and heaps (the database's, too) have their size after some thousands.
    await rounds(3000)
    keeper = (await engine.keeper_counters())[0]["pid"]
    before = leftovers.descriptors()
    memory = {pid: leftovers.resident(pid) for pid in (os.getpid(), keeper)}
    keeper_descriptors = len(os.listdir(f"/proc/{keeper}/fd"))
    await rounds(7000)
    assert leftovers.descriptors() == before
    for pid, kilobytes in memory.items():
        # A leak of 300 bytes a container would show.
        assert leftovers.resident(pid) < kilobytes + 2100, f"process {pid} has grown from {kilobytes} kB"
    with trio.fail_after(10):
        # The last mount namespaces and launchers are let go of in the background.
        while len(os.listdir(f"/proc/{keeper}/fd")) > keeper_descriptors + 8:
            await trio.sleep(0.1)
