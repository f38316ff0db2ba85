"""A remote engine over the real server: what a client keeps when its connection, or the owner of the engine, goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import ardock
from ardock.client import RemoteEngine, connect
from ardock.engine import Engine, own_engine
from ardock.model.events import Event
from ardock.model.logs import LogQuery, LogRecord
from ardock.server import serving
from tests.engine.folders import Folders


class Served:
    """The engine's socket, served by a task of its own for as long as the test wants."""

    def __init__(self, engine: Engine, nursery: trio.Nursery) -> None:
        self._engine = engine
        self._nursery = nursery
        self._leave = trio.Event()
        self._left = trio.Event()

    async def start(self) -> None:
        self._leave, self._left = trio.Event(), trio.Event()
        await self._nursery.start(self._serve)

    async def stop(self) -> None:
        """Drop every connection."""
        self._leave.set()
        await self._left.wait()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        async with serving(self._engine):
            task_status.started()
            await self._leave.wait()
        self._left.set()


async def test_events_and_logs_go_on_across_many_broken_connections(
    engine: Engine, rootfs: str, nursery: trio.Nursery
) -> None:
    """Each event and each byte once, whatever the server was doing when it went away."""
    count = 150
    whole = b"".join(b"line %d\n" % index for index in range(300))
    seen: list[int] = []
    log = b""
    watching = trio.Event()

    async def follow(remote: RemoteEngine) -> None:
        async with remote.events.subscribe() as events:
            watching.set()
            async for item in events:
                if isinstance(item, Event):
                    seen.append(item.seq)
                    if item.action == "destroy" and item.name == "last":
                        return

    async def read(remote: RemoteEngine) -> None:
        nonlocal log
        async with remote.containers.logs("talker", LogQuery(follow=True)) as items:
            async for item in items:
                assert isinstance(item, LogRecord)
                log += item.data

    async def make(done: trio.Event) -> None:
        for _ in range(count):
            await engine.containers.run(["true"], rootfs=rootfs)
        last = await engine.containers.create(["true"], rootfs=rootfs, name="last")
        await engine.containers.remove(last.id)
        await engine.containers.wait("talker")
        done.set()

    await engine.containers.create(
        ["sh", "-c", "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.005; done"],
        rootfs=rootfs,
        name="talker",
    )
    done = trio.Event()
    served = Served(engine, nursery)
    await served.start()
    breaks = 0
    async with connect(engine.socket) as remote, trio.open_nursery() as tasks:
        tasks.start_soon(follow, remote)
        await watching.wait()
        first = await engine.events.cursor()
        await engine.containers.start("talker")
        tasks.start_soon(read, remote)
        tasks.start_soon(make, done)
        while not done.is_set():
            # Once each of them got something through: a call that is broken again and again before that is given up.
            before = (len(seen), len(log))
            await trio.sleep(0.05)
            while not done.is_set() and (len(seen) == before[0] or before[1] == len(log) < len(whole)):  # noqa: ASYNC110 - two lists are looked at
                await trio.sleep(0.01)
            await served.stop()
            await served.start()
            breaks += 1
    await served.stop()
    assert breaks > 3
    assert seen == list(range(first.seq + 1, first.seq + 1 + len(seen)))
    assert len(seen) >= 2 * count
    assert log == whole
    await engine.containers.remove("talker")


async def test_a_run_is_not_run_twice_where_its_connection_broke(
    engine: Engine, rootfs: str, tmp_path: Path, nursery: trio.Nursery
) -> None:
    record = tmp_path / "record"
    record.mkdir()
    mount = ardock.Mount(source=str(record), target="/record")
    command = ["sh", "-c", "echo run >> /record/runs; sleep 0.3; cat /record/runs"]
    results: list[ardock.RunResult] = []

    async def run(remote: RemoteEngine) -> None:
        results.append(await remote.containers.run(command, rootfs=rootfs, mounts=[mount]))

    served = Served(engine, nursery)
    await served.start()
    async with connect(engine.socket) as remote, trio.open_nursery() as tasks:
        tasks.start_soon(run, remote)
        while not (record / "runs").exists():  # noqa: ASYNC110 - what a container does has no event here
            await trio.sleep(0.01)
        await served.stop()
        await served.start()
    await served.stop()
    assert results[0].stdout == b"run\n"
    assert (record / "runs").read_text() == "run\n"


async def test_the_next_owner_of_the_root_folder_goes_on_for_the_same_client(folders: Folders, rootfs: str) -> None:
    """`wait` and `run` that were under way are answered by it; a name that is taken is taken there, too."""
    ends: list[int] = []

    async def wait(remote: RemoteEngine) -> None:
        ends.append((await remote.containers.wait("kept")).exit_code)

    async def run(remote: RemoteEngine) -> None:
        ends.append((await remote.containers.run(["sh", "-c", "sleep 0.5; exit 5"], rootfs=rootfs)).exit_code)

    async def own(leave: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        async with own_engine(**folders) as owner, serving(owner):
            task_status.started()
            await leave.wait()

    async with trio.open_nursery() as owners:
        leaves = [trio.Event(), trio.Event()]
        await owners.start(own, leaves[0])
        async with connect(root=folders["root"], run_dir=folders["run_dir"]) as remote, trio.open_nursery() as tasks:
            await remote.containers.create(["sh", "-c", "sleep 0.7; exit 9"], rootfs=rootfs, name="kept")
            await remote.containers.start("kept")
            tasks.start_soon(wait, remote)
            tasks.start_soon(run, remote)
            await trio.sleep(0.2)
            leaves[0].set()
            while True:
                try:
                    await owners.start(own, leaves[1])
                    break
                except ardock.EngineLocked:
                    await trio.sleep(0.01)
            with pytest.raises(ardock.Conflict):
                await remote.containers.create(["true"], rootfs=rootfs, name="kept")
            with trio.fail_after(20):
                while len(ends) < 2:  # noqa: ASYNC110 - two tasks of ours
                    await trio.sleep(0.02)
            await remote.containers.remove("kept")
        leaves[1].set()
    assert sorted(ends) == [5, 9]


async def test_a_client_that_leaves_takes_what_it_ran_along(engine: Engine, rootfs: str) -> None:
    async with serving(engine) as path:
        with trio.move_on_after(0.3):
            async with connect(path) as remote:
                await remote.containers.create(["sleep", "1000"], rootfs=rootfs, name="kept")
                await remote.containers.start("kept")
                await remote.containers.spawn(["sleep", "1000"], rootfs=rootfs)
                await remote.containers.run(["sleep", "1000"], rootfs=rootfs)
        listing = await engine.containers.list(all=True)
        assert [each.name for each in listing.containers] == ["kept"]
        await engine.containers.remove("kept", force=True)
