"""How many more containers the host has room for, and which limit is met first.

A container here is the smallest there is: one idle process, five namespaces and a cgroup namespace, a memory cgroup,
an overlay with its scratch, no terminal. What a program takes for itself comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from ardock.engine.host.cgroups import Cgroups
from ardock.engine.host.records import Bound
from ardock.engine.host.system import Host

DESCRIPTORS = 7
"""The keeper's for a container: pidfd, mount namespace, three streams, a log, an OOM notice (MAX_DESCRIPTORS in rust/keeper)."""
KEEPER_DESCRIPTORS = 1024
"""What a keeper keeps for itself, but never more than a quarter of its limit (OTHER_DESCRIPTORS in rust/keeper)."""
SUPERBLOCKS = 6
"""Overlay, tmpfs, procfs, devpts, sysfs of its network namespace, mqueue of its IPC namespace."""
KERNEL_MEMORY = 512 * 1024
"""Kernel memory of a container, measured, without what grows with the number of containers."""
SHRINKER_SHARE = 16
"""Each memory cgroup holds a map of all shrinkers and each superblock registers one: 16 bytes a pair, measured."""
SCRATCH_INODES = 6
"""Folders and files of a container's scratch on disk."""
MEMORY_CGROUPS = 65_535
"""MEM_CGROUP_ID_MAX in mm/memcontrol.c; a dying one counts until its last page is gone."""
ANONYMOUS_DEVICES = 1 << 20
"""Superblocks without a block device take a minor number each (MINORBITS, fs/super.c)."""
EPOLL_WATCHES = 4
"""Descriptors of a container that its keeper waits for: pidfd and three streams."""

_NAMESPACES = ("pid", "net", "ipc", "mnt", "uts", "cgroup")


def bounds(host: Host, cgroups: Cgroups, root: Path) -> tuple[Bound, ...]:
    """All limits that are known here, those that count for every container first, the tightest first."""
    found = [
        *_processes(host),
        *_memory(host),
        *_namespaces(host),
        *_descriptors(host),
        *_cgroups(host, cgroups),
        *_superblocks(host),
        *_keyrings(host),
        *_scratch(host, root),
        *_terminals(host),
    ]
    return tuple(sorted(found, key=lambda bound: (not bound.counts, bound.fits)))


def _plain(name: str, limit: int | None, used: int, each: int, **more: str) -> Iterator[Bound]:
    """A limit of which every container takes the same; nothing where the host does not have it."""
    if limit is None:
        return
    fits = max(0, (limit - used) // each)
    yield Bound(
        name=name,
        limit=limit,
        used=used,
        each=each,
        fits=fits,
        counts=more.get("applies", "") == "",
        remark=more.get("applies") or more.get("remark", ""),
        remedy=more.get("remedy", ""),
    )


def _processes(host: Host) -> Iterator[Bound]:
    tasks = _tasks(host)
    yield from _plain(
        "kernel.pid_max",
        host.number("/proc/sys/kernel/pid_max"),
        tasks,
        1,
        remark="one process each",
        remedy="sysctl kernel.pid_max=4194304",
    )
    yield from _plain(
        "kernel.threads-max",
        host.number("/proc/sys/kernel/threads-max"),
        tasks,
        1,
        remark="one process each",
        remedy="sysctl kernel.threads-max=4194304",
    )


def _tasks(host: Host) -> int:
    """All threads of the machine: the fourth field of /proc/loadavg is ``runnable/all``."""
    words = (host.text("/proc/loadavg") or "").split()
    return int(words[3].partition("/")[2]) if len(words) > 3 else 0


def _memory(host: Host) -> Iterator[Bound]:
    """N containers take N * KERNEL_MEMORY + SHRINKER_SHARE * SUPERBLOCKS * N * N bytes: solved for N."""
    available = host.meminfo("MemAvailable")
    if available is None:
        return
    growing = SHRINKER_SHARE * SUPERBLOCKS
    fits = int((math.sqrt(KERNEL_MEMORY**2 + 4 * growing * available) - KERNEL_MEMORY) / (2 * growing))
    total = host.meminfo("MemTotal") or available
    yield Bound(
        name="memory (bytes)",
        limit=total,
        used=total - available,
        each=available // fits if fits else KERNEL_MEMORY,
        fits=fits,
        remark="the kernel's share alone, at that many containers",
        remedy="more memory; several containers in one memory cgroup take less",
    )


def _namespaces(host: Host) -> Iterator[Bound]:
    limits = {name: host.number(f"/proc/sys/user/max_{name}_namespaces") for name in _NAMESPACES}
    known = {name: limit for name, limit in limits.items() if limit is not None}
    if not known:
        return
    smallest = min(known.values())
    names = [name for name, limit in known.items() if limit == smallest]
    yield from _plain(
        f"user.max_{names[0]}_namespaces" if len(names) == 1 else "user.max_*_namespaces",
        smallest,
        _used_namespaces(host),
        1,
        remark=f"one of each kind: {', '.join(names)}",
        remedy=" ".join(["sysctl", *(f"user.max_{name}_namespaces=1000000" for name in names)]),
    )


def _used_namespaces(host: Host) -> int:
    """Mount namespaces in use, which every container has; those only held by a descriptor are not seen."""
    seen = set()
    for process in host.path("/proc").glob("[0-9]*"):
        try:
            seen.add((process / "ns/mnt").readlink())
        except OSError:
            continue
    return len(seen)


def _descriptors(host: Host) -> Iterator[Bound]:
    words = (host.text("/proc/sys/fs/file-nr") or "").split()
    yield from _plain(
        "fs.file-max",
        host.number("/proc/sys/fs/file-max"),
        int(words[0]) if words else 0,
        DESCRIPTORS,
        remark="descriptors of its keeper",
        remedy="sysctl fs.file-max=9223372036854775807",
    )
    yield from _plain(
        "fs.epoll.max_user_watches",
        host.number("/proc/sys/fs/epoll/max_user_watches"),
        0,
        EPOLL_WATCHES,
        remark="descriptors that its keeper waits for",
        remedy="sysctl fs.epoll.max_user_watches=10000000",
    )
    limit = host.hard_limit("Max open files")
    yield from _plain(
        "RLIMIT_NOFILE",
        limit,
        min(KEEPER_DESCRIPTORS, (limit or 0) // 4),
        DESCRIPTORS,
        applies="for each keeper; the engine starts more keepers as needed",
        remedy="ulimit -Hn 1048576, or LimitNOFILE=1048576 in the service's unit",
    )


def _cgroups(host: Host, cgroups: Cgroups) -> Iterator[Bound]:
    if not cgroups.has("memory"):
        return
    used = 0
    for line in host.lines("/proc/cgroups"):
        words = line.split()
        if words[:1] == ["memory"]:
            used = int(words[2])
    yield from _plain(
        "memory cgroups",
        MEMORY_CGROUPS,
        used,
        1,
        remark="the kernel's own limit",
        remedy="several containers in one memory cgroup",
    )


def _superblocks(host: Host) -> Iterator[Bound]:
    used = sum(1 for mount in host.mounts() if mount.device.startswith("0:"))
    yield from _plain(
        "anonymous devices",
        ANONYMOUS_DEVICES,
        used,
        SUPERBLOCKS,
        remark="file systems without a block device; the kernel's own limit",
    )


def _keyrings(host: Host) -> Iterator[Bound]:
    """Each container gets a session keyring, made before its user is set and so counted for root (keyrings(7))."""
    used = 0
    for line in host.lines("/proc/key-users"):
        # `0: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes`
        words = line.split()
        if words[:1] == ["0:"] and len(words) > 3:
            used = int(words[3].partition("/")[0])
    yield from _plain(
        "kernel.keys.root_maxkeys",
        host.number("/proc/sys/kernel/keys/root_maxkeys"),
        used,
        1,
        remark="a session keyring each",
        remedy="sysctl kernel.keys.root_maxkeys=1000000",
    )


def _scratch(host: Host, root: Path) -> Iterator[Bound]:
    try:
        space = host.space(root)
    except OSError:
        return
    if space.free_inodes is not None:
        yield from _plain(
            "inodes of the root folder",
            space.free_inodes,
            0,
            SCRATCH_INODES,
            remark="a scratch on disk that nothing is written to",
            remedy="another root folder (--root), or --scratch memory",
        )


def _terminals(host: Host) -> Iterator[Bound]:
    """A container's own devpts may not use what is reserved for the host's (fs/devpts/inode.c)."""
    limit = host.number("/proc/sys/kernel/pty/max")
    reserve = host.number("/proc/sys/kernel/pty/reserve") or 0
    yield from _plain(
        "kernel.pty.max",
        None if limit is None else limit - reserve,
        host.number("/proc/sys/kernel/pty/nr") or 0,
        1,
        applies="only containers with a terminal (-t); what is reserved for the host is taken off",
        remedy="sysctl kernel.pty.max=65536",
    )
