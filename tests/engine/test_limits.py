"""Limits really limit."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

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


def version() -> int:
    """Of the control groups that limits are set by."""
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


async def test_limits_of_version_2_are_set_or_refused_by_name(engine: Engine, rootfs: str) -> None:
    options: ardock.ContainerOptions = {"rootfs": rootfs, "memory": "64m", "memory_high": "48m", "oom_group": True}
    script = ["sh", "-c", "cd /sys/fs/cgroup; cat memory.max memory.high memory.oom.group memory.swap.max"]
    if version() == 1:
        with pytest.raises(ardock.Unsupported, match=r"memory_high: .*version 1"):
            await engine.containers.run(script, **options)
        return
    result = await engine.containers.run(script, **options)
    assert result.stdout.split() == [b"67108864", b"50331648", b"1", b"67108864"], result


async def test_a_container_sees_its_own_group_alone_and_cannot_change_it(engine: Engine, rootfs: str) -> None:
    result = await engine.containers.run(
        ["sh", "-c", "cat /proc/self/cgroup; cd /sys/fs/cgroup; mkdir x; echo 1 > cgroup.procs"],
        rootfs=rootfs,
        memory="64m",
    )
    groups = result.stdout.decode().splitlines()
    assert {group.rpartition(":")[2] for group in groups} == {"/"}, groups
    assert result.stderr.count(b"Read-only file system") == 2, result
    if version() == 2:
        assert groups == ["0::/"]


def block_device() -> str:
    """The node of a whole disk that has something on it."""
    for folder in sorted(Path("/sys/block").iterdir()):
        node = Path("/dev") / folder.name
        sectors = int((folder / "size").read_text())
        if not folder.name.startswith("loop") and sectors and node.exists() and stat.S_ISBLK(node.stat().st_mode):
            return str(node)
    pytest.skip("no block device has a node here")


def opens(path: str, flags: int) -> bool:
    """Whether the host itself may: only there can a refusal be the device rules' doing."""
    try:
        os.close(os.open(path, flags))
    except PermissionError:
        return False
    return True


async def test_a_disk_is_read_as_slowly_as_asked(engine: Engine, rootfs: str) -> None:
    disk = block_device()
    if not opens(disk, os.O_RDONLY):
        pytest.skip(f"{disk} cannot be opened by this process itself")
    started = time.monotonic()
    result = await engine.containers.run(
        ["dd", f"if={disk}", "of=/dev/null", "bs=262144", "count=12", "iflag=direct"],
        rootfs=rootfs,
        devices=[ardock.Device(source=disk, permissions="r")],
        blkio_device_read_bps=[ardock.ThrottleDevice(path=disk, rate="1m")],
    )
    assert result.exit_code == 0, result
    # 3 MiB at 1 MiB a second; the first slice is free.
    assert time.monotonic() - started > 1.5


async def test_what_is_no_block_device_is_refused_by_name(engine: Engine, rootfs: str) -> None:
    for path, error, text in [
        ("/dev/null", ardock.InvalidArgument, "blkio_device_read_bps: /dev/null is not a block device"),
        ("/dev/nosuch", ardock.NotFound, "blkio_device_read_bps: /dev/nosuch: No such file"),
    ]:
        limits = [ardock.ThrottleDevice(path=path, rate=1)]
        with pytest.raises(error, match=text):
            await engine.containers.run(["true"], rootfs=rootfs, blkio_device_read_bps=limits)


async def test_a_disk_of_the_hosts_can_neither_be_read_nor_written_without_a_device_rule(
    engine: Engine, rootfs: str
) -> None:
    """The node can be made, as with Docker; with permissions for one way, the other stays shut."""
    disk = block_device()
    number = os.stat(disk).st_rdev
    numbers = f"{os.major(number)} {os.minor(number)}"
    script = f"mknod /tmp/d b {numbers} && (exec 3</tmp/d); (exec 3>>/tmp/d); (exec 3<>/tmp/d); true"

    async def refused(**options: object) -> int:
        result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, **options)  # type: ignore[arg-type]
        assert b"mknod" not in result.stderr, result
        return result.stderr.count(b"Operation not permitted")

    assert await refused() == 3
    if not opens(disk, os.O_RDWR):
        pytest.skip(f"{disk} cannot be opened by this process itself: that a rule allows it is not shown")
    assert await refused(devices=[ardock.Device(source=disk, permissions="r")]) == 2
    assert await refused(devices=[ardock.Device(source=disk, permissions="rw")]) == 0
    assert await refused(device_cgroup_rules=[f"b {numbers.replace(' ', ':')} r"]) == 2
    assert await refused(device_cgroup_rules=["b *:* rwm"]) == 0
    assert await refused(privileged=True) == 0
    container = (await engine.containers.create(["sleep", "100"], rootfs=rootfs)).id
    await engine.containers.start(container)
    joined = await engine.containers.exec_run(container, ["sh", "-c", script])
    assert joined.stderr.count(b"Operation not permitted") == 3, joined
    await engine.containers.remove(container, force=True)
