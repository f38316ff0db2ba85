"""A call that is cancelled, passes its deadline, or loses its client: the container's fate is the documented one.

What was started for the caller alone is killed; a container that is kept is left as it is; nothing hangs, nothing leaks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pytest
import trio
import trio.testing

import ardock
from ardock import ContainerSpec, Event, ExecSpec, LogQuery
from ardock.client.blocking import Call, Client
from ardock.engine import Engine
from ardock.engine.containers import oneshot
from ardock.interface import Engine as AnyEngine
from ardock.protocol import methods as m
from ardock.server import serving
from tests.engine.histories import history
from tests.engine.tallies import back_to, tally

# Seconds after which it is given up: before anything was done, while it is launched, while it runs.
MOMENTS = (0.0, 0.002, 0.006, 0.02, 0.3)
HOST = "host"
IDLE = "idle"
FOREVER = ("sleep", "1000")

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A call that never ends by itself.

    Attributes:
        call: Make it by the interface.
        begin: Make it over a connection; with so many seconds for its deadline.
        ends: Programs that it has started, which end with it: ``"containers"``, ``"execs"``; empty where it starts none.
        count: How many.
    """

    call: Callable[[AnyEngine, str], Awaitable[object]]
    begin: Callable[[Client, str, float | None], Call[Any]]
    ends: str = ""
    count: int = 1


def simple(method: m.Method[T], make: Callable[[str], m.Params]) -> Callable[[Client, str, float | None], Call[Any]]:
    def begin(client: Client, rootfs: str, deadline: float | None) -> Call[Any]:
        return client.begin(method, msgspec.structs.replace(make(rootfs), deadline=deadline))

    return begin


async def run_many(engine: AnyEngine, rootfs: str) -> None:
    async with engine.containers.run_many([ContainerSpec(argv=FOREVER, rootfs=rootfs)] * 5) as results:
        async for result in results:
            raise AssertionError(result)


def begin_run_many(client: Client, rootfs: str, deadline: float | None) -> Call[Any]:
    call = client.begin(m.RUN_MANY, m.RunMany(deadline=deadline))
    call.send_items([ContainerSpec(argv=FOREVER, rootfs=rootfs)] * 5)
    return call


async def spawn(engine: AnyEngine, rootfs: str) -> None:
    async with await engine.containers.spawn(FOREVER, rootfs=rootfs, stdin_open=True) as program:
        await program.wait()


async def execute(engine: AnyEngine, rootfs: str) -> None:
    async with await engine.containers.exec(HOST, ExecSpec(argv=FOREVER, stdin_open=True)) as program:
        await program.wait()


async def read_logs(engine: AnyEngine, rootfs: str) -> None:
    async with engine.containers.logs(HOST, LogQuery(follow=True)) as items:
        async for _ in items:
            pass


async def attach(engine: AnyEngine, ref: str) -> None:
    async with await engine.containers.attach(ref, stdin=True) as attached:
        assert attached.stdout is not None
        await attached.stdout.read_all()


async def subscribe(engine: AnyEngine, rootfs: str) -> None:
    async with engine.events.subscribe() as events:
        async for _ in events:
            pass


def begin_spec(rootfs: str) -> ContainerSpec:
    return ContainerSpec(argv=FOREVER, rootfs=rootfs, stdin_open=True)


JOINED = ExecSpec(argv=FOREVER, stdin_open=True)
CASES = {
    "run": Case(
        lambda engine, rootfs: engine.containers.run(FOREVER, rootfs=rootfs, input=b"x"),
        simple(m.RUN, lambda rootfs: m.Run(spec=begin_spec(rootfs), input=b"x")),
        ends="containers",
    ),
    "run_many": Case(run_many, begin_run_many, ends="containers", count=5),
    "spawn": Case(spawn, simple(m.SPAWN, lambda rootfs: m.Spawn(spec=begin_spec(rootfs))), ends="containers"),
    "exec": Case(execute, simple(m.EXEC, lambda _: m.ExecCall(ref=HOST, spec=JOINED)), ends="execs"),
    "exec_run": Case(
        lambda engine, _: engine.containers.exec_run(HOST, FOREVER, input=b"x"),
        simple(m.EXEC_RUN, lambda _: m.ExecRun(ref=HOST, spec=ExecSpec(argv=FOREVER), input=b"x")),
        ends="execs",
    ),
    "logs": Case(read_logs, simple(m.LOGS, lambda _: m.Logs(ref=HOST, query=LogQuery(follow=True)))),
    "wait": Case(lambda engine, _: engine.containers.wait(HOST), simple(m.WAIT, lambda _: m.Wait(ref=HOST))),
    "wait for removal": Case(
        lambda engine, _: engine.containers.wait(IDLE, "removed"),
        simple(m.WAIT, lambda _: m.Wait(ref=IDLE, condition="removed")),
    ),
    "attach": Case(
        lambda engine, _: attach(engine, HOST), simple(m.ATTACH, lambda _: m.Attach(ref=HOST, stdin=True))
    ),
    "attach before the start": Case(
        lambda engine, _: attach(engine, IDLE), simple(m.ATTACH, lambda _: m.Attach(ref=IDLE, stdin=True))
    ),
    "stop": Case(
        lambda engine, _: engine.containers.stop(HOST, timeout=1000),
        simple(m.STOP, lambda _: m.Stop(ref=HOST, timeout=1000.0)),
    ),
    "subscribe": Case(subscribe, simple(m.SUBSCRIBE, lambda _: m.Subscribe(heartbeat=0.1))),
}  # fmt: skip


@asynccontextmanager
async def kept(engine: Engine, rootfs: str) -> AsyncIterator[int]:
    """A container that runs and refuses to stop, and one that was not started, which must both be so in the end; a pid."""
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"]
    containers = engine.containers
    await containers.create(command, rootfs=rootfs, name=HOST, stdin_open=True)
    await containers.create(["cat"], rootfs=rootfs, name=IDLE, stdin_open=True)
    await containers.start(HOST)
    await containers.exec_run(HOST, ["true"])
    pid = (await containers.inspect(HOST)).pid
    yield pid
    await containers.remove(HOST, force=True)
    # It can still be used as if nothing had been.
    async with await containers.attach(IDLE, stdin=True) as attached:
        await containers.start(IDLE)
        assert attached.stdin is not None
        assert attached.stdout is not None
        await attached.stdin.send_all(b"typed")
        await attached.stdin.aclose()
        assert await attached.stdout.read_all() == b"typed"
    await containers.remove(IDLE, force=True)


async def programs(engine: Engine, kind: str) -> int:
    """How many that the call started run."""
    if kind == "containers":
        return len((await engine.containers.list()).containers) - 1
    return len((await engine.containers.inspect(HOST)).execs)


async def under_way(engine: Engine, case: Case) -> None:
    """Wait until all that it starts runs."""
    with trio.fail_after(10):
        while case.ends and await programs(engine, case.ends) < case.count:  # noqa: ASYNC110 - polled
            await trio.sleep(0.005)


async def check_fate(engine: Engine, pid: int) -> None:
    """Nothing runs but what is kept, which is as it was."""
    found: dict[str, str] = {}
    with trio.move_on_after(10):
        while found != {HOST: "running", IDLE: "created"} or await programs(engine, "execs"):
            await trio.sleep(0.01)
            found = {one.name: one.status for one in (await engine.containers.list(all=True)).containers}
    assert found == {HOST: "running", IDLE: "created"}
    assert await programs(engine, "execs") == 0
    host = await engine.containers.inspect(HOST)
    assert (host.pid, host.run) == (pid, 1)


def check_ends(events: list[Event]) -> None:
    """Whatever was started was told to have ended, by SIGKILL."""
    started = {event.id for event in events if event.action == "start"}
    died = {event.id: event.attributes["exitCode"] for event in events if event.action == "die"}
    assert died.keys() == started
    joined = {event.attributes["execID"] for event in events if event.action.startswith("exec_start")}
    ended = {event.attributes["execID"]: event.attributes["exitCode"] for event in events if event.action == "exec_die"}
    assert ended.keys() == joined
    of_calls = {event.id for event in events if event.action == "create" and event.name not in (HOST, IDLE)}
    assert {died[one] for one in of_calls & started} <= {"137"}
    assert {event.id for event in events if event.action == "destroy"} >= of_calls
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("name", CASES)
async def test_cancelled(engine: Engine, either: AnyEngine, rootfs: str, name: str) -> None:
    case = CASES[name]
    async with kept(engine, rootfs) as pid:
        await either.containers.exec_run(HOST, ["true"])
        before = tally()
        for moment in MOMENTS:
            with trio.fail_after(20), trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(case.call, either, rootfs)
                    await trio.sleep(moment)
                    if moment == MOMENTS[-1]:
                        await under_way(engine, case)
                    scope.cancel()
            assert scope.cancelled_caught
            if case.ends:
                # Not merely soon: when the call is over, what it started has ended.
                assert await programs(engine, case.ends) == 0
            await check_fate(engine, pid)
            await back_to(before)
    check_ends(await history(engine))


async def answered(client: Client, call: Call[Any]) -> None:
    """Read until it is answered."""
    with trio.fail_after(20):
        while not call.done:
            await trio.lowlevel.wait_readable(client.fileno())
            client.feed()


@pytest.mark.parametrize("name", CASES)
async def test_its_deadline_passed(engine: Engine, rootfs: str, name: str) -> None:
    case = CASES[name]
    async with serving(engine), kept(engine, rootfs) as pid:
        with Client.connect(str(engine.socket)) as client:
            await answered(client, client.begin(m.VERSION, m.NoParams()))
            before = tally()
            for moment in MOMENTS:
                call = case.begin(client, rootfs, moment)
                await answered(client, call)
                assert isinstance(call.error, ardock.DeadlineExceeded), call.error
                assert call.method.name in call.error.message
                if case.ends:
                    assert await programs(engine, case.ends) == 0
                await check_fate(engine, pid)
                await back_to(before)
            # The connection serves on.
            again = client.begin(m.INSPECT, m.Ref(ref=HOST))
            await answered(client, again)
            assert again.result().pid == pid
    check_ends(await history(engine))


@pytest.mark.parametrize("name", CASES)
async def test_its_client_is_gone(engine: Engine, rootfs: str, name: str) -> None:
    case = CASES[name]
    async with serving(engine), kept(engine, rootfs) as pid:
        before = tally()
        for moment in MOMENTS:
            client = Client.connect(str(engine.socket))
            case.begin(client, rootfs, None)
            await trio.sleep(moment)
            if moment == MOMENTS[-1]:
                await under_way(engine, case)
            client.close()
            # What it has sent is read before its end is seen.
            await trio.testing.wait_all_tasks_blocked(0.02)
            await check_fate(engine, pid)
            await back_to(before)
    check_ends(await history(engine))


async def test_all_at_once_of_a_client_that_is_gone(engine: Engine, rootfs: str) -> None:
    async with serving(engine), kept(engine, rootfs) as pid:
        before = tally()
        for moment in MOMENTS:
            client = Client.connect(str(engine.socket))
            for case in CASES.values():
                for _ in range(5):
                    case.begin(client, rootfs, None)
            await trio.sleep(moment)
            client.close()
            # What it has sent is read before its end is seen.
            await trio.testing.wait_all_tasks_blocked(0.02)
            await check_fate(engine, pid)
            await back_to(before)
    check_ends(await history(engine))


async def test_who_may_come_back_is_waited_for_and_then_given_up(
    engine: Engine, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a request id outlives its client for a while; repeated in time, it is the same run."""
    monkeypatch.setattr(oneshot, "GRACE", 1.0)
    async with serving(engine), kept(engine, rootfs) as pid:
        before = tally()
        spec = ContainerSpec(argv=FOREVER, rootfs=rootfs)
        client = Client.connect(str(engine.socket))
        client.begin(m.RUN, m.Run(spec=spec, request_id="given up"))
        await under_way(engine, CASES["run"])
        client.close()
        await trio.sleep(0.3)
        assert await programs(engine, "containers") == 1, "it is waited for"
        await check_fate(engine, pid)
        await back_to(before)

        slow = ContainerSpec(argv=("sh", "-c", "sleep 2; echo done; exit 3"), rootfs=rootfs)
        client = Client.connect(str(engine.socket))
        client.begin(m.RUN, m.Run(spec=slow, request_id="came back"))
        await under_way(engine, CASES["run"])
        client.close()
        with Client.connect(str(engine.socket)) as back:
            call = back.begin(m.RUN, m.Run(spec=slow, request_id="came back"))
            await answered(back, call)
            assert (call.result().exit_code, call.result().stdout) == (3, b"done\n")
        await back_to(before)
    created = [event for event in await history(engine) if event.action == "create" and event.name not in (HOST, IDLE)]
    assert len(created) == 2


@pytest.mark.parametrize("moment", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.02])
async def test_what_is_no_waiting_is_done_whole_or_not_at_all(
    engine: Engine, either: AnyEngine, rootfs: str, moment: float
) -> None:
    containers = either.containers

    async def given_up(call: Callable[[], Awaitable[object]]) -> None:
        with trio.fail_after(10), trio.move_on_after(moment):
            await call()

    async def status(ref: str) -> str:
        with trio.fail_after(10):
            while True:
                try:
                    found = (await containers.inspect(ref)).status
                except ardock.NotFound:
                    return "none"
                if found not in ("starting", "removing"):
                    return found
                await trio.sleep(0.005)

    await containers.run(["true"], rootfs=rootfs)
    before = tally()
    await given_up(lambda: containers.create(FOREVER, rootfs=rootfs, name="one"))
    await back_to(before)
    if await status("one") == "none":
        await containers.create(FOREVER, rootfs=rootfs, name="one")
    await given_up(lambda: containers.start("one"))
    await back_to(before)
    if await status("one") == "created":
        await containers.start("one")
    assert await status("one") == "running"
    await given_up(lambda: containers.rename("one", "two"))
    await back_to(before)
    names = [one.name for one in (await containers.list()).containers]
    assert names in (["one"], ["two"])
    (name,) = names
    await given_up(lambda: containers.kill(name, "SIGWINCH"))
    await given_up(lambda: containers.exec_detached(name, FOREVER))
    await back_to(before)
    await given_up(lambda: containers.restart(name, timeout=0))
    await back_to(before)
    assert await status(name) in ("running", "exited")
    # It may have been given up when the signal was sent and the end not seen.
    await containers.stop(name, timeout=0)
    await containers.start(name)
    assert (await containers.exec_run(name, ["echo", "on"])).stdout == b"on\n"
    await given_up(lambda: containers.remove(name, force=True))
    await back_to(before)
    if await status(name) != "none":
        await containers.remove(name, force=True)
    assert (await containers.list(all=True)).containers == []
    actions = [event.action for event in await history(engine)]
    assert actions.count("start") == actions.count("die")
    assert actions.count("create") == actions.count("destroy")
