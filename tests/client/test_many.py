"""`run_many`: specs go as there is room, results come as they end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from ardock.client.trio_client import connect
from ardock.model import errors
from ardock.model.spec import ContainerSpec
from tests.client.server import Peer, ScriptedServer

WINDOW = 256 << 10


def spec(index: int, size: int = 0) -> ContainerSpec:
    return ContainerSpec(argv=("echo", str(index), "x" * size), rootfs="/x")


async def specs_of(peer: Peer) -> list[dict[str, Any]]:
    """All that are sent, without giving credit."""
    got: list[dict[str, Any]] = []
    while True:
        message = await peer.receive()
        if message[1] == "items_end":
            return got
        assert message[1] == "items", message
        got.extend(message[2][1])


async def test_all_of_them(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.run_many")
            assert params == {"max_output": 5}
            got = await specs_of(peer)
            assert [each["argv"][1] for each in got] == [str(index) for index in range(300)]
            order = list(reversed(range(300)))
            for start in range(0, 300, 50):
                outcomes = [{"id": "c", "index": index, "exit_code": index % 7} for index in order[start : start + 50]]
                await peer.notify("items", number, outcomes)
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        many = engine.containers.run_many((spec(index) for index in range(300)), max_output=5)
        results = [result async for result in many]
        assert [result.index for result in results] == list(reversed(range(300)))
        assert all(result.exit_code == result.index % 7 for result in results)
        with pytest.raises(StopAsyncIteration):
            await many.__anext__()


async def test_specs_are_taken_as_there_is_room(server: ScriptedServer, nursery: trio.Nursery) -> None:
    taken = 0
    checked = trio.Event()

    def endless() -> Iterator[ContainerSpec]:
        nonlocal taken
        while True:
            taken += 1
            yield spec(taken, size=1000)

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            size = 0
            while size < WINDOW:
                message = await peer.receive()
                size += sum(len(msgpack.packb(each)) for each in message[2][1])
            before = taken
            with trio.move_on_after(0.1):
                await peer.receive()
                raise AssertionError("more than the window")
            assert taken == before < 400
            await peer.notify("credit", number, 100_000)
            message = await peer.receive()
            assert message[1] == "items"
            checked.set()
            while message[1] != "cancel":
                message = await peer.receive()
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.containers.run_many(endless()) as many:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(many.__anext__)
                await checked.wait()
                waiting.cancel_scope.cancel()


async def test_with_a_limit_not_many_more_are_taken_than_that(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """The next one is over there when one ends; the caller's iterator is not run ahead of what happens."""
    taken = 0

    def specs() -> Iterator[ContainerSpec]:
        nonlocal taken
        for taken in range(1, 501):
            yield spec(taken)

    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.run_many")
            assert params["in_flight"] == 4
            got = ended = 0
            while ended < 500:
                message = await peer.receive()
                if message[1] == "items":
                    got += len(message[2][1])
                    assert got <= taken <= ended + 36
                if message[1] == "items_end" or got == ended + 36:
                    step = min(30, 500 - ended)
                    await peer.notify("items", number, [{"id": "c", "index": ended + at} for at in range(step)])
                    ended += step
                    if got == 500 and ended < 500:
                        await peer.notify("items", number, [{"id": "c", "index": at} for at in range(ended, 500)])
                        ended = 500
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        results = [result.index async for result in engine.containers.run_many(specs(), in_flight=4)]
    assert results == list(range(500))


async def test_long_output_comes_before_its_result(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await specs_of(peer)
            for index in range(3):
                for _ in range(3):
                    await peer.notify("bytes", number, 1, bytes([index]) * 60_000)
                await peer.notify("bytes", number, 2, bytes([index]) * 100)
                await peer.notify("items", number, [{"id": "c", "index": index, "streamed": True}])
                await peer.notify("items", number, [{"id": "c", "index": 10 + index, "stdout": b"short"}])
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        results = {result.index: result async for result in engine.containers.run_many([spec(0)])}
    for index in range(3):
        assert results[index].stdout == bytes([index]) * 180_000
        assert results[index].stderr == bytes([index]) * 100
        assert results[10 + index].stdout == b"short"


async def test_results_that_nobody_takes_hold_the_engine_back(server: ScriptedServer, nursery: trio.Nursery) -> None:
    sent = trio.Event()

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await specs_of(peer)
            for index in range(4):
                await peer.notify("items", number, [{"id": "c", "index": index, "stdout": b"x" * 65_000}])
            sent.set()
            with trio.move_on_after(0.1):
                await peer.receive()
                raise AssertionError("credit for what was not taken")
            go_on.set()
            await peer.notification("credit")
            await peer.reply(number, {})
            await peer.until_lost()

    go_on = trio.Event()
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        many = engine.containers.run_many([spec(0)])
        await many.__anext__()
        await go_on.wait()
        assert [result.index async for result in many] == [1, 2, 3]


async def test_one_that_failed_is_a_result(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await specs_of(peer)
            error = {"code": "command_not_found", "message": "nope", "details": {"step": "exec"}}
            await peer.notify("items", number, [{"id": "", "index": 0, "exit_code": 127, "error": error}])
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        (result,) = [result async for result in engine.containers.run_many([spec(0)])]
    assert isinstance(result.error, errors.CommandNotFound)
    assert result.exit_code == 127


async def test_a_spec_that_cannot_be_sent_is_a_result_and_the_others_keep_their_numbers(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            got = await specs_of(peer)
            assert [each["argv"][1] for each in got] == ["0", "2", "3"]
            await peer.notify("items", number, [{"id": "c", "index": index} for index in (2, 0, 1)])
            await peer.reply(number, {})
            await peer.until_lost()

    bad = ContainerSpec(argv=("x",), env={"a": object()})  # type: ignore[dict-item]
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        results = [result async for result in engine.containers.run_many([spec(0), bad, spec(2), spec(3)])]
    assert [result.index for result in results] == [1, 3, 0, 2]
    assert isinstance(results[0].error, errors.InvalidArgument)
    assert results[0].error.field == "env"
    assert all(result.error is None for result in results[1:])


async def test_an_error_of_the_caller_s_iterator_is_the_caller_s(server: ScriptedServer, nursery: trio.Nursery) -> None:
    def broken() -> Iterator[ContainerSpec]:
        yield spec(0)
        raise KeyError("mine")

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await peer.notification("cancel")
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(KeyError, match="mine"):
            await engine.containers.run_many(broken()).__anext__()


async def test_cancelled_it_awaits_the_end_of_the_rest(server: ScriptedServer, nursery: trio.Nursery) -> None:
    ended = False

    async def script() -> None:
        nonlocal ended
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await specs_of(peer)
            assert await peer.notification("cancel") == [number]
            await trio.testing.wait_all_tasks_blocked()
            ended = True
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with trio.move_on_after(0.05) as scope:
            async for _ in engine.containers.run_many([spec(0)]):
                raise AssertionError("nothing has ended")
        assert scope.cancelled_caught
        assert ended


async def test_a_loop_that_is_left_ends_the_rest(server: ScriptedServer, nursery: trio.Nursery) -> None:
    cancelled = trio.Event()

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run_many")
            await specs_of(peer)
            await peer.notify("items", number, [{"id": "c", "index": 0}])
            assert await peer.notification("cancel") == [number]
            cancelled.set()
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async for result in engine.containers.run_many([spec(0), spec(1)]):
            assert result.index == 0
            break
        gc.collect()
        await cancelled.wait()


async def test_nothing_is_sent_before_a_result_is_asked_for(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            assert await peer.until_lost() == []

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.containers.run_many([spec(0)]) as many:
            pass
        assert [result async for result in many] == []
        with pytest.raises(errors.InvalidArgument, match="in_flight"):
            engine.containers.run_many([], in_flight=0)


async def test_a_lost_connection_is_said(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """It is not repeated: what was started is not known, and the engine kills it."""

    async def script() -> None:
        peer = await server.peer()
        number, params = await peer.call("containers.run_many")
        assert "request_id" not in params
        await specs_of(peer)
        await peer.notify("items", number, [{"id": "c", "index": 0}])
        await peer.close()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        many = engine.containers.run_many([spec(0), spec(1)])
        assert (await many.__anext__()).index == 0
        with pytest.raises(errors.ConnectionLost):
            await many.__anext__()
