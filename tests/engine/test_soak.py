"""Ten thousand runs and a hundred thousand execs through the API: exact, and nothing grows.

``ARDOCK_SOAK=1`` (`make soak`) makes it the whole of that; without, a tenth of it proves the same of less.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

import ardock
from ardock.interface import Engine
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.owners import Owner, clean

WHOLE: Final = bool(os.environ.get("ARDOCK_SOAK"))
RUNS: Final = 10_000 if WHOLE else 1_000
EXECS: Final = 100_000 if WHOLE else 5_000
# What is kept for a time by design (exits, requests, the journal's tail) is far from its bound in so short a run, in bytes for
# each call; a leak of a task, a record or a descriptor is beyond it.
KEPT_BYTES: Final = 2_500


@pytest.fixture
def owner(folders: Folders) -> Iterator[Owner]:
    owner = Owner(folders)
    owner.start()
    yield owner
    owner.end(signal.SIGKILL)


@pytest.fixture
async def engine(owner: Owner, folders: Folders) -> AsyncIterator[Engine]:
    async with ardock.connect(root=folders["root"], run_dir=folders["run_dir"]) as engine:
        yield engine


class Size:
    """What the daemon and its keepers hold."""

    def __init__(self, owner: Owner, engine_id: str) -> None:
        pids = [owner.pid, *leftovers.keepers(engine_id)]
        self.descriptors = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
        self.resident = {pid: leftovers.resident(pid) for pid in pids}
        self.zombies = [pid for pid in pids for child in children(pid) if state(child) == "Z"]


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


async def settled(owner: Owner, engine_id: str, before: Size, calls: int) -> None:
    """What `calls` calls have left is what is kept by design."""
    with trio.fail_after(20):
        while True:
            after = Size(owner, engine_id)
            grown = {pid: after.descriptors.get(pid, 0) - count for pid, count in before.descriptors.items()}
            # The last mount namespaces and launchers are let go of in the background.
            if not after.zombies and max(grown.values()) <= 8:
                break
            await trio.sleep(0.1)
    for pid, kilobytes in before.resident.items():
        allowed = 4096 + calls * KEPT_BYTES // 1024 if pid == owner.pid else 2048
        assert after.resident[pid] - kilobytes < allowed, f"process {pid} has grown from {kilobytes} kB"


async def in_flight(count: int, call: Callable[[int], Awaitable[None]]) -> None:
    """`call` with each number below `count`, 32 at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(work)


@pytest.mark.slow
@pytest.mark.timeout(900 if WHOLE else 120)
async def test_runs_with_distinct_output(engine: Engine, owner: Owner, folders: Folders, rootfs: str) -> None:
    ids: set[str] = set()

    async def run(number: int) -> None:
        result = await engine.containers.run(
            ["sh", "-c", f"echo number {number}; exit {number % 100}"], rootfs=rootfs, scratch="memory"
        )
        assert (result.stdout, result.exit_code) == (f"number {number}\n".encode(), number % 100)
        ids.add(result.id)

    await in_flight(500, run)
    before = Size(owner, engine.id)
    await in_flight(RUNS, run)
    assert len(ids) == RUNS + 500
    await settled(owner, engine.id, before, RUNS)
    assert (await engine.containers.list(all=True)).containers == []
    owner.end(signal.SIGTERM)
    events = await clean(folders)
    assert {event.id for event in events if event.action == "destroy"} == ids


@pytest.mark.slow
@pytest.mark.timeout(1800 if WHOLE else 120)
async def test_execs_in_one_container(engine: Engine, owner: Owner, folders: Folders, rootfs: str) -> None:
    await engine.containers.create(["sleep", "100000"], rootfs=rootfs, name="host", scratch="memory")
    await engine.containers.start("host")

    async def join(number: int) -> None:
        result = await engine.containers.exec_run("host", ["echo", str(number)])
        assert (result.stdout, result.exit_code) == (f"{number}\n".encode(), 0)

    await in_flight(1000, join)
    before = Size(owner, engine.id)
    await in_flight(EXECS, join)
    await settled(owner, engine.id, before, EXECS)
    assert (await engine.containers.inspect("host")).execs == ()
    result = await engine.containers.exec_run("host", ["ps", "-o", "stat"])
    assert b"Z" not in result.stdout.replace(b"STAT", b""), "no zombie inside"
    owner.end(signal.SIGTERM)
    await clean(folders)
