"""Many subscribers: a slow one slows nobody, misses nothing, and costs no memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import trio

from ardock.engine.events import JournalEvents, Subscription
from ardock.engine.state import Changes, Retention, State
from ardock.model.events import Cursor, Event, Gap, Heartbeat
from tests.unit.states import event, opened
from tests.unit.test_events_subscribe import decode, journal, take

EVENTS = 3000
BATCH = 10


async def _publish(state: State, count: int = EVENTS) -> None:
    for number in range(0, count, BATCH):
        state.commit(Changes(events=tuple(event(number + place) for place in range(BATCH))))
        await trio.sleep(0.001)


async def _read(subscription: Subscription, done: list[str]) -> None:
    for seq in range(1, EVENTS + 1):
        item = await subscription.__anext__()
        assert isinstance(item, Event)
        assert item.seq == seq
    done.append("read")


async def _read_encoded(subscription: Subscription, done: list[str]) -> None:
    seen = 0
    while seen < EVENTS:
        for item in decode(*await subscription.next_encoded(1 << 16)):
            assert isinstance(item, Event)
            seen += 1
            assert item.seq == seen
    done.append("encoded")


async def _read_slowly(subscription: Subscription, done: list[str]) -> None:
    seen = 0
    while seen < EVENTS:
        for item in decode(*await subscription.next_encoded(4096)):
            assert isinstance(item, Event)
            seen += 1
            assert item.seq == seen
        await trio.sleep(0.01)
    done.append("slow")


async def _reconnect(service: JournalEvents, cursor: Cursor, done: list[str]) -> None:
    while cursor.seq < EVENTS:
        async with service.subscribe(since=cursor) as subscription:
            for item in decode(*await subscription.next_encoded(2000)):
                assert isinstance(item, Event)
                assert item.seq == cursor.seq + 1
                cursor = item.cursor
    done.append("reconnect")


async def _read_some(subscription: Subscription, done: list[str]) -> None:
    seen: list[int] = []
    while not seen or seen[-1] < EVENTS:
        item = await subscription.__anext__()
        if not isinstance(item, Heartbeat):
            assert isinstance(item, Event)
            seen.append(item.seq)
    assert seen == list(range(100, EVENTS + 1, 100))
    done.append("filter")


async def test_a_hundred_subscribers_get_every_event_in_order(tmp_path: Path) -> None:
    """One never reads, one reconnects all the time, some read slowly, some encoded, some with filters."""
    done: list[str] = []
    # The tail is shorter than what is published: those that are behind read the file.
    async with opened(tmp_path, retention=Retention(tail_bytes=100_000)) as (state, _):
        service = journal(state)
        asleep = service.subscribe()
        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(_read, service.subscribe(), done)
                for _ in range(50):
                    nursery.start_soon(_read_encoded, service.subscribe(), done)
                for _ in range(5):
                    nursery.start_soon(_read_slowly, service.subscribe(), done)
                    names = tuple(f"name-{number}" for number in range(99, EVENTS, 100))
                    nursery.start_soon(_read_some, service.subscribe(filters={"container": names}), done)
                nursery.start_soon(_reconnect, service, await service.cursor(), done)
                nursery.start_soon(_publish, state)
            assert sorted(done) == sorted(
                ["read"] * 40 + ["encoded"] * 50 + ["slow"] * 5 + ["filter"] * 5 + ["reconnect"]
            )
            assert not state.tail.holds(0)
            # The one that slept wakes up, and has missed nothing.
            await _read(asleep, done)


async def test_what_is_not_read_takes_no_memory(tmp_path: Path) -> None:
    """A hundred subscribers that never read, while the journal grows by 20 times what is held in memory."""
    async with opened(tmp_path, retention=Retention(tail_bytes=100_000)) as (state, _):
        service = journal(state)
        asleep = [service.subscribe() for _ in range(100)]
        await _publish(state, 1000)
        await service.cursor()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await _publish(state, 12_000)
            await service.cursor()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert state.journal_bytes > 2_000_000
        assert grown < 500_000
        for subscription in asleep[:3]:
            items = await take(subscription, 2000)
            assert [item.seq for item in items if isinstance(item, Event)] == list(range(1, 2001))


async def test_one_that_sleeps_through_retention_is_told_and_others_are_not(tmp_path: Path) -> None:
    async with opened(tmp_path, retention=Retention(journal_bytes=50_000)) as (state, _):
        service = journal(state)
        asleep = service.subscribe()
        async with trio.open_nursery() as nursery:
            awake = service.subscribe()
            nursery.start_soon(_publish, state)
            assert [item.seq for item in await take(awake, EVENTS) if isinstance(item, Event)] == list(
                range(1, EVENTS + 1)
            )
        await state.commit_and_wait(Changes())
        gap, *rest = await take(asleep, 10)
        assert isinstance(gap, Gap)
        assert gap.after == Cursor(state.epoch, 0)
        assert [item.seq for item in rest if isinstance(item, Event)] == list(range(gap.seq + 1, gap.seq + 10))
