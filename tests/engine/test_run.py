# ruff: noqa: ASYNC230, ASYNC240 - a test may wait for small local files and programs
"""`Containers.run`: exit codes, exact output, input, users, time."""

from __future__ import annotations

import hashlib
import os
import random
from functools import partial
from typing import Literal

import pytest
import trio

import ardock
from ardock.interface import Engine


async def test_the_exit_code_and_both_outputs_are_the_programs_own(either: Engine, rootfs: str) -> None:
    result = await either.containers.run(["sh", "-c", "echo out; echo err >&2; exit 3"], rootfs=rootfs)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")
    assert not result.truncated
    assert result.signal is None
    assert not result.oom_killed
    assert result.started_at <= result.finished_at
    assert result.timings.total > 0


async def test_a_program_ended_by_a_signal_reports_it_as_128_plus_its_number(either: Engine, rootfs: str) -> None:
    async with await either.containers.spawn(["sleep", "100"], rootfs=rootfs) as container:
        await container.kill("KILL")
        record = await container.wait()
    assert (record.exit_code, record.signal) == (137, 9)


@pytest.mark.parametrize("size", [0, 1, 100, 65536, 65537, 1_000_000])
async def test_output_is_exact_whatever_its_length(either: Engine, rootfs: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    result = await either.containers.run(["cat"], rootfs=rootfs, input=data)
    assert result.stdout == data
    assert result.stdout_total == size


async def test_large_input_is_read_whole_and_to_its_end(either: Engine, rootfs: str) -> None:
    data = os.urandom(10_000_000)
    result = await either.containers.run(["md5sum"], rootfs=rootfs, input=data)
    assert result.stdout.split()[0].decode() == hashlib.md5(data).hexdigest()


async def test_without_input_standard_input_is_empty(either: Engine, rootfs: str) -> None:
    result = await either.containers.run(["sh", "-c", "cat; stat -L -c '%t %T' /proc/self/fd/0"], rootfs=rootfs)
    assert result.stdout == b"1 3\n"


async def test_a_user_who_is_not_root_can_open_its_own_standard_streams(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr"]
    for data in (b"x", b"x" * 70_000):
        result = await either.containers.run(command, rootfs=rootfs, user="alice", input=data)
        assert (result.exit_code, result.stdout, result.stderr) == (0, data + b"out\n", b"err\n")


@pytest.mark.parametrize("size", [999, 1000, 1001, 300_000])
async def test_output_over_the_bound_is_cut_and_said_to_be(either: Engine, rootfs: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    result = await either.containers.run(["cat"], rootfs=rootfs, input=data, max_output=1000)
    assert result.stdout == data[:1000]
    assert result.truncated == (size > 1000)
    assert result.stdout_total == size
    assert result.exit_code == 0


@pytest.mark.parametrize("pid", ["private", "host"])
async def test_a_grandchild_that_keeps_the_output_open_does_not_hold_up_the_end(
    either: Engine, rootfs: str, pid: Literal["private", "host"]
) -> None:
    with trio.fail_after(5):
        result = await either.containers.run(["sh", "-c", "sleep 100 & echo done"], rootfs=rootfs, pid=pid)
    assert result.stdout == b"done\n"


async def test_many_at_once_each_get_their_own_output(either: Engine, rootfs: str) -> None:
    outputs: dict[int, bytes] = {}

    async def one(number: int) -> None:
        result = await either.containers.run(["echo", f"number {number}"], rootfs=rootfs)
        outputs[number] = result.stdout

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)
    assert outputs == {number: f"number {number}\n".encode() for number in range(200)}


async def test_time_is_up_after_its_timeout(either: Engine, rootfs: str) -> None:
    with trio.fail_after(5):
        result = await either.containers.run(["sh", "-c", "echo on; sleep 100"], rootfs=rootfs, timeout=0.3)
    assert (result.exit_code, result.timed_out, result.stdout) == (137, True, b"on\n")
    result = await either.containers.run(["true"], rootfs=rootfs, timeout=30)
    assert (result.exit_code, result.timed_out) == (0, False)


async def test_with_a_terminal_all_output_is_the_terminals(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "tty; echo err >&2; stty size; echo $TERM"]
    result = await either.containers.run(command, rootfs=rootfs, tty=True, tty_size=(24, 80))
    assert result.stdout == b"/dev/pts/0\r\nerr\r\n24 80\r\nxterm\r\n"
    assert result.stderr == b""


async def test_environment_directory_user_and_mask_are_as_asked(either: Engine, rootfs: str) -> None:
    run = partial(either.containers.run, rootfs=rootfs)
    result = await run(["env"], env={"A": "1 2", "PATH": "/bin", "Ä": "ö"}, hostname="box")
    assert set(result.stdout.decode().splitlines()) == {"A=1 2", "PATH=/bin", "Ä=ö", "HOSTNAME=box", "HOME=/root"}
    result = await run(["sh", "-c", "pwd; umask; hostname"], cwd="/made/for/it", umask=0o077, hostname="box")
    assert result.stdout == b"/made/for/it\n0077\nbox\n"
    result = await run(["sh", "-c", "id -u; id -g; id -G; echo $HOME"], user="alice", group_add=["audio", "77"])
    uid, gid, groups, home = result.stdout.decode().splitlines()
    assert (uid, gid, set(groups.split()), home) == ("1000", "1000", {"1000", "50", "29", "77"}, "/home/alice")
    result = await run(["sh", "-c", "id -u; id -g; id -G"], user="1234:50")
    assert result.stdout == b"1234\n50\n50\n"


async def test_the_user_is_looked_up_again_when_passwd_changes(either: Engine, rootfs: str, tmp_path: object) -> None:
    passwd = f"{rootfs}/etc/passwd"
    with open(passwd) as file:
        before = file.read()
    try:
        with open(passwd, "a") as file:
            file.write("bob:x:2000:2000::/home/bob:/bin/sh\n")
        result = await either.containers.run(["id", "-u"], rootfs=rootfs, user="bob")
        assert result.stdout == b"2000\n"
    finally:
        with open(passwd, "w") as file:
            file.write(before)
    with pytest.raises(ardock.NotFound, match="bob"):
        await either.containers.run(["id", "-u"], rootfs=rootfs, user="bob")


@pytest.mark.parametrize("scratch", ["disk", "memory"])
async def test_writes_go_to_the_scratch_and_are_gone_afterwards(either: Engine, rootfs: str, scratch: str) -> None:
    spec = ardock.ContainerSpec(
        argv=("sh", "-c", "ls /new; echo x > /new && cat /new"),
        rootfs=rootfs,
        scratch="disk" if scratch == "disk" else "memory",
    )
    for _ in range(2):
        result = await either.containers.run(spec)
        assert (result.stdout, result.exit_code) == (b"x\n", 0)
        assert b"No such file" in result.stderr
    assert not os.path.exists(f"{rootfs}/new")


async def test_without_scratch_writes_go_into_the_directory_itself(
    either: Engine, busybox_root: object, tmp_path: object
) -> None:
    import shutil

    own = f"{tmp_path}/own"
    shutil.copytree(str(busybox_root), own, symlinks=True)
    result = await either.containers.run(["sh", "-c", "echo x > /new"], rootfs=own, scratch="none")
    assert result.exit_code == 0, result
    with open(f"{own}/new") as file:
        assert file.read() == "x\n"


async def test_another_directory_under_the_same_path_is_another_root(
    either: Engine, rootfs: str, tmp_path: object
) -> None:
    import shutil

    path = f"{tmp_path}/swapped"
    for name in ("first", "second"):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(rootfs, path, symlinks=True)
        with open(f"{path}/name", "w") as file:
            file.write(name)
        result = await either.containers.run(["cat", "/name"], rootfs=path)
        assert result.stdout.decode() == name
