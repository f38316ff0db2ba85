"""What crosses to the launch core: the mirror of ``rust/launch/src/spec.rs``, field for field.

Everything is resolved: no name is looked up below, no host path is in it. On the wire it is MessagePack maps with
these field names; the other side refuses unknown ones. ``tests/unit/test_wire.py`` sends each record through Rust and
back. The meaning of each field stands in the Rust file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# "new", "host", or the index of a namespace descriptor of the message.
Namespace = Literal["new", "host"] | int
# The index of a detached mount's descriptor, or a path in the launcher's own mount namespace.
Source = int | str
# "null", "pipe", or the index of a descriptor of the message.
Stream = Literal["null", "pipe"] | int

UNLIMITED = (1 << 64) - 1


class Namespaces(msgspec.Struct, frozen=True, kw_only=True):
    """One choice for each kind of namespace."""

    pid: Namespace = "new"
    net: Namespace = "new"
    ipc: Namespace = "new"
    mnt: Namespace = "new"
    uts: Namespace = "new"
    cgroup: Namespace = "new"
    user: Namespace = "host"
    time: Namespace = "host"


class NoScratch(msgspec.Struct, frozen=True, tag_field="kind", tag="none"):
    """No overlay: writes go into the single layer."""


class MemoryScratch(msgspec.Struct, frozen=True, tag_field="kind", tag="memory"):
    """Upper and work on the container's own tmpfs; `size` bytes, 0 for the kernel's default."""

    size: int


class DiskScratch(msgspec.Struct, frozen=True, tag_field="kind", tag="disk"):
    """Upper and work in `dir`, a path in the launcher's mount namespace.

    It must not exist yet, and goes with its container; with `keep` it is used as it is, made where it is not there, and
    never removed (and `volatile` is not looked at).
    """

    dir: str
    volatile: bool
    keep: bool = False


Scratch = NoScratch | MemoryScratch | DiskScratch


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """The root file system: one directory, or lower directories (topmost first) with a scratch."""

    layers: tuple[Source, ...]
    scratch: Scratch
    readonly: bool


class Filesystems(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel file systems that a container gets."""

    proc: bool = True
    dev: bool = True
    pts: bool = True
    mqueue: bool = True
    sys: bool = True
    cgroup: bool = True
    shm_size: int | None = None
    writable: bool = False


class Bind(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="bind"):
    """Attach a detached mount."""

    source: Source
    file: bool


class Tmpfs(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tmpfs"):
    """A fresh tmpfs with mount(2) data (255 characters at most) and MS_* flags."""

    data: str
    flags: int


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One mount on top of the root (``Mount`` in Rust)."""

    target: str
    what: Bind | Tmpfs


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A small generated file, 64 KiB at most."""

    target: str
    content: bytes


class DeviceRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the device cgroup: kind ``a``, ``b`` or ``c``; None is any number."""

    allow: bool
    kind: str
    major: int | None
    minor: int | None
    access: str


class DeviceNode(msgspec.Struct, frozen=True, kw_only=True):
    """A device node to make beneath /dev (``Device`` in Rust)."""

    target: str
    kind: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int


class DeviceWeight(msgspec.Struct, frozen=True, kw_only=True):
    """The weight of a container's requests on one block device."""

    major: int
    minor: int
    weight: int


class DeviceRate(msgspec.Struct, frozen=True, kw_only=True):
    """The most that is read from or written to one block device, a second."""

    major: int
    minor: int
    rate: int


class Io(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on block devices."""

    weight: int | None = None
    weight_devices: tuple[DeviceWeight, ...] = ()
    read_bps: tuple[DeviceRate, ...] = ()
    write_bps: tuple[DeviceRate, ...] = ()
    read_iops: tuple[DeviceRate, ...] = ()
    write_iops: tuple[DeviceRate, ...] = ()


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in the kernel's own units; None leaves the kernel's default."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_high: int | None = None
    oom_group: bool = False
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    io: Io | None = None
    devices: tuple[DeviceRule, ...] | None = None


class Cgroup(msgspec.Struct, frozen=True, kw_only=True):
    """The container's control groups."""

    parent: str
    name: str
    resources: Resources
    join: tuple[int, ...] = ()


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Capability sets as bit masks."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int


class Rlimit(msgspec.Struct, frozen=True, kw_only=True):
    """A resource limit by RLIMIT_* number; `UNLIMITED` is none."""

    resource: int
    soft: int
    hard: int


class Stdio(msgspec.Struct, frozen=True, kw_only=True):
    """The program's standard streams; `terminal` (rows, columns) replaces all three."""

    terminal: tuple[int, int] | None = None
    stdin: Stream = "null"
    stdout: Stream = "pipe"
    stderr: Stream = "pipe"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What every program has."""

    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    capabilities: Capabilities
    seccomp: str | None
    no_new_privileges: bool
    apparmor: str | None
    rlimits: tuple[Rlimit, ...]
    oom_score_adj: int | None


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A container's first program and all that is around it."""

    process: Process
    stdio: Stdio
    namespaces: Namespaces
    hostname: str | None
    domainname: str | None
    root: Root
    filesystems: Filesystems
    devices: tuple[DeviceNode, ...]
    mounts: tuple[MountPoint, ...]
    files: tuple[File, ...]
    masked: tuple[str, ...]
    readonly: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]
    cgroup: Cgroup | None
    deadline_ms: int


class ExecLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """A program to be joined to a running container (``ExecSpec`` in Rust)."""

    process: Process
    stdio: Stdio
    deadline_ms: int


class LaunchError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a launch failed (``rust/launch/src/error.rs``)."""

    step: str
    subject: str
    errno: int
    hint: str
    exit_code: int
