"""A subscriber is a cursor on the journal: it misses nothing, or is told what it missed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from ardock import interface
from ardock.engine.events import JournalEvents, Subscription
from ardock.engine.state import Changes, Retention, State
from ardock.model.errors import EngineClosed, FolderUnusable, InvalidArgument
from ardock.model.events import Cursor, Event, EventItem, Gap, Heartbeat
from tests.unit.states import SECOND, START, Clock, beside, event, events, no_commit, opened

_MAPS = msgspec.msgpack.Decoder(list[EventItem])


def decode(count: int, data: bytes) -> list[EventItem]:
    """What `next_encoded` gave."""
    return _MAPS.decode(b"\xdd" + count.to_bytes(4, "big") + data)


def journal(state: State) -> JournalEvents:
    return JournalEvents(state, lambda _ref: None)


async def take(subscription: Subscription, count: int) -> list[EventItem]:
    """The next items."""
    with trio.fail_after(30):
        return [await subscription.__anext__() for _ in range(count)]


def numbers(items: list[EventItem]) -> list[int]:
    """Of events alone."""
    assert all(isinstance(item, Event) for item in items), items
    return [item.seq for item in items]


def is_the_interface(service: JournalEvents) -> interface.Events:
    """Checked by mypy: the in-process engine's events are those of `ardock.interface`."""
    return service


async def test_events_come_in_order_from_now_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        state.commit(events(1, 2))  # has happened before, though it is not in the journal yet
        async with journal(state).subscribe() as subscription:
            state.commit(Changes(events=(event(3, "create", attributes={"a": "b"}), event(3, "start"))))
            first, second = await take(subscription, 2)
            assert first == Event(
                epoch=state.epoch,
                seq=3,
                time=START,
                type="container",
                action="create",
                id=f"{3:064x}",
                name="name-3",
                attributes={"a": "b"},
            )
            assert numbers([second]) == [4]


async def test_an_event_is_told_only_when_it_is_in_the_journal(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _), journal(state).subscribe() as subscription:
        with no_commit(tmp_path):
            state.commit(events(1))
            with trio.move_on_after(0.1) as scope:
                await subscription.__anext__()
            assert scope.cancelled_caught
        # To be cancelled costs nothing.
        assert numbers(await take(subscription, 1)) == [1]


async def test_it_resumes_after_its_cursor_in_every_place(tmp_path: Path) -> None:
    """In memory and, after a new opening, in the file; in the middle of a commit, too."""
    async with opened(tmp_path) as (state, _):
        for _ in range(3):
            await state.commit_and_wait(events(*range(10)))
        epoch = state.epoch
        for seq in range(31):
            async with journal(state).subscribe(since=Cursor(epoch, seq), until=0) as subscription:
                assert not [item async for item in subscription]  # `until` leaves all of them out
            async with journal(state).subscribe(since=Cursor(epoch, seq)) as subscription:
                assert numbers(await take(subscription, 30 - seq)) == list(range(seq + 1, 31))
    async with opened(tmp_path) as (state, _):
        for seq in range(31):
            async with journal(state).subscribe(since=Cursor(epoch, seq)) as subscription:
                assert numbers(await take(subscription, 30 - seq)) == list(range(seq + 1, 31))
        async with journal(state).subscribe(since=Cursor(epoch, 25)) as subscription:
            assert numbers(await take(subscription, 5)) == list(range(26, 31))
            state.commit(events(1))
            assert numbers(await take(subscription, 1)) == [31]


async def test_cursor_is_a_place_that_is_in_the_journal(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        state.commit(events(1, 2))
        cursor = await journal(state).cursor()
        assert cursor == Cursor(state.epoch, 2)
        assert state.committed == 2


async def test_cursor_does_not_wait_for_a_disk_for_ever(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(events(1))
        with no_commit(tmp_path):
            state.commit(events(2))
            cursor = await journal(state).cursor()
            assert cursor == Cursor(state.epoch, 1)
        async with journal(state).subscribe(since=cursor) as subscription:
            assert numbers(await take(subscription, 1)) == [2]


async def test_it_goes_on_across_epochs(tmp_path: Path) -> None:
    async with opened(tmp_path, boot_id="a") as (state, _):
        await state.commit_and_wait(events(1, 2, 3))
        old = state.epoch
    async with opened(tmp_path, boot_id="b") as (state, _):
        await state.commit_and_wait(events(4))
        async with journal(state).subscribe(since=Cursor(old, 1)) as subscription:
            items = await take(subscription, 3)
            assert numbers(items) == [2, 3, 4]
            assert [item.epoch for item in items] == [old, old, state.epoch]


async def test_a_cursor_beyond_the_end_of_its_epoch_gets_a_gap(tmp_path: Path) -> None:
    """What it had seen was lost with the power; its numbers were given again."""
    async with opened(tmp_path, boot_id="a") as (state, _):
        await state.commit_and_wait(events(1, 2, 3))
        old = state.epoch
    async with opened(tmp_path, boot_id="b") as (state, _):
        async with journal(state).subscribe(since=Cursor(old, 3)) as subscription:
            await state.commit_and_wait(events(4, 5))
            assert numbers(await take(subscription, 2)) == [4, 5]
        async with journal(state).subscribe(since=Cursor(old, 5)) as subscription:
            items = await take(subscription, 3)
            assert items[0] == Gap(after=Cursor(old, 5), epoch=state.epoch, seq=3)
            assert numbers(items[1:]) == [4, 5]
        # The same where nothing has happened since, and in the same epoch.
        async with journal(state).subscribe(since=Cursor(state.epoch, 99)) as subscription:
            assert await take(subscription, 1) == [Gap(after=Cursor(state.epoch, 99), epoch=state.epoch, seq=5)]
            state.commit(events(6))
            assert numbers(await take(subscription, 1)) == [6]


async def test_a_cursor_of_a_lost_journal_gets_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        stranger = Cursor("ffffffff", 1)
        async with journal(state).subscribe(since=stranger) as subscription:
            assert await take(subscription, 1) == [Gap(after=stranger, epoch=state.epoch, seq=0)]
            await state.commit_and_wait(events(1))
            assert numbers(await take(subscription, 1)) == [1]
        async with journal(state).subscribe(since=stranger) as subscription:
            items = await take(subscription, 2)
            assert items[0] == Gap(after=stranger, epoch=state.epoch, seq=0)
            assert numbers(items[1:]) == [1]


async def test_what_is_handed_over_is_no_gap(tmp_path: Path) -> None:
    """`list` may tell a number that is not in the journal yet."""
    async with opened(tmp_path) as (state, _):
        state.commit(events(1))
        async with journal(state).subscribe(since=Cursor(state.epoch, state.assigned)) as subscription:
            state.commit(events(2))
            assert numbers(await take(subscription, 1)) == [2]


async def test_retention_that_passes_by_is_told(tmp_path: Path) -> None:
    retention = Retention(journal_bytes=3000)
    async with opened(tmp_path, retention=retention) as (state, _):
        async with journal(state).subscribe() as subscription:
            await state.commit_and_wait(events(1))
            assert numbers(await take(subscription, 1)) == [1]
            for number in range(100):
                await state.commit_and_wait(events(number))
            await state.commit_and_wait(Changes())  # what is too much goes before it
            gap, *rest = await take(subscription, 5)
            assert isinstance(gap, Gap)
            assert gap.after == Cursor(state.epoch, 1)
            assert gap.epoch == state.epoch
            assert 50 < gap.seq < 100
            assert numbers(rest) == list(range(gap.seq + 1, gap.seq + 5))
        # The beginning is a place like others; a wall clock is not: it asks for what there is.
        async with journal(state).subscribe(since=Cursor(state.epoch, 0)) as subscription:
            assert isinstance((await take(subscription, 1))[0], Gap)
        async with journal(state).subscribe(since=0) as subscription:
            assert numbers(await take(subscription, 1)) == [gap.seq + 1]


async def test_heartbeats_tell_where_to_resume(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        service = journal(state)
        async with service.subscribe(filters={"event": ("die",)}, heartbeat=0.05) as subscription:
            assert await take(subscription, 1) == [Heartbeat(epoch=state.epoch, seq=0, time=START)]
            await state.commit_and_wait(events(1, 2, 3))  # not wanted, but seen
            clock.pass_(5)
            with trio.fail_after(30):
                while True:
                    item = await subscription.__anext__()
                    assert isinstance(item, Heartbeat)
                    if item.seq == 3:
                        break
            assert item.time == START + 5 * SECOND
            await state.commit_and_wait(Changes(events=(event(4, "die"),)))
            with trio.fail_after(30):
                while isinstance(item, Heartbeat):
                    item = await subscription.__anext__()
            assert numbers([item]) == [4]
        # Resumed from there, nothing is missed.
        async with service.subscribe(since=Cursor(state.epoch, 3), filters={"event": ("die",)}) as subscription:
            assert numbers(await take(subscription, 1)) == [4]


async def test_heartbeats_come_between_events_that_are_not_wanted(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            while True:
                await state.commit_and_wait(events(1))

        async with journal(state).subscribe(filters={"event": ("die",)}, heartbeat=0.05) as subscription:
            first, second = await take(subscription, 2)
            assert isinstance(first, Heartbeat)
            assert isinstance(second, Heartbeat)
            assert second.seq > first.seq
        nursery.cancel_scope.cancel()


async def test_a_heartbeat_names_no_place_beyond_the_journal(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(events(1))
        with no_commit(tmp_path):
            state.commit(events(2))
            async with journal(state).subscribe(heartbeat=0.01) as subscription:
                assert await take(subscription, 1) == [Heartbeat(epoch=state.epoch, seq=1, time=START)]


@pytest.mark.parametrize("heartbeat", [0, -1, math.nan])
async def test_a_heartbeat_that_is_none_is_refused(tmp_path: Path, heartbeat: float) -> None:
    async with opened(tmp_path) as (state, _):
        with pytest.raises(InvalidArgument, match="heartbeat"):
            journal(state).subscribe(heartbeat=heartbeat)
        with pytest.raises(InvalidArgument, match="no filter 'x'"):
            journal(state).subscribe(filters={"x": ("y",)})


async def _all(iterator: AsyncIterator[EventItem]) -> list[EventItem]:
    with trio.fail_after(30):
        return [item async for item in iterator]


async def test_since_and_until_are_wall_clocks(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        service = journal(state)
        for number in range(10):
            state.commit(Changes(events=(event(number, time=clock.wall),)))
            clock.pass_(10)
        for since, until, wanted in (
            (START, START + 100 * SECOND, range(1, 11)),
            (START + 20 * SECOND, START + 50 * SECOND, range(3, 6)),
            (START + 20 * SECOND + 1, START + 50 * SECOND + 1, range(4, 7)),
            (0, 1, range(0)),
            (START + 90 * SECOND, clock.wall, range(10, 11)),
            (START + 91 * SECOND, clock.wall, range(0)),
        ):
            async with service.subscribe(since=since, until=until) as subscription:
                assert numbers(await _all(subscription)) == list(wanted)
            # Encoded, too.
            async with service.subscribe(since=since, until=until) as subscription:
                items = []
                while (got := await subscription.next_encoded(300))[0]:
                    items += decode(*got)
                assert numbers(items) == list(wanted)
                assert await subscription.next_encoded(300) == (0, b"")
        # From a cursor until a time, and from now on until a time that is past.
        async with service.subscribe(since=Cursor(state.epoch, 8), until=clock.wall) as subscription:
            assert numbers(await _all(subscription)) == [9, 10]
        async with service.subscribe(until=START) as subscription:
            assert await _all(subscription) == []


async def test_until_in_the_future_ends_when_the_clock_is_there(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        async with journal(state).subscribe(until=START + 100 * SECOND) as subscription:
            state.commit(Changes(events=(event(1, time=clock.wall),)))
            assert numbers(await take(subscription, 1)) == [1]
            clock.step(200)  # set forward: it is past now
            state.commit(Changes(events=(event(2, time=clock.wall),)))
            assert await _all(subscription) == []


async def test_since_in_the_future_begins_with_the_first_event_there(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        await state.commit_and_wait(Changes(events=(event(1, time=clock.wall),)))
        async with journal(state).subscribe(since=START + 50 * SECOND) as subscription:
            await state.commit_and_wait(Changes(events=(event(2, time=clock.wall),)))
            clock.pass_(60)
            await state.commit_and_wait(Changes(events=(event(3, time=clock.wall),)))
            clock.step(-1000)
            await state.commit_and_wait(Changes(events=(event(4, time=clock.wall),)))
            assert numbers(await take(subscription, 2)) == [3, 4]


@pytest.mark.parametrize("step", [-3600, 3600])
async def test_after_a_step_of_the_clock_since_misses_nothing(tmp_path: Path, step: int) -> None:
    """A client that resumes by the time of the last event that it saw gets that and all that came after it, in order."""
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        times = []
        for number in range(20):
            if number == 10:
                clock.step(step)
            times.append(clock.wall)
            state.commit(Changes(events=(event(number, time=clock.wall),)))
            clock.pass_(1)
        for seen in range(10):
            async with journal(state).subscribe(since=times[seen]) as subscription:
                assert numbers(await take(subscription, 20 - seen)) == list(range(seen + 1, 21))


async def test_encoded_items_are_whole_and_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        for size in (1, 1, 50, 3, 1, 200, 1):
            await state.commit_and_wait(events(*range(size)))
        epoch = state.epoch
    for live in (False, True):
        async with opened(tmp_path) as (state, _):
            if live:  # the newest are in memory, the others in the file
                await state.commit_and_wait(events(*range(40)))
            total = state.committed
            for most in (1, 170, 1000, 5000, 1 << 20):
                for seq in (0, 1, 2, 30, 55, total - 1):
                    async with journal(state).subscribe(since=Cursor(epoch, seq)) as subscription:
                        items: list[EventItem] = []
                        with trio.fail_after(30):
                            while len(items) < total - seq:
                                count, data = await subscription.next_encoded(most)
                                assert count == 1 or len(data) <= most
                                items += decode(count, data)
                        assert numbers(items) == list(range(seq + 1, total + 1))


async def test_gaps_and_heartbeats_are_encoded_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(events(1))
        stranger = Cursor("ffffffff", 7)
        async with journal(state).subscribe(since=stranger, heartbeat=0.05) as subscription:
            items: list[EventItem] = []
            while len(items) < 3:
                items += decode(*await subscription.next_encoded(1 << 16))
        assert items[0] == Gap(after=stranger, epoch=state.epoch, seq=0)
        assert numbers(items[1:2]) == [1]
        assert items[2] == Heartbeat(epoch=state.epoch, seq=1, time=START)


async def test_subscribers_that_keep_up_share_the_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        service = journal(state)
        subscriptions = [service.subscribe() for _ in range(5)]
        for number in range(3):
            await state.commit_and_wait(events(number))
        got = [await subscription.next_encoded(1 << 16) for subscription in subscriptions]
        assert all(data is got[0][1] for _, data in got)
        assert numbers(decode(*got[0])) == [1, 2, 3]


async def test_at_the_engines_end_all_has_come(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        subscription = journal(state).subscribe()
        waiting = journal(state).subscribe(filters={"event": ("die",)})
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(EngineClosed):
                    await waiting.__anext__()

            await trio.testing.wait_all_tasks_blocked()
            state.commit(events(1, 2))
            await state.close()
    assert numbers(await take(subscription, 2)) == [1, 2]
    with pytest.raises(EngineClosed):
        await subscription.__anext__()


async def test_a_damaged_journal_is_told_to_who_reads_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        for number in range(5):
            await state.commit_and_wait(events(number))
        epoch = state.epoch
    with beside(tmp_path) as connection:
        connection.execute("UPDATE journal SET data = x'c1c1' WHERE row = 2")
    async with opened(tmp_path) as (state, _):
        async with journal(state).subscribe(since=Cursor(epoch, 0)) as subscription:
            assert numbers(await take(subscription, 1)) == [1]
            with pytest.raises(FolderUnusable, match="is damaged"):
                await subscription.__anext__()
        # Others are not affected.
        async with journal(state).subscribe(since=Cursor(epoch, 2)) as subscription:
            assert numbers(await take(subscription, 3)) == [3, 4, 5]


async def test_a_reader_in_this_process_is_interrupted_in_the_middle_and_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(events(*range(10)))
        async with journal(state).subscribe(since=Cursor(state.epoch, 0)) as subscription:
            seen = []
            async for item in subscription:
                seen.append(item)
                if len(seen) == 4:
                    break
            async for item in subscription:
                seen.append(item)
                if len(seen) == 10:
                    break
            assert numbers(seen) == list(range(1, 11))
