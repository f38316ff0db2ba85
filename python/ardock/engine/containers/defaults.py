"""What a Docker container has unless told otherwise: data only.

Sources: moby ``daemon/pkg/oci/defaults.go``, ``daemon/pkg/oci/caps``, ``daemon/containerd``'s spec options, runc
``libcontainer/specconv/spec_linux.go`` (AllowedDevices).
"""

from __future__ import annotations

from typing import Final

from ardock.model.launch import DeviceRule

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TERM: Final = "xterm"

# Bit N is capability number N (uapi/linux/capability.h).
CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
CAPABILITY_NUMBERS: Final = {name: number for number, name in enumerate(CAPABILITIES)}
CAP_MKNOD: Final = 1 << CAPABILITY_NUMBERS["MKNOD"]

# CHOWN, DAC_OVERRIDE, FSETID, FOWNER, MKNOD, NET_RAW, SETGID, SETUID, SETFCAP, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT,
# KILL, AUDIT_WRITE.
DEFAULT_CAPABILITIES: Final = 0x00000000_A80425FB


def _allow(kind: str, major: int | None, minor: int | None, access: str) -> DeviceRule:
    return DeviceRule(allow=True, kind=kind, major=major, minor=minor, access=access)


DENY_ALL_DEVICES: Final = DeviceRule(allow=False, kind="a", major=None, minor=None, access="rwm")
ALLOW_ALL_DEVICES: Final = _allow("a", None, None, "rwm")
DEVICE_RULES: Final = (
    DENY_ALL_DEVICES,
    _allow("c", None, None, "m"),
    _allow("b", None, None, "m"),
    _allow("c", 1, 3, "rwm"),  # null
    _allow("c", 1, 5, "rwm"),  # zero
    _allow("c", 1, 7, "rwm"),  # full
    _allow("c", 1, 8, "rwm"),  # random
    _allow("c", 1, 9, "rwm"),  # urandom
    _allow("c", 5, 0, "rwm"),  # tty
    _allow("c", 5, 1, "rwm"),  # console
    _allow("c", 5, 2, "rwm"),  # ptmx
    _allow("c", 136, None, "rwm"),  # pts
)

# asm-generic/resource.h
RLIMITS: Final = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9,
    "locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}  # fmt: skip

# libnetwork etchosts: what is in every /etc/hosts.
HOSTS: Final = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)

# runc's list: what lxcfs and the like may mount beneath /proc; everything else there is refused (CVE-2019-16884).
PROC_MOUNT_TARGETS: Final = frozenset(
    {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    }
)

MIN_MEMORY: Final = 4 << 20
CPU_PERIOD: Final = 100_000
DEADLINE_MS: Final = 10_000
