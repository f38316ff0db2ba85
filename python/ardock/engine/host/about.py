"""What `ardock info` tells: the machine and the engine on a root folder, seen from outside.

The engine is not asked, since it may be another process or none: its folders and its lock tell.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from ardock.engine import apparmor
from ardock.engine.containers.defaults import CAPABILITIES, DEFAULT_CAPABILITIES
from ardock.engine.host.cgroups import Layout, find_cgroups
from ardock.engine.host.system import Host
from ardock.engine.kernel_paths import told


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and the engine.

    Attributes:
        version: ardock's; empty where it is not installed.
        engine_id: 8 hexadecimal digits; empty before the root folder's first use.
        root: The root folder.
        run_dir: The run folder.
        owner: The process that owns the root folder; None where none does.
        keepers: Keepers of this engine that have a folder.
        kernel: Its release.
        architecture: As uname names it.
        cpus: Those online.
        memory: Bytes.
        cgroup_layout: ``"v1"``, ``"v2"``, ``"hybrid"`` or ``"none"``.
        cgroup_version: The version that limits are set by.
        cgroup_controllers: Those that limits can be set with.
        security: What confines a container.
        network: The default network.
        kernel_paths: What is done on this kernel where newer ones have more, by what it is for.
        scratch: Where a container's writes go by default.
        capabilities: Those that a container has by default.
    """

    version: str
    engine_id: str
    root: str
    run_dir: str
    owner: int | None
    keepers: int
    kernel: str
    architecture: str
    cpus: int
    memory: int
    cgroup_layout: Layout
    cgroup_version: int
    cgroup_controllers: tuple[str, ...]
    security: tuple[str, ...]
    network: str
    kernel_paths: dict[str, str]
    scratch: str
    capabilities: tuple[str, ...]


def about(host: Host, root: Path, run_dir: Path) -> About:
    """Look at the machine and at what is on it of the engine that `root` belongs to.

    Args:
        host: The machine.
        root: The engine's root folder; need not be there.
        run_dir: The engine's run folder; need not be there.
    """
    cgroups = find_cgroups(host)
    engine_id = host.text(root / "engine-id") or ""
    controllers = cgroups.v2_controllers if cgroups.version == 2 else cgroups.v1
    return About(
        version=_version(),
        engine_id=engine_id,
        root=str(root),
        run_dir=str(run_dir),
        owner=_owner(host, root / "lock"),
        keepers=len(_folders(host, run_dir / engine_id / "keepers")) if engine_id else 0,
        kernel=host.text("/proc/sys/kernel/osrelease") or "",
        architecture=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory=host.meminfo("MemTotal") or 0,
        cgroup_layout=cgroups.layout,
        cgroup_version=cgroups.version,
        cgroup_controllers=tuple(sorted(controllers)),
        security=tuple(_security(host)),
        network="none",
        kernel_paths=told(host.kernel_paths()),
        scratch="disk",
        capabilities=tuple(
            f"CAP_{name}" for number, name in enumerate(CAPABILITIES) if DEFAULT_CAPABILITIES >> number & 1
        ),
    )


def _version() -> str:
    try:
        return version("ardock")
    except PackageNotFoundError:  # run from its sources
        return ""


def _owner(host: Host, lock: Path) -> int | None:
    """The process that holds the lock, by /proc/locks: trying to take it could refuse it to an engine that starts."""
    try:
        inode = host.path(lock).stat().st_ino
    except OSError:
        return None
    for line in host.lines("/proc/locks"):
        # `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`; a waiting one has `->` after the number. The device is not
        # compared: a btrfs subvolume shows another one here than stat does. The descriptor decides.
        words = line.split()
        if words[1:2] == ["FLOCK"] and words[5].endswith(f":{inode}") and _holds(host, int(words[4]), lock):
            return int(words[4])
    return None


def _holds(host: Host, pid: int, lock: Path) -> bool:
    wanted = host.path(lock).resolve()
    for descriptor in _entries(host.path(f"/proc/{pid}/fd")):
        try:
            if descriptor.readlink() == wanted:
                return True
        except OSError:  # closed in the meantime
            continue
    return False


def _security(host: Host) -> Iterator[str]:
    if "errno" in (host.text("/proc/sys/kernel/seccomp/actions_avail") or "").split():
        yield "seccomp (Docker's default profile)"
    armour = apparmor.support(host.path("/"))
    if armour.enabled:
        lacks = apparmor.missing(armour)
        yield "apparmor (no profile by default)" if lacks else f"apparmor (profile {apparmor.NAME})"
    yield "cgroup namespace"
    yield "masked and read-only paths"


def _folders(host: Host, folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _entries(host.path(folder)) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
