"""The control groups, looked at: can ardock make its own, and which limits can they have?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ardock.engine.host.cgroups import Cgroups
from ardock.engine.host.records import Check
from ardock.engine.host.system import Host

_GROUP = "cgroups"

# What each is for, as command line options. A container without that limit runs without the controller.
_LIMITS = {
    "memory": "--memory and its like",
    "cpu": "--cpus and --cpu-shares",
    "pids": "--pids-limit",
    "cpuset": "--cpuset-cpus and --cpuset-mems",
    "io": "--blkio-weight, --device-read-bps and their like",
}

# What the launch core enables for its groups at the first limit that needs it: rust/launch/src/cgroup/controllers.rs.
_ENABLED = frozenset(_LIMITS)


def control_groups(host: Host, cgroups: Cgroups) -> Iterator[Check]:
    """Layout, delegation and controllers."""
    if cgroups.version == 0:
        yield Check(
            group=_GROUP,
            name="layout",
            status="failed",
            found="no cgroup file system is mounted",
            remedy="mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
        return
    yield _layout(cgroups)
    if cgroups.version == 2:
        yield _delegation(cgroups)
    for kind, purpose in _LIMITS.items():
        controller, there = cgroups.name_of(kind), cgroups.has(kind)
        yield Check(
            group=_GROUP,
            name=f"{controller} controller",
            status="ok" if there else "note",
            found="yes" if there else f"no: {purpose} will be refused; containers without such a limit run",
            remedy="" if there else _remedy(host, controller, cgroups),
        )
    yield _devices(host, cgroups)
    if cgroups.has("memory"):
        yield _swap(host, cgroups)


def _layout(cgroups: Cgroups) -> Check:
    where = cgroups.v2 if cgroups.version == 2 else os.path.commonpath(cgroups.v1.values())
    if not cgroups.readonly:
        return Check(group=_GROUP, name="layout", status="ok", found=f"{cgroups.layout} ({where})")
    places = " ".join(cgroups.readonly)
    return Check(
        group=_GROUP,
        name="layout",
        status="failed",
        found=f"{cgroups.layout}, read-only: {places}; ardock makes a group for each container",
        remedy=f"mount -o remount,rw {places.split(' ')[0]}{' and the others' if ' ' in places else ''}; "
        "in a container of ardock or another engine, start that one with --privileged",
    )


def _delegation(cgroups: Cgroups) -> Check:
    """Whether groups with limits can be made beneath the root that is seen here (cgroup-v2.rst, "Delegation")."""
    name = "delegation"
    if cgroups.v2_type not in {"", "domain"}:
        return Check(
            group=_GROUP,
            name=name,
            status="failed",
            found=f"{cgroups.v2}/cgroup.type is {cgroups.v2_type!r}: no groups of processes can be made in such a one",
            remedy="start ardock in a group whose cgroup.type is 'domain'",
        )
    if not cgroups.v2_controllers:
        return Check(
            group=_GROUP,
            name=name,
            status="note",
            found=f"{cgroups.v2}/cgroup.controllers is empty: no controller is given to ardock, so that no limit can be set; "
            "containers without limits run",
            remedy="write '+memory +pids +cpu +cpuset +io' to the cgroup.subtree_control of the group above (Delegate=yes in a "
            "systemd unit); in a container, give that one limits or start it with --privileged"
            if cgroups.v2_type
            else "boot without cgroup_disable= and with the controllers on version 2 (cgroup_no_v1=all)",
        )
    if cgroups.v2_type and cgroups.v2_processes and not cgroups.v2_controllers & _ENABLED <= cgroups.v2_enabled:
        # "No internal process constraint": a group that has limits for those beneath it holds no process itself.
        return Check(
            group=_GROUP,
            name=name,
            status="ok",
            found=f"inside of a container; its {cgroups.v2_processes} processes stand where groups must go, and are moved to "
            f"{cgroups.v2}/init when the first container with a limit starts",
        )
    return Check(group=_GROUP, name=name, status="ok", found="inside of a container" if cgroups.v2_type else "yes")


def _devices(host: Host, cgroups: Cgroups) -> Check:
    """Rules on devices: a controller of version 1, programs of the kernel's on version 2."""
    if cgroups.version == 1:
        name, lacks = "devices controller", "" if cgroups.has("devices") else "no"
        remedy = _remedy(host, "devices", cgroups)
    else:
        name, lacks = "device rules", host.device_rules_refused()
        remedy = "boot a kernel with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL; in a container, start that one with --privileged"
    without = "containers get no CAP_MKNOD and cannot open device nodes outside of their /dev"
    return Check(
        group=_GROUP,
        name=name,
        status="note" if lacks else "ok",
        found=f"{lacks}: {without}" if lacks else "yes",
        remedy=remedy if lacks else "",
    )


def _remedy(host: Host, controller: str, cgroups: Cgroups) -> str:
    disabled = _disabled(host, controller)
    if disabled:
        return disabled
    if cgroups.version == 1:
        if controller in cgroups.v2_controllers:
            return (
                f"{controller} is on version 2 alone and the others on version 1: boot with cgroup_no_v1=all to have all "
                "on version 2, or without cgroup_no_v1="
            )
        path = f"/sys/fs/cgroup/{controller}"
        return f"mkdir -p {path} && mount -t cgroup -o {controller} {controller} {path}"
    if cgroups.v2_type:
        return f"write '+{controller}' to the cgroup.subtree_control of the groups above this one (Delegate=yes in a systemd unit)"
    if any(line.split()[:1] == [controller] and line.split()[1] != "0" for line in host.lines("/proc/cgroups")):
        return f"it is bound to a version 1 hierarchy: unmount that, or boot with cgroup_no_v1={controller}"
    option = {"memory": "MEMCG", "cpuset": "CPUSETS", "cpu": "CGROUP_SCHED", "io": "BLK_CGROUP"}.get(
        controller, f"CGROUP_{controller.upper()}"
    )
    return f"boot a kernel with CONFIG_{option}"


def _disabled(host: Host, controller: str) -> str:
    """What to boot with where the kernel has a controller that was switched off when it was booted."""
    for line in host.lines("/proc/cgroups"):
        # `memory 0 35 1`: name, hierarchy, number of groups, enabled.
        words = line.split()
        if words[:1] == [controller] and words[3:4] == ["0"]:
            command_line = (host.text("/proc/cmdline") or "").split()
            by_hand = [word for word in command_line if word.startswith("cgroup_disable=") and controller in word]
            return f"boot without {by_hand[0]}" if by_hand else f"boot with cgroup_enable={controller}"
    return ""


def _swap(host: Host, cgroups: Cgroups) -> Check:
    # Version 2 shows memory.swap.max only below the root: there the kernel's parameter tells.
    if cgroups.version == 1:
        counted = host.exists(f"{cgroups.v1['memory']}/memory.memsw.usage_in_bytes")
    else:
        counted = "swapaccount=0" not in (host.text("/proc/cmdline") or "").split()
    return Check(
        group=_GROUP,
        name="swap accounting",
        status="ok" if counted else "note",
        found="yes" if counted else "no: --memory-swap cannot be honoured",
        remedy="" if counted else "boot with swapaccount=1",
    )
