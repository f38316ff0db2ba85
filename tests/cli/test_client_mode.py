"""The command as a client, against a scripted engine: what it asks for, what it does with the answers, what it survives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.driver import COMMAND
from tests.cli.fake_engine import FakeEngine, Request

ID = "ab" * 32
EXIT = {"id": ID, "exit_code": 0}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    folder = Path(tempfile.mkdtemp(prefix="ardock-fake-"))
    fake = FakeEngine(folder / "s")
    yield fake
    fake.drop()
    shutil.rmtree(folder)


@contextmanager
def ardock(engine: FakeEngine, *arguments: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, "-H", f"unix://{engine.path}", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def info(**more: object) -> dict[str, object]:
    return {"id": ID, "name": "x", "spec": {"argv": ["sh"], "rootfs": "/"}, "status": "running", "pid": 0, **more}


def running(engine: FakeEngine) -> tuple[Request, Request, Request]:
    """Answer a `run` until its container runs: the requests attach, start and wait."""
    engine.expect("containers.create").reply(id=ID, name="x")
    attach = engine.expect("containers.attach")
    attach.items({"kind": "attached"})
    start, wait = engine.expect_all("containers.start", "containers.wait")
    start.reply()
    return attach, start, wait


def end(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


def test_a_run_creates_attaches_starts_and_waits(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "--name", "web", "-e", "A=b", "image", "prog", "arg") as process:
        create = engine.expect("containers.create")
        assert create.params["spec"] == {
            "argv": ["prog", "arg"],
            "image": "image",
            "name": "web",
            "env": {"A": "b"},
            "stop_timeout": 10.0,
        }
        assert create.params["remove"] is True
        create.reply(id=ID, name="web")
        attach = engine.expect("containers.attach")
        assert attach.params == {"ref": ID}
        assert engine.requests.empty(), "it is attached before it is started: nothing that it writes is missed"
        attach.items({"kind": "attached"})
        start, wait = engine.expect_all("containers.start", "containers.wait")
        assert (start.params["ref"], wait.params) == (ID, {"ref": ID, "condition": "next-exit"})
        assert create.params["request_id"] != start.params["request_id"]
        start.reply()
        attach.bytes(1, b"out\n")
        attach.bytes(2, b"err\n")
        wait.reply(id=ID, exit_code=7)
        attach.bytes(1, b"last\n")
        attach.reply()
        assert end(process) == (7, b"out\nlast\n", b"err\n")


def test_a_detached_run_prints_the_id(engine: FakeEngine) -> None:
    with ardock(engine, "run", "-d", "image", "prog") as process:
        create = engine.expect("containers.create")
        assert "remove" not in create.params
        create.reply(id=ID, name="web")
        engine.expect("containers.start").reply()
        assert end(process) == (0, f"{ID}\n".encode(), b"")


def test_an_error_of_the_engine_names_the_flag(engine: FakeEngine) -> None:
    with ardock(engine, "run", "-m", "1m", "image", "prog") as process:
        engine.expect("containers.create").fail("invalid_argument", "memory: at least 4 MiB")
        assert end(process) == (125, b"", b"ardock: --memory: at least 4 MiB\n")


def test_a_container_that_does_not_start_is_removed_where_it_is_to_be(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        engine.expect("containers.attach").items({"kind": "attached"})
        start, _ = engine.expect_all("containers.start", "containers.wait")
        start.fail("command_not_found", "prog: no such program in the container")
        remove = engine.expect("containers.remove")
        assert (remove.params["ref"], remove.params["force"]) == (ID, True)
        remove.reply()
        assert end(process) == (127, b"", b"ardock: prog: no such program in the container\n")


def test_input_goes_over_and_ends(engine: FakeEngine) -> None:
    with ardock(engine, "run", "-i", "image", "cat", stdin=subprocess.PIPE) as process:
        attach, _, wait = running(engine)
        assert attach.params["stdin"] is True
        assert process.stdin is not None
        process.stdin.write(b"hello")
        process.stdin.close()
        process.stdin = None
        assert attach.connection.note() == ["bytes", [attach.number, 0, b"hello"]]
        assert attach.connection.note() == ["end", [attach.number, 0]]
        attach.reply()
        wait.reply(**EXIT)
        assert end(process) == (0, b"", b"")


def test_output_that_nobody_reads_is_held_back_by_credit_and_signals_are_heard_meanwhile(engine: FakeEngine) -> None:
    with ardock(engine, "run", "image", "cat") as process:
        attach, _, wait = running(engine)
        for _ in range(4):
            attach.bytes(1, bytes(65536))
        process.send_signal(signal.SIGUSR1)
        kill = engine.expect("containers.kill")
        assert kill.params["signal"] == signal.SIGUSR1
        kill.reply()
        wait.reply(**EXIT)
        attach.reply()
        code, out, _ = end(process)
        assert (code, len(out)) == (0, 4 * 65536)


def test_the_owners_end_is_survived_and_output_resumed_without_a_byte_twice(engine: FakeEngine) -> None:
    with ardock(engine, "run", "image", "prog") as process:
        attach, _, _ = running(engine)
        attach.bytes(1, b"abc")
        attach.bytes(2, b"12")
        assert process.stdout is not None
        assert process.stdout.read(3) == b"abc"
        engine.drop()
        engine.listen()
        wait, logs = engine.expect_all("containers.wait", "containers.logs")
        # Not next-exit: it may have ended while nobody owned it.
        assert wait.params == {"ref": ID, "condition": "not-running"}
        assert logs.params == {"ref": ID, "query": {"follow": True}}
        logs.items(
            {"kind": "record", "time": 0, "stream": "stderr", "data": b"1", "cursor": 1},
            {"kind": "record", "time": 0, "stream": "stdout", "data": b"abcdef", "cursor": 7},
            {"kind": "record", "time": 0, "stream": "stderr", "data": b"23", "cursor": 9},
        )
        logs.reply()
        wait.reply(id=ID, exit_code=5)
        assert end(process) == (5, b"def", b"123")


def test_a_call_is_repeated_at_the_next_owner_with_its_request_id(engine: FakeEngine) -> None:
    with ardock(engine, "run", "-d", "image", "prog") as process:
        first = engine.expect("containers.create")
        engine.drop()
        engine.listen()
        second = engine.expect("containers.create")
        assert first.params == second.params
        assert len(first.params["request_id"]) > 16
        second.reply(id=ID, name="x")
        engine.expect("containers.start").reply()
        assert end(process)[0] == 0


def test_a_start_that_was_under_way_is_repeated(engine: FakeEngine) -> None:
    with ardock(engine, "run", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        engine.expect("containers.attach").items({"kind": "attached"})
        first, _ = engine.expect_all("containers.start", "containers.wait")
        engine.drop()
        engine.listen()
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        again = engine.expect("containers.start")
        assert again.params == first.params
        attach.bytes(1, b"all of it")
        again.reply()
        wait = engine.expect("containers.wait")
        assert wait.params == {"ref": ID, "condition": "not-running"}, "its end may have come already"
        wait.reply(id=ID, exit_code=3)
        attach.reply()
        assert end(process) == (3, b"all of it", b"")


def test_a_start_that_was_not_answered_and_was_done_is_none_to_complain_about(engine: FakeEngine) -> None:
    """The owner was killed between the start and its commit: the next finds a container that runs, and no request."""
    with ardock(engine, "run", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        engine.expect("containers.attach").items({"kind": "attached"})
        engine.expect_all("containers.start", "containers.wait")
        engine.drop()
        engine.listen()
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        engine.expect("containers.start").fail("conflict", "container is running already")
        attach.bytes(1, b"from its log")
        attach.reply()
        engine.expect("containers.wait").reply(id=ID, exit_code=2)
        assert end(process) == (2, b"from its log", b"")


def test_output_that_came_before_the_start_was_answered_is_not_shown_twice(engine: FakeEngine) -> None:
    with ardock(engine, "run", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        engine.expect_all("containers.start", "containers.wait")
        attach.bytes(1, b"one\n")
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        engine.drop()
        engine.listen()
        wait, logs = engine.expect_all("containers.wait", "containers.logs")
        logs.items({"kind": "record", "time": 0, "stream": "stdout", "data": b"one\ntwo\n", "cursor": 8})
        logs.reply()
        wait.reply(**EXIT)
        assert end(process) == (0, b"two\n", b"")


def test_a_container_that_its_owner_took_along_before_its_start_is_made_anew(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        first = engine.expect("containers.create")
        first.reply(id=ID, name="x")
        engine.expect("containers.attach")
        engine.drop()
        engine.listen()
        engine.expect("containers.attach").fail("not_found", "no such container")
        engine.expect("containers.wait").fail("not_found", "no such container")
        again = engine.expect("containers.create")
        assert again.params["spec"] == first.params["spec"]
        assert again.params["request_id"] != first.params["request_id"], "it is another one"
        other = "cd" * 32
        again.reply(id=other, name="y")
        attach = engine.expect("containers.attach")
        assert attach.params["ref"] == other
        attach.items({"kind": "attached"})
        start, wait = engine.expect_all("containers.start", "containers.wait")
        start.reply()
        attach.reply()
        wait.reply(id=other, exit_code=8)
        assert end(process) == (8, b"", b"")


def test_a_container_that_has_run_is_never_run_again(engine: FakeEngine) -> None:
    """Its owner was killed, it ended and was removed meanwhile; its exit code is kept."""
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        engine.expect("containers.attach").items({"kind": "attached"})
        engine.expect_all("containers.start", "containers.wait")
        engine.drop()
        engine.listen()
        engine.expect("containers.attach").fail("not_found", "no such container")
        engine.expect("containers.wait").reply(id=ID, exit_code=6)
        assert end(process) == (
            6,
            b"",
            b"ardock: the engine's owner has ended, and the container with its output before it could be shown\n",
        )


def test_input_that_the_program_has_closed_is_not_read_for_it(engine: FakeEngine) -> None:
    ours, theirs = os.pipe()
    with ardock(engine, "run", "-i", "image", "prog", stdin=ours) as process:
        attach, _, wait = running(engine)
        os.write(theirs, b"taken")
        assert attach.connection.note() == ["bytes", [attach.number, 0, b"taken"]]
        attach.connection.send([2, "end", [attach.number, 0]])
        attach.bytes(1, b"seen")
        assert process.stdout is not None
        assert process.stdout.read(4) == b"seen"
        os.write(theirs, b"left")
        attach.reply()
        wait.reply(**EXIT)
        assert end(process) == (0, b"", b"")
        assert os.read(ours, 100) == b"left", "for the next program of a script"
    os.close(ours)
    os.close(theirs)


def test_a_log_that_is_gone_is_said_and_the_exit_code_comes(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        running(engine)
        engine.drop()
        engine.listen()
        wait, logs = engine.expect_all("containers.wait", "containers.logs")
        logs.fail("not_found", "no such container: x")
        wait.reply(id=ID, exit_code=4)
        code, out, err = end(process)
        assert (code, out) == (4, b"")
        assert err == (
            b"ardock: the engine's owner has ended, and what the container wrote since cannot be shown: "
            b"no such container: x\n"
        )


def test_an_exec_cannot_be_resumed_and_says_so(engine: FakeEngine) -> None:
    with ardock(engine, "exec", "x", "prog", "arg") as process:
        call = engine.expect("containers.exec")
        assert (call.params["ref"], call.params["spec"]) == ("x", {"argv": ["prog", "arg"]})
        call.items({"kind": "started", "id": ID, "exec_id": "e1", "pid": 1})
        call.bytes(1, b"some")
        engine.drop()
        assert end(process) == (
            125,
            b"some",
            (
                b"ardock: the engine's owner ended in the middle of the exec: its streams are lost, and what became of its "
                b"program is not known\n"
            ),
        )


def test_an_exec_passes_streams_signals_and_the_code_on(engine: FakeEngine) -> None:
    with ardock(
        engine, "exec", "-i", "-u", "alice", "-w", "/w", "-e", "A=b", "x", "cat", stdin=subprocess.PIPE
    ) as process:
        call = engine.expect("containers.exec")
        assert call.params["spec"] == {
            "argv": ["cat"], "env": {"A": "b"}, "cwd": "/w", "user": "alice", "stdin_open": True,
        }  # fmt: skip
        call.items({"kind": "started", "id": ID, "exec_id": "e1", "pid": os.getpid()})
        assert process.stdin is not None
        process.stdin.write(b"in")
        process.stdin.flush()
        assert call.connection.note() == ["bytes", [call.number, 0, b"in"]]
        process.send_signal(signal.SIGTERM)
        kill = engine.expect("containers.kill")
        assert (kill.params["exec_id"], kill.params["signal"]) == ("e1", signal.SIGTERM)
        kill.reply()
        call.bytes(2, b"bye")
        call.reply(id=ID, exec_id="e1", exit_code=9)
        assert end(process) == (9, b"", b"bye")


@pytest.mark.parametrize(("code", "exit_code"), [("not_running", 1), ("command_not_found", 127)])
def test_an_exec_that_is_refused_ends_with_dockers_code(engine: FakeEngine, code: str, exit_code: int) -> None:
    with ardock(engine, "exec", "x", "prog") as process:
        engine.expect("containers.exec").fail(code, "it is refused")
        assert end(process) == (exit_code, b"", b"ardock: it is refused\n")


def test_logs_are_resumed_by_cursor_at_the_next_owner(engine: FakeEngine) -> None:
    with ardock(engine, "logs", "-f", "-n", "5", "x") as process:
        engine.expect("containers.inspect").reply(**info())
        logs = engine.expect("containers.logs")
        assert logs.params == {"ref": ID, "query": {"follow": True, "tail": 5}}
        logs.items({"kind": "record", "time": 0, "stream": "stdout", "data": b"one\n", "cursor": 104})
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        engine.drop()
        engine.listen()
        again = engine.expect("containers.logs")
        assert again.params == {"ref": ID, "query": {"follow": True, "cursor": 104}}
        again.items({"kind": "record", "time": 0, "stream": "stderr", "data": b"two\n", "cursor": 108})
        again.reply()
        assert end(process) == (0, b"", b"two\n")


def event(seq: int, epoch: str = "0a1b2c3d") -> dict[str, object]:
    return {
        "kind": "event", "epoch": epoch, "seq": seq, "time": 1, "type": "container", "action": "start", "id": ID, "name": "x",
    }  # fmt: skip


def test_events_are_resumed_by_cursor_at_the_next_owner(engine: FakeEngine) -> None:
    with ardock(engine, "events", "--filter", "event=start", "--filter", "label=a=b", "--format", "json") as process:
        request = engine.expect("events.cursor")
        request.connection.send([1, request.number, None, ["0a1b2c3d", 6]])
        first = engine.expect("events.subscribe")
        assert first.params == {"since": ["0a1b2c3d", 6], "filters": {"event": ["start"], "label": ["a=b"]}}
        first.items(event(7), {"kind": "heartbeat", "epoch": "0a1b2c3d", "seq": 20, "time": 0})
        assert process.stdout is not None
        assert b'"seq":7,"epoch":"0a1b2c3d"' in process.stdout.readline()
        engine.drop()
        engine.listen()
        second = engine.expect("events.subscribe")
        assert second.params["since"] == ["0a1b2c3d", 20], "a heartbeat moves the cursor, too"
        second.items({"kind": "gap", "after": ["0a1b2c3d", 20], "epoch": "11111111", "seq": 30}, event(31, "11111111"))
        second.reply()
        code, out, err = end(process)
        lines = out.splitlines()
        assert (code, len(lines)) == (0, 2)
        assert lines[0] == b'{"Type":"gap","after":"0a1b2c3d:20","seq":30,"epoch":"11111111"}'
        assert b'"seq":31' in lines[1]
        assert err == b"ardock: events are missing after 0a1b2c3d:20: they are no longer kept\n"


def test_events_since_a_cursor_or_a_time(engine: FakeEngine) -> None:
    with ardock(engine, "events", "--since", "0a1b2c3d:41", "--until", "1700000000.5") as process:
        call = engine.expect("events.subscribe")
        assert call.params == {"since": ["0a1b2c3d", 41], "until": 1_700_000_000_500_000_000}
        call.items(event(42))
        call.reply()
        assert end(process) == (0, f"1970-01-01T00:00:00.000000001Z container start {ID} (name=x)\n".encode(), b"")
    with ardock(engine, "events", "--since", "1700000000") as process:
        call = engine.expect("events.subscribe")
        assert call.params == {"since_time": 1_700_000_000_000_000_000}
        call.reply()
        assert end(process)[0] == 0


def test_a_reader_that_leaves_ends_logs_and_events_quietly(engine: FakeEngine) -> None:
    with ardock(engine, "events", "--since", "1") as process:
        assert process.stdout is not None
        call = engine.expect("events.subscribe")
        process.stdout.close()
        process.stdout = None
        call.items(event(1))
        assert process.wait(10) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_attach_refuses_a_container_that_does_not_run(engine: FakeEngine) -> None:
    with ardock(engine, "attach", "x") as process:
        engine.expect("containers.inspect").reply(**info(status="exited"))
        assert end(process) == (1, b"", b"ardock: cannot attach to a stopped container, start it first\n")


def test_attach_gives_the_containers_exit_code(engine: FakeEngine) -> None:
    with ardock(engine, "attach", "--no-stdin", "x") as process:
        engine.expect("containers.inspect").reply(**info())
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        wait = engine.expect("containers.wait")
        attach.bytes(1, b"from the start")
        attach.items({"kind": "missed", "total": 12})
        attach.reply()
        wait.reply(id=ID, exit_code=6)
        code, out, err = end(process)
        assert (code, out) == (6, b"from the start")
        assert err == b"ardock: 12 bytes of output are missing in all: its log was rotated before they were read\n"


def test_a_signal_before_the_container_is_made_ends_us(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        engine.expect("containers.create")
        process.send_signal(signal.SIGTERM)
        assert end(process) == (143, b"", b"")


def test_a_second_signal_while_it_starts_ends_us_and_leaves_nothing(engine: FakeEngine) -> None:
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        engine.expect("containers.attach").items({"kind": "attached"})
        engine.expect_all("containers.start", "containers.wait")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        engine.expect("containers.remove").reply()
        code, out, err = end(process)
        assert (code in {130, 143}, out, err) == (True, b"", b"")


def test_a_signal_while_it_starts_is_for_the_container(engine: FakeEngine) -> None:
    """Its output may be seen before the start is answered, and who sees it may send a signal."""
    with ardock(engine, "run", "--rm", "image", "prog") as process:
        engine.expect("containers.create").reply(id=ID, name="x")
        attach = engine.expect("containers.attach")
        attach.items({"kind": "attached"})
        start, wait = engine.expect_all("containers.start", "containers.wait")
        attach.bytes(1, b"ready\n")
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR2)
        start.reply()
        kill = engine.expect("containers.kill")
        assert kill.params["signal"] == signal.SIGUSR2
        kill.reply()
        attach.reply()
        wait.reply(**EXIT)
        assert end(process) == (0, b"", b"")


def test_an_engine_that_refuses_us_is_quoted(engine: FakeEngine) -> None:
    with ardock(engine, "run", "image", "prog") as process:
        create = engine.expect("containers.create")
        create.connection.send(
            [2, "error", [{"code": "not_permitted", "message": "user 1000 is neither root nor in the group ardock"}]]
        )
        create.connection.close()
        assert end(process) == (125, b"", b"ardock: user 1000 is neither root nor in the group ardock\n")
