"""The wall clock of the engine is set forward and back: nothing is measured or ordered by it, and nothing is missed by its times."""

from __future__ import annotations

import time

import pytest
import trio

from ardock import Cursor, Event
from ardock.engine import clock, own_engine
from ardock.interface import Engine
from ardock.model.container import Filters
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.histories import check_history, history

HOUR = 3600 * 10**9


class WallClock:
    """What the engine takes for the time.

    Attributes:
        offset: ns that it is ahead of the machine's.
    """

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return time.time_ns() + self.offset


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """Before any engine is opened."""
    wall = WallClock()
    monkeypatch.setattr(clock, "now", wall.now)
    return wall


@pytest.mark.parametrize("hours", [1, -1, 24 * 365, -24 * 365])
async def test_durations_are_those_that_passed(either: Engine, rootfs: str, wall: WallClock, hours: int) -> None:
    containers = either.containers
    await containers.create(["sh", "-c", "sleep 1.3; exit 4"], rootfs=rootfs, name="timed")
    await containers.start("timed")
    await containers.exec_detached("timed", ["sleep", "1.1"])
    await trio.sleep(0.1)
    wall.offset += hours * HOUR
    listing = await containers.list()
    (one,) = listing.containers
    assert 0 < listing.boottime - one.started_boot < 60 * 10**9, "how long it is up"
    assert (await containers.wait("timed")).exit_code == 4
    await containers.remove("timed")
    # A time limit and a grace period are not over early, nor never.
    with trio.fail_after(20):
        limited = await containers.run(["sleep", "1000"], rootfs=rootfs, timeout=0.2)
        assert limited.timed_out
        await containers.create(["sleep", "1000"], rootfs=rootfs, name="stubborn")
        await containers.start("stubborn")
        wall.offset -= 2 * hours * HOUR
        await containers.stop("stubborn", timeout=0.2)
    await containers.remove("stubborn")
    lasted = {
        event.name + event.action: event.attributes["execDuration"]
        for event in await history(either)
        if "execDuration" in event.attributes and event.name in ("timed", "stubborn")
    }
    assert lasted == {"timeddie": "1", "timedexec_die": "1", "stubborndie": "0"}


async def test_a_time_limit_goes_on_in_the_next_engine(folders: Folders, rootfs: str, wall: WallClock) -> None:
    async with own_engine(**folders) as engine:
        for number, timeout in enumerate((1.0, 1000.0)):
            await engine.containers.create(["sleep", "1000"], rootfs=rootfs, name=f"limited{number}", timeout=timeout)
            await engine.containers.start(f"limited{number}")
    for step in (HOUR, -2 * HOUR):
        wall.offset += step
        async with own_engine(**folders) as engine:
            with trio.fail_after(20):
                assert (await engine.containers.wait("limited0")).exit_code == 137
            assert (await engine.containers.inspect("limited1")).status == "running"
    async with own_engine(**folders) as engine:
        await engine.containers.remove("limited0")
        await engine.containers.remove("limited1", force=True)
        check_history(await history(engine))
        await leftovers.no_containers(engine.id, engine.root)


async def some_history(engine: Engine, rootfs: str, wall: WallClock, steps: list[int]) -> list[Event]:
    """A container's life before, between and after steps of the clock."""
    for number, step in enumerate([0, *steps]):
        wall.offset += step
        for half in "ab":
            await engine.containers.create(["true"], rootfs=rootfs, name=f"life{number}{half}")
            await engine.containers.rename(f"life{number}{half}", f"renamed{number}{half}")
            await engine.containers.remove(f"renamed{number}{half}")
    return await history(engine)


async def read(engine: Engine, since: Cursor | int, end: int, filters: Filters | None = None) -> list[Event]:
    """What a subscriber gets, up to the event of the number `end`."""
    found: list[Event] = []
    with trio.fail_after(10):
        async with engine.events.subscribe(since=since, filters=filters) as events:
            async for event in events:
                assert isinstance(event, Event), event
                found.append(event)
                if event.seq >= end:
                    return found
    raise AssertionError("unreachable")


@pytest.mark.parametrize("steps", [[HOUR, -HOUR], [-HOUR, HOUR], [HOUR, -2 * HOUR, HOUR]])
async def test_events_are_in_order_and_since_misses_nothing(
    either: Engine, rootfs: str, wall: WallClock, steps: list[int]
) -> None:
    events = await some_history(either, rootfs, wall, steps)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    actions = [(event.action, event.name) for event in events]
    assert actions == [
        (action, f"{word}{number}{half}")
        for number in range(len(steps) + 1)
        for half in "ab"
        for action, word in (("create", "life"), ("rename", "renamed"), ("destroy", "renamed"))
    ]
    assert [event.time for event in events] != sorted(event.time for event in events), "the clock was set back"
    last = events[-1]
    for event in events:
        # By its place, and by its time: all that came after it is there, in order, and each once.
        if event is not last:
            assert await read(either, event.cursor, last.seq) == events[event.seq :]
        got = await read(either, event.time, last.seq)
        assert got == events[-len(got) :]
        assert len(got) >= len(events) - event.seq + 1, "it and all that followed"
        named = await read(either, event.time, last.seq, {"event": ("destroy",)})
        assert named == [one for one in got if one.action == "destroy"]


async def test_what_was_before_the_steps_is_not_told_again_by_since(
    either: Engine, rootfs: str, wall: WallClock
) -> None:
    """Forward and back: a time between what was before and what came after tells of the latter alone."""
    events = await some_history(either, rootfs, wall, [])
    await trio.sleep(0.01)
    between = wall.now()
    await trio.sleep(0.01)
    after = (await some_history(either, rootfs, wall, [HOUR, -HOUR]))[len(events) :]
    assert await read(either, between, after[-1].seq) == after
