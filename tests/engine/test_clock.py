"""The wall clock is set forth and back: order, durations and what comes since a time stay right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import trio

from ardock import Event
from ardock.engine import Engine, clock, own_engine
from tests.engine.folders import Folders
from tests.engine.histories import history

HOUR = 3_600_000_000_000


class Wall:
    """The engine's wall clock, which a test may set."""

    def __init__(self) -> None:
        self.step = 0

    def now(self) -> int:
        return time.time_ns() + self.step


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(clock, "now", wall.now)
    return wall


@pytest.fixture
async def stepped(wall: Wall, folders: Folders) -> AsyncIterator[Engine]:
    async with own_engine(**folders) as engine:
        yield engine
        for one in (await engine.containers.list(all=True)).containers:
            await engine.containers.remove(one.id, force=True)


async def since(engine: Engine, when: int) -> list[Event]:
    """All that comes since a time, up to what has happened by now."""
    end = await engine.events.cursor()
    found: list[Event] = []
    with trio.move_on_after(2):
        async with engine.events.subscribe(since=when) as events:
            async for event in events:
                assert isinstance(event, Event)
                found.append(event)
                if event.seq >= end.seq:
                    break
    return found


async def test_nothing_is_missed_since_a_time_that_was_before_the_steps(
    stepped: Engine, wall: Wall, rootfs: str
) -> None:
    containers = stepped.containers
    await containers.create(["true"], rootfs=rootfs, name="before")
    await trio.sleep(0.01)
    when = wall.now()
    for name, step in (("forth", HOUR), ("back", -HOUR), ("again", 2 * HOUR), ("true", 0)):
        wall.step = step
        await containers.create(["true"], rootfs=rootfs, name=name)
        await containers.rename(name, f"{name}2")
    seen = await since(stepped, when)
    assert [(event.action, event.name) for event in seen] == [
        (action, f"{name}{suffix}")
        for name in ("forth", "back", "again", "true")
        for action, suffix in (("create", ""), ("rename", "2"))
    ]
    assert [event.seq for event in seen] == list(range(seen[0].seq, seen[0].seq + len(seen)))


async def test_the_order_is_that_of_the_numbers(stepped: Engine, wall: Wall, rootfs: str) -> None:
    for step in (0, -HOUR, HOUR, -2 * HOUR):
        wall.step = step
        await stepped.containers.create(["sleep", "1000"], rootfs=rootfs, name=f"c{abs(step)}x{step < 0}")
    events = await history(stepped)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    times = [event.time for event in events]
    assert times != sorted(times), "they say what the clock said"
    # Newest first is the order of creation, whatever the clock said.
    names = [one.name for one in (await stepped.containers.list(all=True)).containers]
    assert names == [event.name for event in reversed(events)]


async def test_durations_are_not_the_clocks(stepped: Engine, wall: Wall, rootfs: str) -> None:
    containers = stepped.containers
    await containers.create(["sleep", "1.2"], rootfs=rootfs, name="one")
    await containers.start("one")
    wall.step = -5 * HOUR
    await containers.wait("one")
    (died,) = [event for event in await history(stepped) if event.action == "die"]
    assert died.attributes["execDuration"] == "1"
    # "Up since" is told on the clock that nobody sets.
    await containers.create(["sleep", "1000"], rootfs=rootfs, name="two")
    await containers.start("two")
    listing = await containers.list()
    up = listing.boottime - listing.containers[0].started_boot
    assert 0 <= up < 60_000_000_000


async def test_a_timeout_is_not_the_clocks(stepped: Engine, wall: Wall, rootfs: str) -> None:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):

            async def step() -> None:
                await trio.sleep(0.1)
                wall.step = -24 * HOUR

            nursery.start_soon(step)
            result = await stepped.containers.run(["sleep", "1000"], rootfs=rootfs, timeout=0.5)
            assert result.timed_out
