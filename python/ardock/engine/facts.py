"""What the planner must know of the host: read once, when an engine opens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from ardock.engine.apparmor.profile import UNCONFINED
from ardock.engine.kernel_paths import kernel_features, kernel_paths, told


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The host, as far as a plan depends on it.

    Attributes:
        cpus: CPUs that are online.
        memory_nodes: Memory nodes that are online.
        capabilities: Mask of what this process may give (its bounding set).
        cgroup_version: Of the control groups that limits are set by.
        swap_accounting: Swap can be limited.
        apparmor: The kernel confines by AppArmor.
        apparmor_profile: The profile of a container that asks for none, where it does.
        hosts: The host's /etc/hosts.
        resolv_conf: The host's /etc/resolv.conf.
        hidden: The engine's own folders, absolute and resolved; never shown in a container that sees the host's root.
        scratch: What a spec without one means: ``"disk"``, ``"memory"`` or ``"none"``.
        scratch_size: Most bytes of a scratch in memory of a spec that does not say it; None is the kernel's default.
        kernel_paths: What is done on this kernel where newer ones have more, by what it is for.
    """

    cpus: frozenset[int] = frozenset({0})
    memory_nodes: frozenset[int] = frozenset({0})
    capabilities: int = (1 << 41) - 1
    cgroup_version: int = 1
    swap_accounting: bool = True
    apparmor: bool = False
    apparmor_profile: str = UNCONFINED
    hosts: str = "127.0.0.1\tlocalhost\n"
    resolv_conf: str = ""
    hidden: tuple[str, ...] = ()
    scratch: str = "disk"
    scratch_size: int | None = None
    kernel_paths: dict[str, str] = msgspec.field(default_factory=dict)


_INITIAL_USER_NAMESPACE: Final = "user:[4026531837]"  # PROC_USER_INIT_INO of linux/proc_ns.h


def in_user_namespace(link: Path = Path("/proc/self/ns/user")) -> bool:
    """Whether this process's root is not the machine's: as in a rootless container, or after ``unshare -Ur``."""
    try:
        return str(link.readlink()) != _INITIAL_USER_NAMESPACE
    except OSError:  # a kernel without user namespaces
        return False


def parse_list(text: str) -> frozenset[int]:
    """The numbers of a kernel list such as ``"0-3,8"``."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def _read(path: str, default: str = "") -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default


def _bounding_set() -> int:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return 0


def gather(*, hidden: tuple[str, ...], scratch: str) -> Facts:
    """Read the host's facts."""
    version = 2 if cgroup_mode() == "v2" else 1
    if version == 2:
        # The root's group has no file that would tell (moby, pkg/sysinfo: `memory.swap.max` of its own group).
        swap = Path("/proc/swaps").exists() and "swapaccount=0" not in _read("/proc/cmdline").split()
    else:
        swap = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    return Facts(
        cpus=parse_list(_read("/sys/devices/system/cpu/online", f"0-{(os.cpu_count() or 1) - 1}")),
        memory_nodes=parse_list(_read("/sys/devices/system/node/online", "0")),
        capabilities=_bounding_set(),
        cgroup_version=version,
        swap_accounting=swap,
        apparmor=_read("/sys/module/apparmor/parameters/enabled").strip() == "Y",
        hosts=_read("/etc/hosts", "127.0.0.1\tlocalhost\n"),
        resolv_conf=_read("/etc/resolv.conf"),
        hidden=hidden,
        scratch=scratch,
        kernel_paths=told(kernel_paths(kernel_features())),
    )


def cgroup_mode() -> str:
    """``"v2"``, ``"v1"`` or ``"hybrid"``: which control groups the host has."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "hybrid" if Path("/sys/fs/cgroup/unified").exists() else "v1"
