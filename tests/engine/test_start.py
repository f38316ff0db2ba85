# ruff: noqa: ASYNC240 - a test may wait for small local files and programs
"""`Containers.start`: streams, terminals, exec, signals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import ardock
from ardock.interface import Engine


async def test_its_streams_are_the_programs_own(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["cat"], rootfs=rootfs, stdin_open=True) as container:
        assert container.stdin is not None
        assert container.stdout is not None
        assert container.terminal is None
        await container.stdin.send_all(b"one\n")
        assert await container.stdout.receive_some() == b"one\n"
        await container.stdin.send_all(b"two\n")
        await container.stdin.aclose()
        assert await container.stdout.read_all() == b"two\n"
        record = await container.wait()
    assert record.exit_code == 0
    assert container.exit == record


async def test_a_slow_reader_gets_every_byte(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"]
    async with await either.containers.spawn(command, rootfs=rootfs) as container:
        assert container.stdout is not None
        assert container.stderr is not None
        await trio.sleep(0.1)
        assert container.exit is None
        assert len(await container.stdout.read_all()) == 3_000_000
        assert await container.stderr.read_all() == b"end\n"
        assert (await container.wait()).exit_code == 0


async def test_what_was_written_before_the_end_can_be_read_after_it(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["echo", "hi"], rootfs=rootfs) as container:
        await container.wait()
        assert container.stdout is not None
        assert await container.stdout.read_all() == b"hi\n"


async def test_without_stdin_open_its_input_is_empty(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["cat"], rootfs=rootfs) as container:
        assert container.stdin is None
        assert (await container.wait()).exit_code == 0


async def test_a_program_that_closes_its_input_breaks_the_stream(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "exec <&-; echo closed; sleep 100"]
    async with await either.containers.spawn(command, rootfs=rootfs, stdin_open=True) as container:
        assert container.stdin is not None
        assert container.stdout is not None
        assert await container.stdout.receive_some() == b"closed\n"
        with pytest.raises(trio.BrokenResourceError):
            await container.stdin.send_all(b"x" * 1_000_000)


async def test_its_pid_is_the_hosts_and_inside_it_is_1(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sh", "-c", "echo $$; sleep 100"], rootfs=rootfs) as container:
        assert container.stdout is not None
        assert await container.stdout.receive_some() == b"1\n"
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines())
        assert status["NSpid"].split() == [str(container.pid), "1"]
        assert repr(container) == f"<RunningContainer {container.id[:12]} running as pid {container.pid}>"
    assert repr(container) == f"<RunningContainer {container.id[:12]} exited (137)>"


async def test_signals_reach_it(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "trap 'echo usr1' USR1; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
    async with await either.containers.spawn(command, rootfs=rootfs) as container:
        assert container.stdout is not None
        assert await container.stdout.receive_some() == b"ready\n"
        await container.kill("USR1")
        assert await container.stdout.receive_some() == b"usr1\n"
        assert (await container.stop()).exit_code == 7
        with pytest.raises(ardock.NotRunning):
            await container.kill("USR1")
    with pytest.raises(ardock.InvalidArgument):
        await container.kill("NOSUCH")


async def test_stop_kills_what_ignores_its_stop_signal(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sleep", "100"], rootfs=rootfs) as container:
        # PID 1 of a pid namespace gets no signal that it does not handle.
        with trio.fail_after(3):
            assert (await container.stop(timeout=0.2)).exit_code == 137


async def test_many_tasks_may_wait_for_one_end(either: Engine, rootfs: str) -> None:
    codes: list[int] = []

    async def wait(container: ardock.RunningContainer) -> None:
        codes.append((await container.wait()).exit_code)

    async with await either.containers.spawn(["sh", "-c", "sleep 0.2; exit 5"], rootfs=rootfs) as container:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(wait, container)
    assert codes == [5] * 10


async def test_a_terminal_has_a_size_that_can_be_changed(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"]
    async with await either.containers.spawn(command, rootfs=rootfs, tty=True, tty_size=(24, 80)) as container:
        assert container.terminal is not None
        assert container.stdout is None
        assert await container.terminal.receive_some() == b"24 80\r\n"
        await container.resize(50, 132)
        with trio.fail_after(5):
            assert await container.terminal.receive_some() == b"50 132\r\n"
        with pytest.raises(ardock.InvalidArgument):
            await container.resize(70000, 1)


async def test_a_terminal_is_typed_at_and_ends(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sh"], rootfs=rootfs, tty=True, env={"PS1": ""}) as container:
        assert container.terminal is not None
        await container.terminal.send_all(b"stty -echo; echo begin\n")
        output = b""
        with trio.fail_after(10):
            while b"begin\r\n" not in output.replace(b"echo begin", b""):
                output += await container.terminal.receive_some()
            await container.terminal.send_all(b"sleep 100\n")
            await trio.sleep(0.2)
            await container.terminal.send_all(b"\x03")  # the controlling terminal sends SIGINT to the foreground job
            await container.terminal.send_all(b"echo after; exit 4\n")
            output = b""
            while chunk := await container.terminal.receive_some():
                output += chunk
            assert b"after" in output
            assert (await container.wait()).exit_code == 4


async def test_a_container_without_terminal_cannot_be_resized(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sleep", "100"], rootfs=rootfs) as container:
        with pytest.raises(ardock.InvalidArgument, match="no terminal"):
            await container.resize(1, 1)


async def test_exec_joins_a_program_to_it(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(
        ["sleep", "100"], rootfs=rootfs, hostname="box", memory="64m"
    ) as container:
        command = ["sh", "-c", "hostname; cat /proc/1/cmdline; cat; exit 9"]
        async with await container.exec(ardock.ExecSpec(argv=tuple(command), stdin_open=True)) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            await program.stdin.send_all(b"typed\n")
            await program.stdin.aclose()
            assert await program.stdout.read_all() == b"box\nsleep\x00100\x00typed\n"
            record = await program.wait()
            assert (record.exit_code, record.id, record.exec_id) == (9, container.id, program.exec_id)
        assert container.exit is None
        group = Path(f"/proc/{container.pid}/cgroup").read_text()
        async with await container.exec(["sleep", "100"]) as program:
            assert Path(f"/proc/{program.pid}/cgroup").read_text() == group
        async with await container.exec(
            ardock.ExecSpec(argv=("sh", "-c", "id -u; tty; echo $A"), user="alice", tty=True, env={"A": "b"})
        ) as program:
            assert program.terminal is not None
            output = b""
            while chunk := await program.terminal.receive_some():
                output += chunk
            lines = output.decode().splitlines()
            assert (lines[0], lines[2]) == ("1000", "b")


async def test_execs_end_with_their_container(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sleep", "100"], rootfs=rootfs) as container:
        program = await container.exec(["sleep", "200"])
        await container.kill()
        with trio.fail_after(5):
            assert (await program.wait()).exit_code == 137
        await container.wait()
        with pytest.raises(ardock.NotRunning):
            await container.exec(["true"])
        await program.aclose()


async def test_an_exec_of_a_missing_program_fails_alone(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sleep", "100"], rootfs=rootfs) as container:
        with pytest.raises(ardock.CommandNotFound):
            await container.exec(["nonexistent"])
        async with await container.exec(["true"]) as program:
            assert (await program.wait()).exit_code == 0


async def test_descriptors_are_flat(either: Engine, rootfs: str) -> None:
    async def once() -> None:
        async with await either.containers.spawn(["cat"], rootfs=rootfs, stdin_open=True) as container:
            async with await container.exec(["true"]) as program:
                await program.wait()
        await either.containers.run(["cat"], rootfs=rootfs, input=b"x")

    await once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await once()
    assert len(os.listdir("/proc/self/fd")) == before
