# ruff: noqa: ASYNC240 - a test may wait for small local files and programs
"""Counting what containers leave behind: control groups, processes, mounts, descriptors, scratch directories."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import trio

from ardock.engine import Engine


def _cgroup_folders(engine_id: str) -> list[Path]:
    mountpoints = [
        Path(line.split(" ")[1])
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split(" ")[2] in ("cgroup", "cgroup2")
    ]
    return [point / f"ardock-{engine_id}" for point in mountpoints if (point / f"ardock-{engine_id}").is_dir()]


def container_groups(engine_id: str) -> list[str]:
    """Control groups of containers (64 hexadecimal digits) of an engine."""
    found: list[str] = []
    for folder in _cgroup_folders(engine_id):
        for parent, names, _ in os.walk(folder):
            found += [f"{parent}/{name}" for name in names if len(name) == 64]
    return found


def processes(engine_id: str) -> list[int]:
    """Processes in any container's control group of an engine."""
    return [
        pid
        for pid in _pids()
        if f"/ardock-{engine_id}/k" in _read(pid, "cgroup").replace("/keeper-", "/-") and _lives(pid)
    ]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def _lives(pid: int) -> bool:
    """It is there, and not merely waiting to be collected by its parent (the host's init, for an orphan)."""
    return _read(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"], ["X"])


def keepers(engine_id: str) -> list[int]:
    """Keeper processes of an engine, launchers included."""
    wanted = f"\0--engine\0{engine_id}\0"
    found = [(pid, _read(pid, "cmdline")) for pid in _pids()]
    return [pid for pid, line in found if line.startswith("ardock-keeper\0") and wanted in line]


def in_kernel(ids: Iterable[str]) -> list[str]:
    """Everything of these engines' that is in the kernel."""
    left: list[str] = []
    for engine_id in ids:
        left += [str(folder) for folder in _cgroup_folders(engine_id)]
        left += [f"keeper {pid}" for pid in keepers(engine_id)]
        left += [str(path) for path in Path("/dev/shm").glob(f"ardock-{engine_id}-*")]
    return left


def mounts() -> list[str]:
    """The host's mount table, but for mount ids."""
    return [line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


async def no_containers(engine_id: str, root: Path) -> None:
    """Wait until nothing of a container is left, which the keeper sees to in the background; an error after 10 s."""
    left: list[str] = []
    with trio.move_on_after(10):
        while True:
            left = container_groups(engine_id) + [str(pid) for pid in processes(engine_id)]
            left += [str(path) for path in root.glob("scratch/*/*")]
            if not left:
                return
            await trio.sleep(0.02)
    raise AssertionError(f"left behind: {left}")


def resident(pid: int) -> int:
    """kB of a process's own memory in RAM: its anonymous pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory: it has ended")


async def forgotten(engine: Engine) -> None:
    """Wait until the keepers hold nothing any more: an exit is acknowledged once it is in the journal."""
    with trio.fail_after(5):
        while any(counters["containers"] for counters in await engine.keeper_counters()):  # noqa: ASYNC110 - nobody is told
            await trio.sleep(0.01)
