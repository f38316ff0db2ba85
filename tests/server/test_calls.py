"""Calls over a real socket: results, errors, streams, cancel, deadline, disconnect."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from ardock.model.errors import Cancelled, CommandNotFound, Conflict, DeadlineExceeded, NotFound
from ardock.model.logs import LogRecord
from ardock.protocol.catalogue import METHODS
from ardock.protocol.session import MAX_FRAME, WINDOW, Bytes, End, Items
from ardock.server import serving
from ardock.server.bindings import BINDINGS
from tests.server.client import Client, connected, encode
from tests.server.fake import ID, FakeEngine, as_any, result


def echo(text: str) -> dict[str, object]:
    return {"argv": ["echo", text]}


def test_every_method_is_bound() -> None:
    assert BINDINGS.keys() == METHODS.keys()


async def test_a_call_is_answered_from_memory(client: Client) -> None:
    version = await client.call("engine.version")
    assert version["engine"] == "0123abcd"
    assert version["protocol"] == 1
    assert (await client.call("containers.inspect", ref="one"))["id"] == ID
    assert (await client.call("containers.list"))["containers"] == [{"id": ID, "name": "one"}]
    assert await client.call("events.cursor") == ["00000000", 0]


async def test_simple_methods_reach_the_engine_with_their_arguments(client: Client, engine: FakeEngine) -> None:
    await client.call("containers.start", ref="a")
    await client.call("containers.stop", ref="a", timeout=1.5, signal="INT")
    await client.call("containers.restart", ref="a")
    await client.call("containers.kill", ref="a", signal=9, exec_id="e")
    await client.call("containers.rename", ref="a", name="b")
    await client.call("containers.remove", ref="a", force=True, volumes=True)
    await client.call("containers.resize", ref="a", rows=3, columns=4)
    assert engine.told == [
        "start a", "stop a 1.5 INT", "restart a None None", "signal a 9 e", "rename a b", "remove a True True", "resize a 3x4 None",
    ]  # fmt: skip
    assert await client.call("containers.exec_detached", ref="a", spec={"argv": ["x"]}) == {"exec_id": "e" * 64}
    assert await client.call("images.remove", ref="i") == {"done": ["Untagged: i"]}
    assert await client.call("images.list") == {"images": []}


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("containers.lst", {}, "there is no method 'containers.lst'"),
        ("containers.stop", {"ref": 5}, "containers.stop: ref: expected str, got int"),
        ("containers.stop", {}, "containers.stop: params: map missing required field ref"),
        ("containers.stop", {"ref": "a", "tmeout": 1}, "containers.stop: params: map contains unknown field tmeout"),
        ("containers.run", {"spec": {"argv": ["x"], "memory": []}}, "containers.run: spec.memory: expected int | str | null, got array"),
        ("containers.list", {"limit": "all"}, "containers.list: limit: expected int | null, got str"),
    ],
)  # fmt: skip
async def test_wrong_parameters_are_an_answer_that_names_method_field_and_what_was_expected(
    client: Client, method: str, params: dict[str, object], text: str
) -> None:
    error = await client.error(method, **params)
    assert error.code == "malformed_request"
    assert error.message == text
    assert (await client.call("engine.version"))["protocol"] == 1  # the connection goes on


async def test_params_that_are_no_map_are_an_answer(client: Client) -> None:
    number = client.session.request("containers.list", encode([1, 2]))
    await client.flush()
    reply = await client.reply(number)
    assert reply.error is not None
    assert reply.error.message == "containers.list: params: expected map, got array"


async def test_errors_travel_with_class_and_details(client: Client) -> None:
    error = await client.error("containers.create", spec={"argv": ["x"], "name": "taken"})
    assert type(error) is Conflict
    error = await client.error("containers.run", spec={"argv": ["nope", "x"]})
    assert isinstance(error, CommandNotFound)
    assert (error.step, error.errno, error.exit_code) == ("exec", 2, 127)
    error = await client.error("containers.list", filters={"bad": ["x"]})
    assert (error.code, getattr(error, "field", "")) == ("invalid_argument", "filters")


async def test_a_bug_is_one_calls_error(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    error = await client.error("containers.remove", ref="bug")
    assert error.code == "protocol_violation"
    assert "unexpected ZeroDivisionError: a bug" in error.message
    assert "a bug" in caplog.text  # with its traceback
    assert (await client.call("engine.version"))["protocol"] == 1


async def test_an_answer_that_is_too_long_says_so(client: Client, engine: FakeEngine) -> None:
    engine.containers.listed = [engine.containers.listed[0]] * (MAX_FRAME // 70)
    error = await client.error("containers.list")
    assert error.code == "capacity_exceeded"
    assert "ask for less" in error.message


# --- run ---


async def test_run_gives_output_and_code(client: Client) -> None:
    ran = await client.call("containers.run", spec=echo("hi"), input=b" there")
    assert (ran["stdout"], ran["id"]) == (b"hi there", ID)
    joined = await client.call("containers.exec_run", ref="one", spec={"argv": ["later", "x"]})
    assert joined["stdout"] == b"x"
    assert type(await client.error("containers.exec_run", ref="two", spec={"argv": ["x"]})) is NotFound


async def test_long_output_comes_as_bytes_before_the_answer(client: Client) -> None:
    number = await client.begin("containers.run", spec={"argv": ["zeros", "1000000"]})
    ran = await client.result(number)
    assert ran["streamed"] is True
    assert "stdout" not in ran
    assert client.bytes_of(number, 1) == b"\0" * 1_000_000
    assert client.bytes_of(number, 2) == b"\1" * 10


async def test_calls_are_pipelined_and_answered_in_one_write(client: Client) -> None:
    numbers = [
        client.session.request("containers.run", encode({"spec": {"argv": ["later", str(n)]}})) for n in range(500)
    ]
    await client.flush()
    assert [(await client.result(number))["stdout"] for number in numbers] == [str(n).encode() for n in range(500)]


async def test_cancel_kills_and_is_answered_once(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("containers.run", spec={"argv": ["hang", "a"]})
    client.session.cancel(number)
    client.session.cancel(number)
    await client.flush()
    with pytest.raises(Cancelled):
        await client.result(number)
    assert "cancel a" in engine.told
    number = await client.begin("containers.wait", ref="a")
    client.session.cancel(number)
    await client.flush()
    with pytest.raises(Cancelled):
        await client.result(number)
    assert "no longer waits for a" in engine.told


async def test_a_deadline_ends_a_call_as_cancelling_does(client: Client, engine: FakeEngine) -> None:
    error = await client.error("containers.run", spec={"argv": ["hang", "a"]}, deadline=0.05)
    assert type(error) is DeadlineExceeded
    assert "cancel a" in engine.told
    assert type(await client.error("containers.wait", ref="a", deadline=0.05)) is DeadlineExceeded
    assert type(await client.error("containers.wait", ref="a", deadline=0)) is DeadlineExceeded
    assert (await client.error("containers.wait", ref="a", deadline=-1)).code == "invalid_argument"


async def test_a_client_that_leaves_has_its_run_killed_or_kept_for_its_return(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as client:
        await client.begin("containers.run", spec={"argv": ["hang", "a"]})
        await client.begin("containers.run", spec={"argv": ["hang", "b"]}, request_id="r1")
        await client.begin("containers.wait", ref="c")
        await client.call("engine.version")
    await engine.until_told("abandon a may_return=False")
    await engine.until_told("abandon b may_return=True")
    await engine.until_told("no longer waits for c")
    async with connected(path) as client:
        number = await client.begin("containers.run", spec={"argv": ["hang", "b"]}, request_id="r1")
        await client.call("engine.version")
        engine.containers.handles["b"].finish(result(b"done"))
        assert (await client.result(number))["stdout"] == b"done"
    assert engine.containers.runs == ["a", "b"]


async def test_a_repeated_request_id_gives_the_first_result_over_another_connection(
    path: Path, engine: FakeEngine
) -> None:
    spec = {"argv": ["x"], "name": "slow"}
    async with connected(path) as client:
        await client.begin("containers.create", spec=spec, request_id="r")
        await client.call("engine.version")
    # It goes on without its client.
    engine.containers.gate.set()
    await engine.requests.done.wait()
    async with connected(path) as client:
        assert (await client.call("containers.create", spec=spec, request_id="r"))["name"] == "slow"
    assert engine.containers.runs == ["create slow"]


async def test_streams_take_no_request_id(client: Client) -> None:
    for method, params in (
        ("containers.spawn", {"spec": echo("x")}),
        ("containers.exec", {"ref": "one", "spec": {"argv": ["x"]}}),
        ("containers.run_many", {}),
        ("images.import", {"name": "x"}),
    ):
        error = await client.error(method, **params, request_id="r")
        assert error.code == "unsupported", method


# --- run_many ---


async def many(client: Client, specs: Sequence[object], **params: object) -> int:
    number = await client.begin("containers.run_many", **params)
    for spec in specs:
        client.session.send_items(number, [encode(spec)])
    client.session.send_items_end(number)
    await client.flush()
    return number


async def test_run_many_gives_every_result_with_its_index(client: Client) -> None:
    specs: list[object] = [{"argv": ["later", str(n)]} for n in range(300)]
    specs[7] = {"argv": ["nope", "x"]}
    specs[9] = {"argv": "x"}
    specs[11] = {"argv": ["zeros", "600000"]}
    number = await many(client, specs, max_output=1 << 20)
    assert await client.result(number) == {}
    results = {item.get("index", 0): item for item in client.items_of(number)}
    assert results.keys() == set(range(300))
    assert results[0]["stdout"] == b"0"
    assert results[299]["stdout"] == b"299"
    assert results[7]["error"]["code"] == "command_not_found"
    assert results[7]["exit_code"] == 127
    assert results[9]["error"]["message"] == "containers.run_many: argv: expected array, got str"
    assert results[11]["streamed"] is True
    # The bytes of a long one come right before it.
    messages = client.got[number]
    where = next(
        i for i, m in enumerate(messages) if isinstance(m, Items) and any(b"streamed" in bytes(raw) for raw in m.items)
    )
    assert isinstance(messages[where - 1], Bytes)
    assert client.bytes_of(number, 1) == b"\0" * 600_000


async def test_run_many_bounds_what_is_in_flight(client: Client, engine: FakeEngine) -> None:
    number = await many(client, [{"argv": ["hang", f"n{n}"]} for n in range(10)], in_flight=3)
    await client.call("engine.version")
    assert engine.containers.runs == ["n0", "n1", "n2"]
    for n in range(10):
        while f"n{n}" not in engine.containers.handles:
            await client.call("engine.version")
        engine.containers.handles[f"n{n}"].finish(result(b"x"))
    assert await client.result(number) == {}
    assert engine.containers.most_running == 3
    assert [item.get("index", 0) for item in client.items_of(number)] == list(range(10))
    assert (await client.error("containers.run_many", in_flight=0)).code == "invalid_argument"


async def test_run_many_leaves_room_for_others_where_launches_queue(client: Client, engine: FakeEngine) -> None:
    await many(client, [{"argv": ["queue", f"n{n}"]} for n in range(100)])
    await client.call("engine.version")
    assert len(engine.containers.runs) == 32


async def test_run_many_is_killed_with_its_call(client: Client, engine: FakeEngine) -> None:
    number = await many(client, [{"argv": ["hang", f"n{n}"]} for n in range(3)])
    await client.call("engine.version")
    client.session.cancel(number)
    await client.flush()
    with pytest.raises(Cancelled):
        await client.result(number)
    assert {"cancel n0", "cancel n1", "cancel n2"} <= set(engine.told)


async def test_many_specs_that_fail_at_once(client: Client) -> None:
    number = await many(client, [{"argv": ["nope", "x"]}] * 3000)
    assert await client.result(number) == {}
    assert len(client.items_of(number)) == 3000


# --- spawn, exec, attach ---


async def test_spawn_carries_its_streams(client: Client) -> None:
    number = await client.begin("containers.spawn", spec={"argv": ["cat"], "stdin_open": True})
    await client.until(number, Items)
    started = client.items_of(number)[0]
    assert (started["id"], started["pid"], started["timings"]["total"]) == (ID, 42, 5)
    client.session.send_bytes(number, 0, b"hello")
    await client.flush()
    await client.until(number, Bytes, 2)
    client.session.send_end(number, 0)
    await client.flush()
    assert (await client.result(number))["exit_code"] == 0
    assert client.bytes_of(number, 1) == b"hello"
    assert client.bytes_of(number, 2) == b"HELLO"
    assert client.ended_channels(number) == {1, 2}


async def test_more_than_the_window_goes_both_ways(client: Client) -> None:
    number = await client.begin("containers.spawn", spec={"argv": ["cat"], "stdin_open": True})
    data = bytes(range(256)) * 8192  # 2 MiB
    rest = data
    while rest:
        size = min(client.session.room(number), 1 << 16, len(rest))
        if size:
            client.session.send_bytes(number, 0, rest[:size])
            await client.flush()
            rest = rest[size:]
        else:
            await client.pump()
    client.session.send_end(number, 0)
    await client.flush()
    assert (await client.result(number))["exit_code"] == 0
    assert client.bytes_of(number, 1) == data


async def test_a_program_that_closes_its_input_has_the_client_told(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("containers.spawn", spec={"argv": ["sleep"], "stdin_open": True})
    await client.until(number, Items)
    program = engine.containers.programs["spawned"]
    program.input.close()
    # What is lost is credited all the same: a client that goes on writing is not stuck.
    client.session.send_bytes(number, 0, bytes(WINDOW))
    await client.flush()
    await client.until(number, End)
    assert client.ended_channels(number) == {0}
    while client.session.room(number) == 0:
        await client.pump()
    program.end(0)
    assert (await client.result(number))["exit_code"] == 0


async def test_exec_with_a_terminal(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("containers.exec", ref="one", spec={"argv": ["cat"], "tty": True, "stdin_open": True})
    client.session.send_bytes(number, 0, b"typed")
    client.session.send_end(number, 0)  # leaves the terminal open
    await client.flush()
    await client.until(number, Bytes)
    assert client.items_of(number)[0]["exec_id"] == "e" * 64
    assert client.bytes_of(number, 1) == b"typed"
    engine.containers.programs["joined"].end(4)
    assert (await client.result(number))["exit_code"] == 4


async def test_a_program_that_cannot_be_started_is_the_calls_error(client: Client) -> None:
    assert type(await client.error("containers.spawn", spec={"argv": ["missing"]})) is CommandNotFound


async def test_a_cancelled_spawn_is_killed_and_tells_its_end(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("containers.spawn", spec={"argv": ["sleep"]})
    await client.until(number, Items)
    client.session.cancel(number)
    await client.flush()
    assert (await client.result(number))["exit_code"] == 137
    assert engine.told == ["kill spawned"]


async def test_a_client_that_leaves_has_its_program_killed(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as client:
        number = await client.begin("containers.spawn", spec={"argv": ["sleep"]})
        await client.until(number, Items)
    await engine.until_told("kill spawned")


async def test_a_child_that_holds_the_output_open_does_not_hold_the_answer_back(
    client: Client, engine: FakeEngine
) -> None:
    number = await client.begin("containers.spawn", spec={"argv": ["daemonize"]})
    await client.until(number, Items)
    program = engine.containers.programs["spawned"]
    await program.output.send_all(b"last words")
    program.end(0, holds_output=True)
    assert (await client.result(number))["exit_code"] == 0
    assert client.bytes_of(number, 1) == b"last words"


async def test_attach_detaches_and_the_container_goes_on(client: Client, engine: FakeEngine) -> None:
    program = engine.containers._program("one", ("sleep",), None, tty=False, stdin_open=True)
    number = await client.begin("containers.attach", ref="one", stdin=True)
    await client.until(number, Items)
    assert client.items_of(number) == [{"kind": "attached"}]
    await program.output.send_all(b"out")
    await client.until(number, Bytes)
    engine.containers.attachments[0].missed = 12
    await program.output.send_all(b"more")
    await client.until(number, Bytes, 2)
    assert client.items_of(number)[1:] == [{"kind": "missed", "total": 12}]
    client.session.send_bytes(number, 0, b"in")
    await client.flush()
    assert await program.input.receive_some() == b"in"
    client.session.cancel(number)
    await client.flush()
    with pytest.raises(Cancelled):
        await client.result(number)
    assert engine.told == ["detach"]
    assert program.exit is None


async def test_attach_is_answered_when_the_output_has_ended(client: Client, engine: FakeEngine) -> None:
    program = engine.containers._program("one", ("sleep",), None, tty=True, stdin_open=True)
    number = await client.begin("containers.attach", ref="one", stdin=True)
    await client.until(number, Items)
    assert client.items_of(number) == [{"kind": "attached", "tty": True}]
    program.end()
    assert await client.result(number) == {}


# --- logs, events, images ---


async def test_logs_are_records_and_then_an_answer(client: Client, engine: FakeEngine) -> None:
    engine.containers.log = [LogRecord(time=n, stream="stdout", data=b"x" * n, cursor=n) for n in range(1000)]
    number = await client.begin("containers.logs", ref="one")
    assert await client.result(number) == {}
    assert [item["time"] for item in client.items_of(number)] == list(range(1000))
    number = await client.begin("containers.logs", ref="one", query={"follow": True})
    await client.until(number, Items, 10)
    client.session.cancel(number)
    await client.flush()
    with pytest.raises(Cancelled):
        await client.result(number)
    assert engine.told == ["log closed", "log closed"]
    assert type(await client.error("containers.logs", ref="two")) is NotFound


async def test_a_subscription_is_accepted_before_anything_happens(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("events.subscribe")
    await client.until(number, Items)
    assert client.items_of(number) == []
    engine.events.add(3)
    while len(client.items_of(number)) < 3:
        await client.pump()
    assert [item["seq"] for item in client.items_of(number)] == [1, 2, 3]
    assert (await client.error("events.subscribe", filters={"bad": ["x"]})).code == "invalid_argument"
    assert (await client.error("events.subscribe", since=["00000000", 1], since_time=5)).code == "invalid_argument"


async def test_a_subscriber_that_does_not_read_is_held_back_alone(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as slow, connected(path) as quick:
        await slow.until(await slow.begin("events.subscribe", since=["00000000", 0]), Items)
        number = await quick.begin("events.subscribe", since=["00000000", 0])
        engine.events.add(5000, size=1000)
        while len(quick.items_of(number)) < 5000:
            await quick.pump()
        # What was taken for the slow one is bounded by its window.
        taken = engine.events.subscriptions[0].taken
        assert taken * 1000 < WINDOW + (64 << 10) + 2000
        # It goes on where it was, whenever it reads.
        while len(slow.items_of(0)) < 5000:
            await slow.pump()
        assert [item["seq"] for item in slow.items_of(0)] == list(range(1, 5001))


async def test_an_image_comes_as_bytes(client: Client) -> None:
    number = await client.begin("images.import", name="x")
    sent = 0
    while sent < 1_000_000:
        size = min(client.session.room(number), 50_000)
        if size:
            client.session.send_bytes(number, 0, b"t" * size)
            sent += size
            await client.flush()
        else:
            await client.pump()
    client.session.send_end(number, 0)
    await client.flush()
    assert (await client.result(number))["size"] == sent
    assert (await client.call("images.import", name="y", path="/tmp", request_id="r"))["names"] == ["y:latest"]


# --- the server's end ---


async def test_what_clients_started_goes_on_when_the_server_ends(engine: FakeEngine) -> None:
    async with AsyncExitStack() as stack:
        async with serving(as_any(engine), group=None) as path:
            client = await stack.enter_async_context(connected(path))
            await client.begin("containers.run", spec={"argv": ["hang", "a"]})
            many_call = await client.begin("containers.run_many")
            client.session.send_items(many_call, [encode({"argv": ["hang", "b"]})])
            await spawned(client)
        assert engine.told == ["release spawned"]
        assert not path.exists()
        assert await client.until_end() is None


async def test_what_clients_started_goes_on_when_the_owner_is_cancelled(engine: FakeEngine) -> None:
    async with AsyncExitStack() as stack:
        with trio.CancelScope() as scope:
            async with serving(as_any(engine), group=None) as path:
                await spawned(await stack.enter_async_context(connected(path)))
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert engine.told == ["release spawned"]


async def spawned(client: Client) -> int:
    """A program that runs."""
    number = await client.begin("containers.spawn", spec={"argv": ["sleep"]})
    await client.until(number, Items)
    return number


async def test_an_error_of_the_body_comes_out_as_it_is(engine: FakeEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serving(as_any(engine), group=None):
            raise ZeroDivisionError
