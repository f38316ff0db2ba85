"""A connection that breaks: what is repeated, what goes on where it was, what is given up."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from ardock.client.trio_client import RemoteEngine, connect
from ardock.model import errors
from ardock.model.events import Cursor, Event, EventItem, Gap, Heartbeat
from ardock.model.logs import LogGap, LogQuery, LogRecord
from ardock.model.records import RunResult
from tests.client.server import Peer, ScriptedServer

OUTCOME = {"id": "c" * 64, "stdout": b"hi\n", "stdout_total": 3}
LISTING = {"containers": [], "epoch": "0" * 8, "seq": 5}
EPOCH = "aaaaaaaa"


async def test_what_was_under_way_is_repeated_with_its_request_id(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    """Also when the engine dies in the middle of a message, and is away for a while."""
    ids: list[list[str]] = [[], []]

    async def script() -> None:
        peer = await server.peer()
        for _ in range(3):
            _, params = await peer.call("containers.run")
            ids[0].append(params["request_id"])
        number, _ = await peer.call("containers.wait")
        await peer.stream.send_all(msgpack.packb([1, number, None, {"id": "c" * 64, "exit_code": 0}])[:-5])
        server.stop_listening()
        await peer.close()
        await trio.sleep(0.05)
        await server.listen()
        async with server.expecting() as peer:
            numbers = []
            for _ in range(3):
                number, params = await peer.call("containers.run")
                ids[1].append(params["request_id"])
                numbers.append(number)
            waiting, params = await peer.call("containers.wait")
            assert params["ref"] == "x"
            await peer.send(*([1, number, None, {**OUTCOME, "index": at}] for at, number in enumerate(numbers)))
            await peer.reply(waiting, {"id": "c" * 64, "exit_code": 4})
            await peer.until_lost()

    nursery.start_soon(script)
    results: dict[str, RunResult] = {}

    async def run(engine: RemoteEngine, name: str) -> None:
        results[name] = await engine.containers.run([name], rootfs="/x")

    async with connect(server.path) as engine:
        async with trio.open_nursery() as calls:
            for name in "abc":
                calls.start_soon(run, engine, name)
            await trio.testing.wait_all_tasks_blocked()
            assert (await engine.containers.wait("x")).exit_code == 4
    assert len(set(ids[0])) == 3
    assert ids[0] == ids[1]
    assert len(results) == 3


async def test_output_of_the_broken_connection_does_not_come_twice(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        peer = await server.peer()
        number, _ = await peer.call("containers.run")
        await peer.notify("bytes", number, 1, b"x" * 1000)
        await peer.close()
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            await peer.notify("bytes", number, 1, b"x" * 1000)
            await peer.notify("bytes", number, 1, b"y" * 1000)
            await peer.reply(number, {"id": "c", "streamed": True})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        assert (await engine.containers.run(["x"], rootfs="/x")).stdout == b"x" * 1000 + b"y" * 1000


async def test_a_call_made_while_nobody_is_there_waits_for_the_next_owner(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    peer_gone = trio.Event()

    async def script() -> None:
        peer = await server.peer()
        server.stop_listening()
        await peer.close()
        peer_gone.set()
        await trio.sleep(0.05)
        await server.listen()
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.list")
            await peer.reply(number, LISTING)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        await peer_gone.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert "down" in repr(engine)
        assert (await engine.containers.list()).seq == 5


async def test_patience_ends(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Sent once and unanswered is another error than never sent; the next call tries anew."""

    async def script() -> None:
        peer = await server.peer()
        await peer.call("containers.run")
        server.stop_listening()
        await peer.close()
        await failed.wait()
        await server.listen()
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.list")
            await peer.reply(number, LISTING)
            await peer.until_lost()

    failed = trio.Event()
    nursery.start_soon(script)
    async with connect(server.path, patience=0.1) as engine:
        with pytest.raises(errors.ConnectionLost, match=r"containers\.run: the connection to the engine was lost"):
            await engine.containers.run(["x"], rootfs="/x")
        with pytest.raises(errors.DaemonUnavailable):
            await engine.containers.list()
        failed.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await engine.containers.list()).seq == 5


async def test_another_engine_at_the_same_socket_gets_none_of_it(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = await server.peer()
        await peer.call("containers.run")
        server.engine = "ffffffff"
        await peer.close()
        while True:
            other = await server.peer()
            assert await other.until_lost() == []

    nursery.start_soon(script)
    async with connect(server.path, patience=0.1) as engine:
        with pytest.raises(errors.ConnectionLost, match=r"another engine \(ffffffff\)"):
            await engine.containers.run(["x"], rootfs="/x")
    nursery.cancel_scope.cancel()


async def test_a_call_that_breaks_every_connection_is_given_up(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        for _ in range(5):
            peer = await server.peer()
            await peer.call("containers.run")
            await peer.close()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.ConnectionLost):
            await engine.containers.run(["x"], rootfs="/x")
    assert server.accepted == 5


async def test_cancelled_while_nobody_is_there_it_is_not_repeated(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        peer = await server.peer()
        await peer.call("containers.run")
        server.stop_listening()
        await peer.close()
        await cancelled.wait()
        await server.listen()
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.list")
            await peer.reply(number, LISTING)
            assert await peer.until_lost() == []

    cancelled = trio.Event()
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with trio.move_on_after(0.1) as scope:
            await engine.containers.run(["x"], rootfs="/x")
        assert scope.cancelled_caught
        cancelled.set()
        assert (await engine.containers.list()).seq == 5


# --- events ---


def event(seq: int) -> dict[str, Any]:
    return {"kind": "event", "epoch": EPOCH, "seq": seq, "time": seq, "type": "container", "action": "start", "id": "c"}


async def subscribed(peer: Peer, **expected: object) -> int:
    number, params = await peer.call("events.subscribe")
    assert params == {"heartbeat": 10.0, **expected}
    await peer.notify("items", number, [])
    return number


async def test_events_go_on_where_they_were(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Whatever had arrived and was not taken: each number comes once, and none is left out."""
    last = 200

    async def script() -> None:
        peer = await server.peer()
        number, _ = await peer.call("events.cursor")
        await peer.reply(number, [EPOCH, 100])
        seq, connection = 100, 0
        while True:
            connection += 1
            number, params = await peer.call("events.subscribe")
            assert params["filters"] == {"type": ["container"]}
            assert params["since"][0] == EPOCH
            assert params["since"][1] <= seq
            seq = params["since"][1]
            await peer.notify("items", number, [])
            for _ in range(connection % 7 + 3):
                seq += 1
                if seq <= last:
                    await peer.notify("items", number, [event(seq)])
            if seq >= last:
                await peer.reply(number, {})
                await peer.until_lost()
                return
            # In the middle of a message:
            await peer.stream.send_all(msgpack.packb([2, "items", [number, [event(seq + 1)]]])[:-3])
            await peer.close()
            peer = await server.peer()

    nursery.start_soon(script)
    got: list[int] = []
    async with connect(server.path) as engine:
        async with engine.events.subscribe(filters={"type": ("container",)}) as events:
            async for item in events:
                assert isinstance(item, Event)
                got.append(item.seq)
                if item.seq % 5 == 0:
                    await trio.sleep(0.001)
    assert got == list(range(101, last + 1))
    assert server.accepted > 5


async def test_now_is_a_place(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Broken before the first event, it goes on from when it was made, not from when it was made anew."""

    async def script() -> None:
        peer = await server.peer()
        number, _ = await peer.call("events.cursor")
        await peer.reply(number, [EPOCH, 9])
        await subscribed(peer, since=[EPOCH, 9])
        await peer.close()
        async with server.expecting() as peer:
            number = await subscribed(peer, since=[EPOCH, 9])
            await peer.notify("items", number, [event(10)])
            assert await peer.notification("cancel") == [number]
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.events.subscribe() as events:
            item = await events.__anext__()
            assert isinstance(item, Event)
            assert item.seq == 10


async def test_heartbeats_and_gaps_are_places(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = await server.peer()
        number = await subscribed(peer, since=[EPOCH, 1], until=99, heartbeat=0.5)
        gap = {"kind": "gap", "after": [EPOCH, 1], "epoch": EPOCH, "seq": 50}
        await peer.notify("items", number, [gap])
        await got_gap.wait()
        await peer.close()
        peer = await server.peer()
        number = await subscribed(peer, since=[EPOCH, 50], until=99, heartbeat=0.5)
        await peer.notify("items", number, [{"kind": "heartbeat", "epoch": "bbbbbbbb", "seq": 60, "time": 1}])
        await got_beat.wait()
        await peer.close()
        async with server.expecting() as peer:
            number = await subscribed(peer, since=["bbbbbbbb", 60], until=99, heartbeat=0.5)
            await peer.reply(number, {})
            await peer.until_lost()

    got_gap, got_beat = trio.Event(), trio.Event()
    nursery.start_soon(script)
    items: list[EventItem] = []
    async with connect(server.path) as engine:
        async with engine.events.subscribe(since=Cursor(EPOCH, 1), until=99, heartbeat=0.5) as events:
            async for item in events:
                items.append(item)
                (got_gap if isinstance(item, Gap) else got_beat).set()
    assert items == [
        Gap(after=Cursor(EPOCH, 1), epoch=EPOCH, seq=50),
        Heartbeat(epoch="bbbbbbbb", seq=60, time=1),
    ]


async def test_since_a_time(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = await server.peer()
        await subscribed(peer, since_time=123)
        await peer.close()
        async with server.expecting() as peer:
            number = await subscribed(peer, since_time=123)
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.events.subscribe(since=123) as events:
            assert [item async for item in events] == []


async def test_a_bad_filter_is_refused_on_the_way_in(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("events.subscribe")
            await peer.fail(number, "invalid_argument", "filters: no such filter 'x'", field="filters")
            number, _ = await peer.call("containers.logs")
            await peer.fail(number, "not_found", "no such container: x")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.InvalidArgument, match="no such filter"):
            async with engine.events.subscribe(since=1, filters={"x": ("y",)}):
                raise AssertionError("let in")
        with pytest.raises(errors.NotFound):
            async with engine.containers.logs("x"):
                raise AssertionError("let in")


async def test_a_subscriber_that_does_not_read_holds_the_engine_back_and_nobody_else(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number = await subscribed(peer, since_time=1)
            size, seq = 0, 0
            while size < 256 << 10:
                seq += 1
                size += len(msgpack.packb(event(seq)))
                await peer.notify("items", number, [event(seq)])
            other, _ = await peer.call("containers.list")  # and no credit before it
            total.append(seq)
            await peer.reply(other, LISTING)
            given = 0
            while given < 100_000:
                given += (await peer.notification("credit"))[1]
            await peer.notification("cancel")
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    total: list[int] = []
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.events.subscribe(since=1) as events:
            assert (await engine.containers.list()).seq == 5
            for seq in range(1, total[0] + 1):
                item = await events.__anext__()
                assert isinstance(item, Event)
                assert item.seq == seq


# --- logs ---


def record(cursor: int, data: bytes) -> dict[str, Any]:
    return {"kind": "record", "time": 1, "stream": "stdout", "data": data, "cursor": cursor}


async def test_a_log_goes_on_where_it_was(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = await server.peer()
        number, params = await peer.call("containers.logs")
        assert params == {"ref": "web", "query": {"follow": True, "tail": 10, "stderr": False}}
        await peer.notify("items", number, [record(104, b"abcd")])
        await taken.wait()
        await peer.notify("items", number, [record(108, b"efgh")])
        await peer.close()
        async with server.expecting() as peer:
            number, params = await peer.call("containers.logs")
            assert params["query"].pop("cursor") in (104, 108)
            assert params == {"ref": "web", "query": {"follow": True, "stderr": False}}
            await peer.notify("items", number, [{"kind": "gap", "missed": 9, "reason": "rotated", "cursor": 117}])
            await peer.reply(number, {})
            await peer.until_lost()

    taken = trio.Event()
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.containers.logs("web", LogQuery(follow=True, tail=10, stderr=False)) as log:
            items = [await log.__anext__()]
            taken.set()
            items.extend([item async for item in log])
    assert items[0] == LogRecord(time=1, stream="stdout", data=b"abcd", cursor=104)
    assert items[-1] == LogGap(missed=9, reason="rotated", cursor=117)


async def test_a_log_that_broke_before_its_first_record_is_asked_for_as_it_was(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        peer = await server.peer()
        number, first = await peer.call("containers.logs")
        await peer.notify("items", number, [])
        await peer.close()
        async with server.expecting() as peer:
            number, again = await peer.call("containers.logs")
            assert first == again == {"ref": "web", "query": {"tail": 10}}
            await peer.notify("items", number, [record(4, b"abcd")])
            await peer.reply(number, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with engine.containers.logs("web", LogQuery(tail=10)) as log:
            assert [item.cursor async for item in log] == [4]
