"""Limits really limit."""

from __future__ import annotations

import pytest
import trio

import ardock
from ardock.engine import Engine


async def test_too_much_memory_is_killed_and_reported_as_such(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["sh", "-c", "head -c 100m /dev/zero | tail -c 100m > /dev/null; exit $?"],
        rootfs=rootfs,
        memory="16m",
        memory_swap="16m",
    )
    assert result.oom_killed
    result = await engine.containers.run(["true"], rootfs=rootfs, memory="16m")
    assert not result.oom_killed


async def test_the_main_program_itself_killed_for_memory_gives_137(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["tail", "-c", "100m", "/dev/zero"], rootfs=rootfs, memory="16m", memory_swap="16m"
    )
    assert (result.exit_code, result.signal, result.oom_killed) == (137, 9, True)


@pytest.mark.parametrize("scratch", ["disk", "memory"])
async def test_four_megabytes_are_enough(engine: Engine, rootfs: str, scratch: str) -> None:
    spec = ardock.ContainerSpec(
        argv=("echo", "hi"),
        rootfs=rootfs,
        memory="4m",
        memory_swap="4m",
        scratch="disk" if scratch == "disk" else "memory",
    )
    result = await engine.containers.run(spec)
    assert (result.exit_code, result.stdout) == (0, b"hi\n")


async def test_a_fork_bomb_stops_at_its_limit(engine: Engine, rootfs: str) -> None:
    script = "for i in $(seq 40); do sleep 100 & done; echo never"
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, pids_limit=10, timeout=10)
    assert b"can't fork" in result.stderr
    assert b"never" not in result.stdout


async def test_cpu_time_is_throttled(engine: Engine, rootfs: str) -> None:
    script = "while :; do :; done"
    async with await engine.containers.spawn(["sh", "-c", script], rootfs=rootfs, cpus=0.2) as container:
        await trio.sleep(2)
        fields = open_stat(container.pid)
    # 0.2 CPUs for 2 s are 0.4 s, in ticks of 10 ms; a throttled group may run over by a period.
    assert 10 <= fields <= 60


def open_stat(pid: int) -> int:
    """User and system time of a process, in ticks."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_ulimits_apply(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c"],
        rootfs=rootfs,
        ulimits=[ardock.Ulimit(name="nofile", soft=100, hard=200), ardock.Ulimit(name="core", soft=0, hard=0)],
    )
    assert result.stdout == b"100\n200\n0\n"


async def test_memory_scratch_is_bounded(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=8"], rootfs=rootfs, scratch="memory", scratch_size="2m"
    )
    assert result.exit_code != 0
    assert b"No space left" in result.stderr
