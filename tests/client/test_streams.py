"""Programs with streams, attachments and tars: both directions, credit, ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from ardock.client.trio_client import connect
from ardock.model import errors
from ardock.model.records import ExitRecord, Timings
from ardock.model.spec import ExecSpec
from tests.client.server import LostError, Peer, ScriptedServer

ID = "c" * 64
STARTED = {"id": ID, "pid": 42, "started_at": 7}
EXIT: dict[str, Any] = {"id": ID, "exec_id": None, "exit_code": 3}
WINDOW = 256 << 10


def timings() -> dict[str, int]:
    names = ("queue", "prepare", "cgroup", "stdio", "clone", "join", "root", "mounts", "process", "exec", "total")
    return {name: number for number, name in enumerate(names, 1)}


async def started(peer: Peer, method: str = "containers.spawn") -> tuple[int, dict[str, Any]]:
    number, params = await peer.call(method)
    await peer.notify("items", number, [{**STARTED, "timings": timings()}])
    return number, params


async def test_spawn_with_all_its_streams(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await started(peer)
            assert params == {"spec": {"argv": ["cat"], "rootfs": "/x", "stdin_open": True}}
            assert await peer.notification("bytes") == [number, 0, b"ping"]
            await peer.notify("bytes", number, 1, b"ping")
            await peer.notify("bytes", number, 2, b"oops")
            assert await peer.notification("end") == [number, 0]
            await peer.notify("end", number, 1)
            await peer.notify("end", number, 2)
            await peer.reply(number, EXIT)
            assert [message for message in await peer.until_lost() if message[1] != "credit"] == []

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["cat"], rootfs="/x", stdin_open=True) as program:
            assert (program.id, program.exec_id, program.pid, program.started_at) == (ID, None, 42, 7)
            assert program.timings == Timings(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
            assert program.terminal is None
            assert program.exit is None
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stderr is not None
            await program.stdin.send_all(b"ping")
            assert await program.stdout.receive_some(2) == b"pi"
            assert await program.stdout.receive_some(100) == b"ng"
            await program.stdin.aclose()
            assert await program.stdout.receive_some() == b""
            assert await program.stderr.read_all() == b"oops"
            assert await program.wait() == ExitRecord(id=ID, exit_code=3)
            with pytest.raises(errors.NotRunning):
                await program.kill()
            with pytest.raises(trio.ClosedResourceError):
                await program.stdin.send_all(b"more")
        assert repr(program) == "<RunningContainer cccccccccccc exited (3)>"


async def test_output_that_nobody_reads_holds_the_sender_back(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """No credit comes until it is read; then all of it does."""
    filled = trio.Event()

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            for index in range(4):
                await peer.notify("bytes", number, 1, bytes([index]) * (64 << 10))
            filled.set()
            given = 0
            with trio.move_on_after(0.1):
                await peer.receive()
                raise AssertionError("credit without reading")
            reading.set()
            while given < WINDOW:
                given += (await peer.notification("credit"))[1]
            await peer.notify("bytes", number, 1, b"end")
            await peer.notify("end", number, 1)
            await peer.reply(number, EXIT)
            await peer.until_lost()

    reading = trio.Event()
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x") as program:
            await filled.wait()
            await reading.wait()
            assert program.stdout is not None
            data = await program.stdout.read_all()
            assert len(data) == WINDOW + 3


async def test_input_waits_for_credit(server: ScriptedServer, nursery: trio.Nursery) -> None:
    got: list[bytes] = []
    data = bytes(range(256)) * 4096  # 1 MiB

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            while sum(map(len, got)) < WINDOW:
                _, channel, chunk = await peer.notification("bytes")
                assert channel == 0
                assert len(chunk) <= 64 << 10
                got.append(chunk)
            with trio.move_on_after(0.1):
                await peer.receive()
                raise AssertionError("more than the window")
            await peer.notify("credit", number, WINDOW)
            while sum(map(len, got)) < len(data):
                message = await peer.receive()
                got.append(message[2][2])
                await peer.notify("credit", number, len(message[2][2]))
            assert await peer.notification("end") == [number, 0]
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", stdin_open=True) as program:
            assert program.stdin is not None
            await program.stdin.send_all(data)
            await program.stdin.aclose()
            await program.wait()
    assert b"".join(got) == data


async def test_input_of_a_program_that_has_ended_breaks(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            await peer.notification("bytes")
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", stdin_open=True) as program:
            assert program.stdin is not None
            with pytest.raises(trio.BrokenResourceError, match="has ended"):
                await program.stdin.send_all(b"x" * (1 << 20))


async def test_input_that_the_program_has_closed_breaks(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Also while it is being written to; the output goes on."""

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            await peer.notification("bytes")
            await peer.notify("end", number, 0)
            await peer.notify("bytes", number, 1, b"still here")
            while (await peer.receive())[1] != "cancel":
                pass
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", stdin_open=True) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            for _ in range(2):
                with pytest.raises(trio.BrokenResourceError, match="closed its standard input"):
                    await program.stdin.send_all(b"x" * (1 << 20))
            assert await program.stdout.receive_some() == b"still here"
            with pytest.raises(errors.InvalidArgument, match="signal"):
                await program.kill("NOSUCH")


async def test_a_terminal_is_one_stream_and_can_be_resized(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            assert await peer.notification("bytes") == [number, 0, b"ls\r"]
            await peer.notify("bytes", number, 1, b"ls\r\n")
            resize, params = await peer.call("containers.resize")
            assert params.pop("request_id")
            assert params == {"ref": ID, "rows": 24, "columns": 80}
            await peer.reply(resize, {})
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", tty=True, stdin_open=True) as program:
            assert (program.stdin, program.stdout, program.stderr) == (None, None, None)
            assert program.terminal is not None
            await program.terminal.send_all(b"ls\r")
            assert await program.terminal.receive_some() == b"ls\r\n"
            await program.resize(24, 80)
            await program.wait()
            assert await program.terminal.receive_some() == b""


async def test_a_refused_spawn_raises_its_error(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.spawn")
            await peer.fail(number, "command_not_found", "nope", step="exec")
            number, _ = await peer.call("containers.exec")
            await peer.fail(number, "not_running")
            number, _ = await peer.call("containers.attach")
            await peer.fail(number, "not_found")
            number, _ = await peer.call("containers.spawn")
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.CommandNotFound):
            await engine.containers.spawn(["nope"], rootfs="/x")
        with pytest.raises(errors.NotRunning):
            await engine.containers.exec("x", ["true"])
        with pytest.raises(errors.NotFound):
            await engine.containers.attach("x")
        with pytest.raises(errors.ProtocolViolation, match="did not say what it started"):
            await engine.containers.spawn(["x"], rootfs="/x")


async def test_leaving_a_program_kills_it_and_awaits_its_end(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """Also while its output waits unread, which must not hold up its end."""

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            for _ in range(4):
                await peer.notify("bytes", number, 1, b"x" * (64 << 10))
            assert await peer.notification("cancel") == [number]
            await peer.notify("bytes", number, 1, b"x" * (64 << 10))
            await peer.reply(number, {**EXIT, "exit_code": 137, "signal": 9})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x") as program:
            assert program.stdout is not None
            await program.stdout.receive_some()
        assert program.exit is not None
        assert program.exit.exit_code == 137
        assert await program.wait() == program.exit
        await program.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await program.stdout.receive_some()


async def test_cancelled_while_starting_it_awaits_the_end(server: ScriptedServer, nursery: trio.Nursery) -> None:
    ended = False

    async def script() -> None:
        nonlocal ended
        async with server.expecting() as peer:
            number, _ = await peer.call("containers.spawn")
            assert await peer.notification("cancel") == [number]
            await peer.notify("items", number, [{**STARTED, "timings": timings()}])
            await trio.testing.wait_all_tasks_blocked()
            ended = True
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with trio.move_on_after(0.02) as scope:
            await engine.containers.spawn(["x"], rootfs="/x")
        assert scope.cancelled_caught
        assert ended


async def test_stop_and_exec_of_a_spawned_container(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            join, params = await peer.call("containers.exec")
            assert params == {"ref": ID, "spec": {"argv": ["ps"], "user": "nobody"}}
            await peer.notify("items", join, [{"id": ID, "exec_id": "e1", "pid": 43}])
            kill, params = await peer.call("containers.kill")
            assert params.pop("request_id")
            assert params == {"ref": ID, "exec_id": "e1", "signal": 15}
            await peer.reply(kill, {})
            await peer.reply(join, {**EXIT, "exec_id": "e1", "exit_code": 143})
            stop, params = await peer.call("containers.stop")
            assert params["timeout"] == 1.5
            await peer.reply(number, EXIT)
            await peer.reply(stop, {})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x") as program:
            async with await program.exec(ExecSpec(argv=("ps",), user="nobody")) as joined:
                await joined.kill(15)
                assert (await joined.wait()).exit_code == 143
            assert (await program.stop(1.5)).exit_code == 3
            with pytest.raises(errors.NotRunning):
                await program.exec(["ps"])


async def test_a_container_s_end_is_asked_for_where_the_connection_broke(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    """Its streams are broken, with the reason; its exit code is not lost."""

    async def script() -> None:
        peer = await server.peer()
        number, _ = await started(peer)
        await peer.notify("bytes", number, 1, b"part")
        await peer.close()
        async with server.expecting() as peer:
            number, params = await peer.call("containers.wait")
            assert params == {"ref": ID}
            await peer.reply(number, EXIT)
            assert await peer.until_lost() == []

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", stdin_open=True) as program:
            assert program.stdout is not None
            assert program.stdin is not None
            assert await program.stdout.receive_some() == b"part"
            with pytest.raises(trio.BrokenResourceError, match="connection to the engine was lost"):
                await program.stdout.receive_some()
            with pytest.raises(trio.BrokenResourceError):
                await program.stdin.send_all(b"x")
            assert (await program.wait()).exit_code == 3


async def test_leaving_a_container_whose_connection_broke_kills_it_on_the_next_one(
    server: ScriptedServer, nursery: trio.Nursery
) -> None:
    async def script() -> None:
        peer = await server.peer()
        await started(peer)
        await peer.close()
        async with server.expecting() as peer:
            number, params = await peer.call("containers.kill")
            assert params["ref"] == ID
            await peer.reply(number, {})
            number, _ = await peer.call("containers.wait")
            await peer.reply(number, {**EXIT, "exit_code": 137})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x") as program:
            assert program.stdout is not None
            with pytest.raises(trio.BrokenResourceError):
                await program.stdout.receive_some()
        assert program.exit is not None
        assert program.exit.exit_code == 137


async def test_an_exec_whose_connection_broke_is_lost(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        peer = await server.peer()
        number, _ = await peer.call("containers.exec")
        await peer.notify("items", number, [{"id": ID, "exec_id": "e1", "pid": 43}])
        await peer.close()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.exec("x", ["true"]) as program:
            with pytest.raises(errors.ConnectionLost):
                await program.wait()
        assert "lost" in repr(program)


async def test_attach(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("containers.attach")
            assert params == {"ref": "web", "stdin": True, "stderr": False}
            await peer.notify("items", number, [{"kind": "attached", "tty": False}])
            await peer.notify("bytes", number, 1, b"a")
            await peer.notify("items", number, [{"kind": "missed", "total": 77}])
            await peer.notify("bytes", number, 1, b"b")
            assert await peer.notification("bytes") == [number, 0, b"in"]
            assert await peer.notification("end") == [number, 0]
            assert await peer.notification("cancel") == [number]
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.attach("web", stdin=True, stderr=False) as attachment:
            assert attachment.stderr is None
            assert attachment.stdin is not None
            assert attachment.stdout is not None
            assert await attachment.stdout.receive_some() == b"a"
            assert await attachment.stdout.receive_some() == b"b"
            assert attachment.missed == 77
            await attachment.stdin.send_all(b"in")


async def chunks(count: int) -> AsyncIterator[bytes]:
    for index in range(count):
        yield bytes([index]) * 100_000


async def test_a_tar_is_sent_in_pieces(server: ScriptedServer, nursery: trio.Nursery) -> None:
    got = bytearray()

    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("images.import")
            assert params == {"name": "a:b"}
            while True:
                message = await peer.receive()
                if message[1] == "end":
                    break
                got.extend(message[2][2])
                await peer.notify("credit", number, len(message[2][2]))
            await peer.reply(number, {"id": "sha256:" + "0" * 64, "names": ["a:b"]})
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        image = await engine.images.import_tar(chunks(10), "a:b")
    assert image.names == ("a:b",)
    assert got == b"".join(bytes([index]) * 100_000 for index in range(10))


async def test_a_tar_that_is_refused_in_the_middle(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("images.import")
            await peer.notification("bytes")
            await peer.fail(number, "invalid_argument", "no tar")
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.InvalidArgument, match="no tar"):
            await engine.images.import_tar(chunks(100), "a:b")


async def test_a_tar_whose_source_fails_is_cancelled(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("images.import")
            await peer.notification("bytes")
            assert await peer.notification("cancel") == [number]
            await peer.fail(number, "cancelled")
            await peer.until_lost()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.lowlevel.checkpoint()
        raise KeyError("mine")

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(KeyError, match="mine"):
            await engine.images.import_tar(broken(), "a:b")


async def test_a_relative_path_is_the_client_s(
    server: ScriptedServer, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, params = await peer.call("images.import")
            assert params["path"] == "/usr/share"
            await peer.reply(number, {"id": "sha256:0"})
            await peer.until_lost()

    monkeypatch.chdir("/usr")
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        await engine.images.import_tree("share", "a")


async def test_two_writers_at_a_time_are_refused(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await started(peer)
            while (await peer.receive())[1] != "cancel":
                pass
            await peer.reply(number, EXIT)
            await peer.until_lost()

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        async with await engine.containers.spawn(["x"], rootfs="/x", stdin_open=True) as program:
            stdin = program.stdin
            assert stdin is not None
            async with trio.open_nursery() as writers:
                writers.start_soon(stdin.send_all, b"x" * (1 << 20))
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await stdin.send_all(b"y")
                writers.cancel_scope.cancel()


async def test_peers_can_tell_a_lost_client(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """The stand-in itself: what it calls lost is a closed connection."""
    lost = trio.Event()

    async def script() -> None:
        peer = await server.peer()
        with pytest.raises(LostError):
            await peer.receive()
        lost.set()

    nursery.start_soon(script)
    async with connect(server.path):
        pass
    await lost.wait()
