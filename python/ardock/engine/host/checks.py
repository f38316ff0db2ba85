"""What containers need of this process and of the kernel, looked at one by one, with the way to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ardock.engine import apparmor
from ardock.engine.host.records import Check
from ardock.engine.host.system import Host

# System calls by number: from 424 on the numbers are the same on every architecture. With each the first kernel
# that has it.
_CALLS = {
    "pidfd_send_signal": (424, "5.1"),
    "open_tree": (428, "5.2"),
    "move_mount": (429, "5.2"),
    "fsopen": (430, "5.2"),
    "fsconfig": (431, "5.2"),
    "fsmount": (432, "5.2"),
    "pidfd_open": (434, "5.3"),
    "clone3": (435, "5.3"),
    "close_range": (436, "5.9"),
    "openat2": (437, "5.6"),
    "mount_setattr": (442, "5.12"),
}

# linux/capability.h. Each with what it is for.
_CAPABILITIES = {
    "CAP_CHOWN": (0, "scratch folders and devices get their owners"),
    "CAP_DAC_OVERRIDE": (1, "root file systems of other users are read"),
    "CAP_FOWNER": (3, "modes of generated files are set"),
    "CAP_KILL": (5, "programs of other users are stopped"),
    "CAP_SETGID": (6, "the program's groups are set"),
    "CAP_SETUID": (7, "the program's user is set"),
    "CAP_SETPCAP": (8, "capabilities are dropped from the bounding set"),
    "CAP_NET_ADMIN": (12, "the loopback link is set up"),
    "CAP_SYS_CHROOT": (18, "mount namespaces are joined"),
    "CAP_SYS_ADMIN": (21, "namespaces and mounts are made"),
    "CAP_MKNOD": (27, "device nodes are made"),
}
_CAP_SYS_RESOURCE = 24

_FILESYSTEMS = {
    "overlay": "layers and scratch; without it containers run on a folder with --scratch none alone",
    "tmpfs": "/dev, /dev/shm and scratch in memory",
    "proc": "/proc",
    "sysfs": "/sys",
    "devpts": "terminals",
    "mqueue": "POSIX message queues",
}

OLDEST_KERNEL = (5, 14)
"""The first kernel with all that the cgroup v2 code uses: `cgroup.kill` is the last of it."""


def privileges(host: Host) -> Iterator[Check]:
    """Root, capabilities, and what this process would hand down to every container."""
    group = "privileges"
    uid = int((host.status("Uid") or "0 0").split()[1])  # the effective one
    yield Check(
        group=group,
        name="root",
        status="ok" if uid == 0 else "failed",
        found="yes" if uid == 0 else f"no, user {uid}",
        remedy="" if uid == 0 else "run ardock as root, such as by sudo",
    )
    if host.in_user_namespace():
        # Root there has every capability and may still make no device node, nor mount most file systems.
        yield Check(
            group=group,
            name="user namespace",
            status="failed",
            found="this root is one of a user namespace (a rootless container, or unshare -Ur), not the machine's: not supported",
            remedy="run ardock as the machine's root, outside of that user namespace",
        )
    missing = [f"{name} ({why})" for name, (bit, why) in _CAPABILITIES.items() if not host.has_capability(bit)]
    yield Check(
        group=group,
        name="capabilities",
        status="failed" if missing else "ok",
        found=f"missing {', '.join(missing)}" if missing else "all that are needed",
        remedy="start ardock with these capabilities; in a container of another engine that takes --privileged"
        if missing
        else "",
    )
    resource = host.has_capability(_CAP_SYS_RESOURCE)
    yield Check(
        group=group,
        name="CAP_SYS_RESOURCE",
        status="ok" if resource else "note",
        found="yes"
        if resource
        else "no: --ulimit cannot go above this process's own hard limits, nor --oom-score-adj below its own score",
        remedy="" if resource else "start ardock with CAP_SYS_RESOURCE where containers need that",
    )
    filtered = host.status("Seccomp") not in {"", "0"}
    bound = host.status("NoNewPrivs") == "1"
    inherited = [name for name, there in (("a seccomp filter", filtered), ("no-new-privileges", bound)) if there]
    yield Check(
        group=group,
        name="inherited restrictions",
        status="failed" if inherited else "ok",
        found=f"{' and '.join(inherited)}, which every container would inherit" if inherited else "none",
        remedy="start ardock outside of that sandbox, or accept it: open_engine(keep_inherited_seccomp=True)"
        if inherited
        else "",
    )


def kernel(host: Host) -> Iterator[Check]:
    """Version, system calls, file systems, namespaces, seccomp, AppArmor, memfds."""
    group = "kernel"
    release = host.text("/proc/sys/kernel/osrelease") or ""
    parsed = re.match(r"(\d+)\.(\d+)", release)
    version = (int(parsed[1]), int(parsed[2])) if parsed else (0, 0)
    recent = version >= OLDEST_KERNEL
    oldest = ".".join(map(str, OLDEST_KERNEL))
    yield Check(
        group=group,
        name="version",
        status="ok" if recent else "failed",
        found=release or "unknown",
        remedy="" if recent else f"boot Linux {oldest} or newer",
    )
    absent = {name: since for name, (number, since) in _CALLS.items() if not host.has_call(number)}
    listed = ", ".join(f"{name} (since {since})" for name, since in absent.items())
    yield Check(
        group=group,
        name="system calls",
        status="failed" if absent else "ok",
        found=f"refused: {listed}" if absent else f"all {len(_CALLS)} that are needed",
        remedy=""
        if not absent
        else f"boot Linux {oldest} or newer as root; in a container of another engine these may be forbidden by its "
        "seccomp profile",
    )
    for name, why in _FILESYSTEMS.items():
        there = host.has_filesystem(name)
        yield Check(
            group=group,
            name=f"{name} file system",
            status="ok" if there else "failed",
            found="yes" if there else f"no; needed for {why}",
            remedy="" if there else f"modprobe {name}, or boot a kernel that has it",
        )
    namespaces = [
        name for name in ("pid", "net", "ipc", "mnt", "uts", "cgroup") if not host.exists(f"/proc/self/ns/{name}")
    ]
    yield Check(
        group=group,
        name="namespaces",
        status="failed" if namespaces else "ok",
        found=f"missing: {', '.join(namespaces)}" if namespaces else "pid, net, ipc, mnt, uts, cgroup",
        remedy="boot a kernel that has them (CONFIG_NAMESPACES and the ones below it)" if namespaces else "",
    )
    users = host.exists("/proc/self/ns/user") and (host.number("/proc/sys/user/max_user_namespaces") or 0) > 0
    yield Check(
        group=group,
        name="user namespaces",
        status="ok" if users else "note",
        found="yes (containers do not use them yet)" if users else "no (containers do not use them yet)",
        remedy="" if users else "sysctl user.max_user_namespaces=15000",
    )
    actions = (host.text("/proc/sys/kernel/seccomp/actions_avail") or "").split()
    yield Check(
        group=group,
        name="seccomp filters",
        status="ok" if "errno" in actions else "failed",
        found="yes"
        if "errno" in actions
        else "no; by default containers have Docker's system call filter, and run here with "
        "--security-opt seccomp=unconfined alone",
        remedy=""
        if "errno" in actions
        else "boot a kernel with CONFIG_SECCOMP_FILTER, or use --security-opt seccomp=unconfined",
    )
    yield _apparmor(host)
    executable = host.executable_memfd()
    yield Check(
        group=group,
        name="executable memfd",
        status="ok" if executable else "note",
        found="yes" if executable else "no: the keeper runs from its installed file by a read-only mount instead",
        remedy="" if executable else "sysctl vm.memfd_noexec=0",
    )


def kernel_ways(host: Host) -> Iterator[Check]:
    """What newer kernels have, and what is done where this one has not."""
    if not host.has_capability(_CAPABILITIES["CAP_SYS_ADMIN"][0]):
        return  # None can be seen; that is told above.
    for path in host.kernel_paths():
        if path.feature == "memfd":
            continue  # told above, with its remedy
        since = f" (since {path.since})"
        yield Check(
            group="ways on this kernel",
            name=path.key.replace("_", " "),
            status="note" if path.loss else "ok",
            found=f"{path.way}; {path.feature}{since}: {'yes' if path.there else 'no'}"
            + (f": {path.loss}" if path.loss else ""),
            remedy=f"boot Linux {path.since} or newer where that is needed" if path.loss else "",
        )


def _apparmor(host: Host) -> Check:
    armour = apparmor.support(host.path("/"))
    if not armour.enabled:
        return Check(
            group="kernel",
            name="AppArmor",
            status="ok",
            found="not enabled; containers run without a profile",
        )
    lacks = apparmor.missing(armour)
    if lacks:
        remedy = "apt install apparmor" if armour.mounted else "mount -t securityfs securityfs /sys/kernel/security"
        return Check(
            group="kernel",
            name="AppArmor",
            status="note",
            found=f"enabled, but containers run without a profile: {lacks}",
            remedy=f"{remedy}, then start the engine anew",
        )
    loaded = armour.loaded is not None and apparmor.NAME in armour.loaded
    return Check(
        group="kernel",
        name="AppArmor",
        status="ok",
        found=f"enabled; profile {apparmor.NAME} {'is loaded' if loaded else 'is loaded by the next engine that opens'}",
    )
