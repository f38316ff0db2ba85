"""Calls with one answer: on the wire, their errors, cancelling."""

from __future__ import annotations

import msgpack
import pytest
import trio
import trio.testing

from ardock.client.trio_client import RemoteEngine, connect
from ardock.model import errors
from ardock.model.container import Listing
from ardock.model.records import RunResult
from ardock.model.registry import Credentials
from ardock.model.spec import ContainerSpec
from ardock.protocol.methods import PROTOCOL, WAIT, Wait
from tests.client.server import ENGINE, Peer, ScriptedServer

OUTCOME = {"id": "c" * 64, "stdout": b"hi\n", "stdout_total": 3}


async def test_connect_learns_who_is_there(server: ScriptedServer, nursery: trio.Nursery) -> None:
    peers: list[Peer] = []

    async def script() -> None:
        peers.append(await server.peer())

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        assert engine.id == ENGINE
        assert repr(engine) == f"<RemoteEngine {ENGINE} over <Line to {ENGINE} up, 0 calls>>"
    assert await peers[0].until_lost() == []
    with pytest.raises(errors.EngineClosed):
        await engine.info()


async def test_a_run_is_one_message_each_way(server: ScriptedServer, nursery: trio.Nursery) -> None:
    seen: list[dict[str, object]] = []

    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.run")
            seen.append(params)
            await peer.reply(number, OUTCOME)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        result = await engine.containers.run(["echo", "hi"], rootfs="/x", input=b"in", max_output=5, env={"A": "b"})
    assert result == RunResult(id="c" * 64, exit_code=0, stdout=b"hi\n", stdout_total=3)
    assert seen[0].pop("request_id")
    assert seen == [
        {
            "spec": {"argv": ["echo", "hi"], "rootfs": "/x", "env": {"A": "b"}},
            "input": b"in",
            "max_output": 5,
        }
    ]


async def test_credentials_are_tried_by_the_engine(server: ScriptedServer, nursery: trio.Nursery) -> None:
    seen: list[dict[str, object]] = []

    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("registry.login")
            seen.append(params)
            await peer.reply(number, {"identity_token": "a token"})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        assert await engine.login("docker.io", Credentials(username="alice", password="secret")) == "a token"
    assert seen == [{"server": "docker.io", "credentials": {"username": "alice", "password": "secret"}}]


async def test_long_output_comes_beside_the_result(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Its credit goes back as it comes, or more than 256 KiB could not come."""
    pieces = 20

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            out = 0
            for index in range(pieces):
                await peer.notify("bytes", number, 1 + index % 2, bytes([index]) * 60_000)
                out += 60_000
                if out >= 256 << 10:
                    _, given = await peer.notification("credit")
                    assert given >= 60_000
                    out -= given
            await peer.reply(number, {"id": "c", "streamed": True, "stdout_total": 1, "truncated": True})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        result = await engine.containers.run(["x"], rootfs="/x")
    assert result.stdout == b"".join(bytes([index]) * 60_000 for index in range(0, pieces, 2))
    assert result.stderr == b"".join(bytes([index]) * 60_000 for index in range(1, pieces, 2))
    assert result.truncated


async def test_what_is_asked_for_in_one_tick_leaves_in_one_write(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """And the replies of one read wake all their callers: no task, no write of its own for a call."""
    sizes: list[int] = []

    async def script() -> None:
        async with server.expecting() as peer:
            before = len(peer.pieces)
            numbers = [(await peer.call("containers.run"))[0] for _ in range(32)]
            sizes.extend(peer.pieces[before:])
            await peer.send(*([1, number, None, {**OUTCOME, "index": index}] for index, number in enumerate(numbers)))
            await peer.until_lost()

    nursery.start_soon(script)
    results: list[RunResult] = []

    async def one(engine: RemoteEngine) -> None:
        results.append(await engine.containers.run(["x"], rootfs="/x"))

    async with connect(server.path) as engine:
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as runs:
            for _ in range(32):
                runs.start_soon(one, engine)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living <= tasks + 33
    assert len(sizes) == 1, sizes
    assert sorted(result.index for result in results) == list(range(32))


ALL = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ArdockError) and kind is not errors.ArdockError
}


async def test_every_error_comes_as_its_own_class(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            for code in ALL:
                number, _ = await peer.call("containers.inspect")
                await peer.fail(number, code, f"the {code}", field="f", step="mount", errno=2, option="o", owner=7)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        for code, kind in ALL.items():
            with pytest.raises(kind) as caught:
                await engine.containers.inspect("x")
            assert type(caught.value) is kind
            assert (caught.value.code, caught.value.message) == (code, f"the {code}")
            for name, value in (("field", "f"), ("step", "mount"), ("errno", 2), ("option", "o"), ("owner", 7)):
                assert getattr(caught.value, name, value) == value


async def test_a_wrong_value_is_the_same_error_as_in_process(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.run")
            assert params["spec"]["memory"] == 1.5
            await peer.fail(number, "malformed_request", "containers.run: spec.memory: expected int, got float")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        run = engine.containers.run
        with pytest.raises(errors.InvalidArgument, match="memory: expected") as caught:
            await run(ContainerSpec(argv=("x",), memory=1.5))  # type: ignore[arg-type]
        assert caught.value.field == "memory"
        # These are found before anything is sent:
        with pytest.raises(errors.InvalidArgument, match="unknown option"):
            await run(["x"], nosuch=1)  # type: ignore[call-arg]
        with pytest.raises(errors.InvalidArgument, match="argv: a list of words"):
            await run("true")
        with pytest.raises(errors.InvalidArgument, match="max_output"):
            await run(["x"], max_output=-1)
        with pytest.raises(errors.InvalidArgument, match="env: expected str"):
            await run(ContainerSpec(argv=("x",), env={"a": object()}))  # type: ignore[dict-item]
        with pytest.raises(errors.InvalidArgument, match="surrogates"):
            await run(["\ud800"], rootfs="/x")
        with pytest.raises(errors.InvalidArgument, match=r"^input: .*use spawn"):
            await run(["x"], rootfs="/x", input=b"x" * (17 << 20))


async def test_cancelling_cancels_over_there_and_awaits_the_end(server: ScriptedServer, nursery: trio.Nursery) -> None:
    events: list[str] = []
    cancelled = trio.Event()

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            cancelled.set()
            assert await peer.notification("cancel") == [number]
            await trio.testing.wait_all_tasks_blocked()
            events.append("killed")
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:

                async def stop() -> None:
                    await cancelled.wait()
                    scope.cancel()

                inner.start_soon(stop)
                await engine.containers.run(["x"], rootfs="/x")
        events.append("returned")
        assert scope.cancelled_caught
    assert events == ["killed", "returned"]


async def test_a_result_that_crosses_the_cancel_is_dropped(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            await peer.notification("cancel")
            await peer.reply(number, OUTCOME)
            number, _ = await peer.call("containers.list")
            await peer.reply(number, {"containers": [], "epoch": "0" * 8, "seq": 5})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with trio.move_on_after(0.02) as scope:
            await engine.containers.run(["x"], rootfs="/x")
        assert scope.cancelled_caught
        assert await engine.containers.list() == Listing(containers=[], epoch="0" * 8, seq=5)


async def test_an_engine_that_does_not_answer_a_cancel_hangs_nobody(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            first, _ = await peer.call("containers.run")
            await peer.notification("cancel")
            number, _ = await peer.call("containers.list")
            await peer.reply(first, OUTCOME)  # late, and nobody's any more
            await peer.reply(number, {"containers": [], "epoch": "0" * 8, "seq": 5})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path, patience=0.1) as engine:
        with trio.move_on_after(0.01):
            await engine.containers.run(["x"], rootfs="/x")
        assert (await engine.containers.list()).seq == 5


async def test_a_deadline_travels(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.wait")
            assert params == {"ref": "x", "deadline": 0.5}
            await peer.fail(number, "deadline_exceeded")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.DeadlineExceeded):
            await engine.call(WAIT, Wait(ref="x", deadline=0.5))


async def test_more_calls_than_the_engine_takes_wait_for_room(server: ScriptedServer, nursery: trio.Nursery) -> None:
    total, most = 4500, 0

    async def script() -> None:
        nonlocal most
        async with server.expecting() as peer:
            waiting = [(await peer.call("containers.run"))[0] for _ in range(4000)]
            # One that ends others does not wait.
            number, _ = await peer.call("containers.kill")
            await peer.reply(number, {})
            most = len(waiting)
            answered = 0
            while answered < total:
                await peer.reply(waiting.pop(0), OUTCOME)
                answered += 1
                if answered + len(waiting) < total:
                    waiting.append((await peer.call("containers.run"))[0])
            await peer.until_lost()

    nursery.start_soon(script)
    done = 0

    async def one(engine: RemoteEngine) -> None:
        nonlocal done
        await engine.containers.run(["x"], rootfs="/x")
        done += 1

    async with connect(server.path) as engine:
        async with trio.open_nursery() as runs:
            for _ in range(total):
                runs.start_soon(one, engine)
            await trio.testing.wait_all_tasks_blocked()
            await engine.containers.kill("x")
    assert (done, most) == (total, 4000)


async def test_leaving_ends_what_is_under_way(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            assert await peer.notification("cancel") == [number]
            await peer.fail(number, "cancelled")
            assert await peer.until_lost() == []

    nursery.start_soon(script)
    async with trio.open_nursery() as inner:
        async with connect(server.path) as engine:

            async def run() -> None:
                with pytest.raises((errors.Cancelled, errors.EngineClosed)):
                    await engine.containers.run(["x"], rootfs="/x")

            inner.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()


async def test_an_error_in_the_body_comes_out_as_it_is(server: ScriptedServer, nursery: trio.Nursery) -> None:
    nursery.start_soon(server.peer)
    with pytest.raises(KeyError, match="mine"):
        async with connect(server.path):
            raise KeyError("mine")


# --- what is wrong over there ---


async def test_nobody_there(path: str) -> None:
    with pytest.raises(errors.DaemonUnavailable, match="no such socket"):
        async with connect(path):
            pass


async def test_the_engine_s_refusal_is_raised(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = Peer(await server.accept())
        await peer.notify("error", {"code": "not_permitted", "message": "only root and the group ardock"})
        await peer.close()

    nursery.start_soon(script)
    with pytest.raises(errors.NotPermitted, match="only root"):
        async with connect(server.path):
            pass


@pytest.mark.parametrize("protocol", [PROTOCOL + 1, 0])
async def test_another_protocol_is_refused(server: ScriptedServer, nursery: trio.Nursery, protocol: int) -> None:
    async def script() -> None:
        peer = Peer(await server.accept())
        number, _ = await peer.call("engine.version")
        await peer.reply(number, {"version": "9", "protocol": protocol, "engine": ENGINE, "pid": 1})

    nursery.start_soon(script)
    with pytest.raises(errors.Unsupported, match=f"speaks protocol {protocol}"):
        async with connect(server.path):
            pass


GARBAGE = {
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an unknown notification": msgpack.packb([2, "nosuch", []]),
    "a request": msgpack.packb([0, 1, "x", {}]),
    "an answer to no call": msgpack.packb([1, 99, None, {}]),
    "another kind": msgpack.packb([7, 1, None, {}]),
    "a map": msgpack.packb({"a": 1}),
    "credit for nothing": b"",
    "a wrong record": b"",
    "an error that is none": msgpack.packb([1, 1, 5, None]),
    "invalid MessagePack": b"\x94\xc1\xc1\xc1\xc1",
}


@pytest.mark.parametrize("case", GARBAGE)
async def test_garbage_is_a_clear_error_and_the_next_call_connects_anew(
    server: ScriptedServer, nursery: trio.Nursery, case: str
) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.spawn")
            data = GARBAGE[case]
            if case == "credit for nothing":
                data = msgpack.packb([2, "bytes", [number, 1, b"x"]]) + msgpack.packb([2, "items", [number, 5]])
            if case == "a wrong record":
                data = msgpack.packb([2, "items", [number, [{"id": 5}]]])
            await peer.stream.send_all(data)
            await peer.until_lost()
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.list")
            await peer.reply(number, {"containers": [], "epoch": "0" * 8, "seq": 5})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.ProtocolViolation) as caught:
            await engine.containers.spawn(["x"], rootfs="/x")
        assert "\n" not in caught.value.message
        assert (await engine.containers.list()).seq == 5


async def test_a_result_of_another_shape_is_a_clear_error(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.run")
            await peer.reply(number, {"nonsense": 1})
            number, _ = await peer.call("containers.list")
            await peer.reply(number, {"containers": [], "epoch": "0" * 8, "seq": 5})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.ProtocolViolation, match=r"containers\.run"):
            await engine.containers.run(["x"], rootfs="/x")
        assert (await engine.containers.list()).seq == 5


async def test_an_engine_that_ends_the_connection_for_a_reason(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """What was under way fails with that reason and is not sent again: it would end the next connection, too."""

    async def script() -> None:
        async with server.expecting() as peer:
            await peer.call("containers.run")
            await peer.notify("error", {"code": "malformed_request", "message": "a message of 17 MiB"})

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.MalformedRequest, match="17 MiB"):
            await engine.containers.run(["x"], rootfs="/x")
    assert server.accepted == 1
