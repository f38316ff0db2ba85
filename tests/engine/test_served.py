"""An owner behind its socket that is killed, and started again, under its clients: they go on, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import pytest
import trio

import ardock
from ardock import Event
from ardock.client.blocking import Client
from ardock.client.find import find_socket, try_connect
from ardock.interface import Engine
from ardock.protocol import methods as m
from ardock.protocol.methods import Method
from tests.engine.folders import Folders
from tests.engine.histories import check_history
from tests.engine.owners import Owner, clean

T = TypeVar("T")


@pytest.fixture
def owner(folders: Folders) -> Iterator[Owner]:
    owner = Owner(folders)
    owner.start()
    yield owner
    owner.end(signal.SIGKILL)


@pytest.mark.timeout(180)
async def test_a_killed_daemon_loses_none_of_200_running_and_50_being_launched(
    owner: Owner, folders: Folders, rootfs: str
) -> None:
    results: Counter[str] = Counter()
    seen: list[Event] = []
    kills = 4
    async with ardock.connect(root=folders["root"], run_dir=folders["run_dir"]) as engine:
        stop = trio.Event()

        async def run_on(number: int) -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                name = f"{number}-{turn}"
                result = await engine.containers.run(
                    ["sh", "-c", f"echo {name}; exit {turn % 90}"], rootfs=rootfs, labels={"call": name}
                )
                assert (result.stdout, result.exit_code) == (f"{name}\n".encode(), turn % 90)
                results[result.id] += 1

        async def follow() -> None:
            async with engine.events.subscribe(since=ardock.Cursor(begin.epoch, 0)) as events:
                async for event in events:
                    assert isinstance(event, Event), event
                    seen.append(event)

        begin = await engine.events.cursor()
        kept = [
            await engine.containers.create(["sleep", "1000"], rootfs=rootfs, labels={"call": f"kept-{number}"})
            for number in range(200)
        ]
        async with trio.open_nursery() as nursery:
            for one in kept:
                nursery.start_soon(engine.containers.start, one.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            async with trio.open_nursery() as runs:
                for number in range(50):
                    runs.start_soon(run_on, number)
                for _ in range(kills):
                    await trio.sleep(0.7)
                    owner.end(signal.SIGKILL)
                    await trio.to_thread.run_sync(owner.start)
                await trio.sleep(0.5)
                stop.set()
            listing = await engine.containers.list()
            assert {one.id for one in listing.containers} >= {one.id for one in kept}
            with trio.fail_after(20):
                while not seen or seen[-1].seq < listing.seq:  # noqa: ASYNC110 - polled
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert len(results) > 50
    assert set(results.values()) == {1}
    # The follower saw every event once, in order, over all of that.
    check_history(seen)
    runs_of = Counter(event.attributes["call"] for event in seen if event.action == "start")
    assert set(runs_of.values()) == {1}
    labels = Counter(event.id for event in seen if event.action == "create")
    assert set(labels.values()) == {1}
    owner.end(signal.SIGTERM)
    events = await clean(folders)
    assert [event.seq for event in events[: len(seen)]] == [event.seq for event in seen]
    # No call was carried out twice: each label was created once.
    created = Counter(event.attributes["call"] for event in events if event.action == "create")
    assert set(created.values()) == {1}


async def test_a_repeated_call_is_not_carried_out_again(owner: Owner, folders: Folders, rootfs: str) -> None:
    """Over another connection, and over the next owner."""
    spec = ardock.ContainerSpec(argv=("true",), rootfs=rootfs)
    first = raw_call(folders, m.CREATE, m.Create(spec=spec, request_id="create-1"))
    assert raw_call(folders, m.CREATE, m.Create(spec=spec, request_id="create-1")) == first
    run = m.Run(spec=ardock.ContainerSpec(argv=("sh", "-c", "echo $$ $RANDOM"), rootfs=rootfs), request_id="run-1")
    result = raw_call(folders, m.RUN, run)
    assert raw_call(folders, m.RUN, run) == result
    started = raw_call(folders, m.START, m.Ref(ref=first.id, request_id="start-1"))
    owner.end(signal.SIGKILL)
    owner.start()
    assert raw_call(folders, m.CREATE, m.Create(spec=spec, request_id="create-1")) == first
    assert raw_call(folders, m.RUN, run) == result
    assert raw_call(folders, m.START, m.Ref(ref=first.id, request_id="start-1")) == started
    owner.end(signal.SIGTERM)
    events = await clean(folders)
    assert Counter(event.action for event in events) == {"create": 2, "start": 2, "die": 2, "destroy": 1}


def raw_call(folders: Folders, method: Method[T], params: m.Params) -> T:
    """One call over a connection of its own."""
    where = find_socket(root=str(folders["root"]), run_dir=str(folders["run_dir"]))
    connection = try_connect(where)
    assert connection is not None
    client = Client(connection)
    try:
        return client.call(method, params)
    finally:
        client.close()


async def test_the_end_of_an_owner_in_good_order_leaves_what_runs(owner: Owner, folders: Folders, rootfs: str) -> None:
    async with ardock.connect(root=folders["root"], run_dir=folders["run_dir"]) as engine:
        async with trio.open_nursery() as nursery:
            results = []

            async def run() -> None:
                results.append(await engine.containers.run(["sh", "-c", "sleep 2; echo whole; exit 3"], rootfs=rootfs))

            nursery.start_soon(run)
            await running(engine, 1)
            owner.end(signal.SIGTERM)
            owner.start()
        assert [(result.stdout, result.exit_code) for result in results] == [(b"whole\n", 3)]
    owner.end(signal.SIGTERM)
    await clean(folders)


async def running(engine: Engine, count: int) -> None:
    with trio.fail_after(20):
        while len((await engine.containers.list()).containers) < count:  # noqa: ASYNC110 - polled
            await trio.sleep(0.02)


async def test_a_client_that_goes_away_ends_what_it_ran(owner: Owner, folders: Folders, rootfs: str) -> None:
    async with ardock.connect(root=folders["root"], run_dir=folders["run_dir"]) as engine:
        pid = os.fork()
        if pid == 0:
            code = f"""
import ardock, trio
async def main():
    async with ardock.connect(root={str(folders["root"])!r}, run_dir={str(folders["run_dir"])!r}) as engine:
        async with await engine.containers.spawn(["sleep", "1000"], rootfs={rootfs!r}):
            await trio.sleep_forever()
trio.run(main)
"""
            os.execv(sys.executable, [sys.executable, "-c", code])
        await running(engine, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead
        with trio.fail_after(10):
            while (await engine.containers.list()).containers:  # noqa: ASYNC110 - polled
                await trio.sleep(0.02)
    owner.end(signal.SIGTERM)
    await clean(folders)
