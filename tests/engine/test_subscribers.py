"""Many who follow the events through the socket: none is held up by another, none misses an event or gets one twice."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Iterator

import msgspec
import pytest
import trio

import ardock
from ardock import Cursor, Event
from ardock.client.find import address, find_socket
from ardock.interface import Engine
from ardock.protocol.methods import SUBSCRIBE, Subscribe
from ardock.protocol.session import ClientSession
from bench.event_load import Group
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.owners import Owner

# As many as there are in all, with the one that never reads and the one that comes and goes.
SUBSCRIBERS = 50
PER_SECOND = 1000
SECONDS = 12
# Each event has this much about it: kept for somebody, the 12 MB of them would be seen in the owner's memory.
LABEL = "x" * 1000


@pytest.fixture
def owner(folders: Folders) -> Iterator[Owner]:
    owner = Owner(folders)
    owner.start()
    yield owner
    owner.end(signal.SIGKILL)


def stopped_reader(path: str, since: Cursor) -> socket.socket:
    """A subscriber that never reads."""
    stream = socket.socket(socket.AF_UNIX)
    with address(path) as name:
        stream.connect(name)
    session = ClientSession()
    session.request(SUBSCRIBE.name, msgspec.msgpack.encode(Subscribe(since=since)))
    stream.sendall(session.outgoing())
    return stream


async def tell(engine: Engine, container_id: str, seconds: float) -> int:
    """Make about a thousand events a second; the number of the last one."""
    begin = (await engine.events.cursor()).seq
    made = 0
    limit = trio.CapacityLimiter(64)

    async def one() -> None:
        # A signal that is ignored is an event all the same.
        async with limit:
            await engine.containers.kill(container_id, "SIGWINCH")

    end = trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        while trio.current_time() < end:
            for _ in range(PER_SECOND // 50):
                nursery.start_soon(one)
                made += 1
            await trio.sleep(1 / 50)
            while limit.statistics().tasks_waiting:  # noqa: ASYNC110 - a slow machine makes fewer
                await trio.sleep(0.005)
    last = await engine.events.cursor()
    assert last.seq == begin + made, "each signal is one event"
    return last.seq


async def come_and_go(folders: Folders, since: Cursor, seen: list[int], last: trio.Event) -> int:
    """Connect, read a little, leave in the middle of it, and go on after the last one seen; how often, at the end."""
    chance = random.Random(7)
    place = since
    turns = 0
    while True:
        turns += 1
        async with (
            ardock.connect(root=folders["root"], run_dir=folders["run_dir"]) as engine,
            engine.events.subscribe(since=place, heartbeat=0.2) as events,
        ):
            left = chance.choice((0, 1, 3, 40, 400, 2000))
            async for event in events:
                if isinstance(event, Event):
                    seen.append(event.seq)
                    place = event.cursor
                    left -= 1
                elif last.is_set():
                    return turns
                if left <= 0:
                    break


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_one_that_never_reads_and_one_that_comes_and_goes_hold_up_nobody(
    owner: Owner, folders: Folders, rootfs: str
) -> None:
    path = find_socket(root=str(folders["root"]), run_dir=str(folders["run_dir"]))
    async with ardock.connect(path) as engine:
        source = await engine.containers.create(["sleep", "1000"], rootfs=rootfs, labels={"text": LABEL})
        await engine.containers.start(source.id)
        # What is in memory for all, the last 4 MiB of events and 10,000 request ids, has its size then.
        begin = Cursor((await engine.events.cursor()).epoch, await tell(engine, source.id, 11))
        group = Group(path, SUBSCRIBERS - 2, str(begin))
        stopped = stopped_reader(path, begin)
        seen: list[int] = []
        ended = trio.Event()
        turns = 0

        async def resume() -> None:
            nonlocal turns
            turns = await come_and_go(folders, begin, seen, ended)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(resume)
                first = await tell(engine, source.id, 2)
                memory = leftovers.resident(owner.pid)
                final = await tell(engine, source.id, SECONDS)
                ended.set()
            # Raises where one was lost or came twice.
            found = await trio.to_thread.run_sync(group.until, final)
            grown = leftovers.resident(owner.pid) - memory
        finally:
            stopped.close()
            await trio.to_thread.run_sync(group.end)
        await engine.containers.remove(source.id, force=True)
        await leftovers.no_containers((await engine.info()).id, folders["root"])
    assert found["events"] == (SUBSCRIBERS - 2) * (final - begin.seq)
    assert seen == list(range(begin.seq + 1, final + 1))
    assert turns > 10
    # One copy of what came in that time, let alone fifty, would be more.
    assert grown < (final - first) * len(LABEL) // 1024 // 3, f"the owner has grown by {grown} kB"
