"""What a user asks for: a container, in Docker's terms.

A `ContainerSpec` is a value: it is checked and resolved only when it is planned (`ardock.engine.containers.plan`), so
that a record read back from somewhere else is handled like one typed by hand. Sizes may be ints of bytes or Docker
strings such as ``"64m"``. No field can be changed once the container runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

import msgspec

from ardock.model.health import HealthCheck

Propagation = Literal["private", "rprivate", "slave", "rslave", "shared", "rshared"]
Network = Literal["none", "host"]
ScratchKind = Literal["disk", "memory", "none"]


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mount on top of the root.

    Attributes:
        type: ``"bind"``, ``"tmpfs"`` or ``"volume"``.
        source: For a bind: absolute host path. For a volume: its name; empty is an anonymous volume of the container's own,
            whose name is filled in when the container is made.
        target: Required. Absolute path in the container; made where missing.
        read_only: No writes through it.
        propagation: For a bind, as in mount(8); Docker's default is ``"rprivate"``.
        recursive: For a bind: what is mounted beneath the source comes along.
        read_only_recursive: For a read-only bind: what is mounted beneath is read-only, too. None: where the kernel can; False:
            it stays writable; True: it must be.
        create_source: For a bind: make a missing source as a directory (``docker run -v`` does, ``--mount`` does not).
            A volume is made in any case; there it only says that ``-v`` was the form, which `inspect` shows it in.
        options: For a tmpfs: mount(8) options such as ``"size=64m,mode=1777,noexec"``.
        no_copy: For a volume: leave it empty where it is (else it gets what the image has at `target`).
        subpath: For a volume: relative path of a directory or file in it that is mounted in its place; it must be there.
        driver: For a volume that is made for this mount: ``"local"`` or empty, which is the same.
        driver_options: For a volume that is made for this mount: as `ardock.interface.Volumes.create` takes them.
        labels: For a volume that is made for this mount.
        anonymous: Filled in by the engine: the volume was made for this container alone, and goes with it. In a request it
            means that a new one is wanted, whatever `source` says.
        inherited: Filled in by the engine: it came from another container (`ContainerSpec.volumes_from`).
    """

    target: str
    type: Literal["bind", "tmpfs", "volume"] = "bind"
    source: str = ""
    read_only: bool = False
    propagation: Propagation = "rprivate"
    recursive: bool = True
    read_only_recursive: bool | None = None
    create_source: bool = False
    options: str = ""
    no_copy: bool = False
    subpath: str = ""
    driver: str = ""
    driver_options: dict[str, str] = {}
    labels: dict[str, str] = {}
    anonymous: bool = False
    inherited: bool = False


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A device of the host to be had inside.

    Attributes:
        source: Required. Absolute path of a device node on the host.
        target: Path beneath /dev in the container; empty is the same as `source`.
        permissions: Letters of ``rwm``.
    """

    source: str
    target: str = ""
    permissions: str = "rwm"


class Ulimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A resource limit.

    Attributes:
        name: Docker's (and setrlimit's) name in lower case: ``"nofile"``, ``"core"``, ...
        soft: -1 is unlimited.
        hard: -1 is unlimited.
    """

    name: str
    soft: int
    hard: int


class WeightDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weight of a container's requests on one block device (Docker's ``blkiodev.WeightDevice``).

    Attributes:
        path: Required. Absolute path of a whole disk's node on the host.
        weight: Required. 10 to 1000; 0 is none.
    """

    path: str
    weight: int


class ThrottleDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that is read from or written to one block device (Docker's ``blkiodev.ThrottleDevice``).

    Attributes:
        path: Required. Absolute path of a whole disk's node on the host.
        rate: Required. Bytes (or a size such as ``"1m"``) or requests a second; 0 is no limit.
    """

    path: str
    rate: int | str


class LogOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A log of both output streams, kept by the keeper in the engine's root folder.

    Attributes:
        max_size: Rotate past so many bytes.
        max_files: Files kept, the current one included.
    """

    max_size: int | str = "10m"
    max_files: int = 3


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A container that is to be run. Only `argv` and one of `rootfs`, `layers` and `image` are required.

    Attributes:
        argv: Program and arguments; with an entrypoint (an image's, too) arguments alone. Empty is the image's command. A
            name without a slash is looked up along the container's PATH.
        entrypoint: Program and first arguments, before `argv`; instead of the image's, whose command then falls away.
            None is the image's. ``[]`` is none; ``[""]`` is none, and no command of the image's either.
        rootfs: Absolute host path of a directory that becomes the root file system.
        layers: Instead: directories to be stacked, topmost first (needs a `scratch` other than ``"none"``).
        image: Instead: the name or id of an image of the engine's.
        name: Unique in its engine while the container exists; None has one made up.
        scratch: Where writes to the root go: ``"disk"`` (an overlay in the engine's root folder), ``"memory"`` (an
            overlay in memory charged to the container) or ``"none"`` (into `rootfs` itself). None: the engine's default.
        scratch_size: The most that ``"memory"`` scratch may hold; None is the kernel's default.
        env: Environment in addition to PATH, HOSTNAME, HOME (and TERM with `tty`).
        cwd: Working directory, absolute; made where missing. Empty is ``/``.
        user: ``"name|uid[:group|gid]"``; empty is root.
        group_add: Further groups by name or number.
        hostname: None is the first 12 digits of the container's id.
        domainname: NIS domain name.
        memory: Hard memory limit; at least 4 MiB.
        memory_swap: Memory and swap together; -1 unlimited, None twice `memory`.
        memory_reservation: Soft limit.
        memory_high: Above it the container is slowed and its memory taken back; control groups of version 2 only.
        oom_group: A kill for want of memory ends all of the container at once; control groups of version 2 only.
        cpus: Number of CPUs, such as 0.5.
        cpu_shares: Relative weight; the kernel's default is 1024.
        cpu_quota: µs of CPU a period; excludes `cpus`.
        cpu_period: µs; excludes `cpus`.
        cpuset_cpus: CPUs it may run on, such as ``"0-1"``.
        cpuset_mems: Memory nodes, such as ``"0"``.
        pids_limit: Most tasks; -1 or 0 unlimited, None no limit of its own.
        blkio_weight: Relative weight of its requests on block devices, 10 to 1000; None and 0 are the kernel's default.
        blkio_weight_device: The same on single disks.
        blkio_device_read_bps: Most bytes a second to read from a disk.
        blkio_device_write_bps: Most bytes a second to write to a disk.
        blkio_device_read_iops: Most reads a second from a disk.
        blkio_device_write_iops: Most writes a second to a disk.
        network: ``"none"`` (loopback only) or ``"host"``.
        ipc: ``"private"`` or ``"host"``.
        pid: ``"private"`` or ``"host"``.
        uts: ``"private"`` or ``"host"``.
        cgroupns: ``"private"`` or ``"host"``.
        read_only: Make the root file system read-only.
        tmpfs: Path to mount(8) options (may be empty), as ``docker run --tmpfs``.
        mounts: Further mounts, in order.
        volumes_from: Containers (id, prefix of one, or name) whose volumes and binds are mounted here, too; with ``:ro`` or
            ``:rw`` behind it. Looked up when the container is made: `mounts` has them from then on.
        devices: Devices of the host.
        device_cgroup_rules: Docker's ``--device-cgroup-rule``, such as ``"c 1:3 mr"``.
        cap_add: Capability names with or without ``CAP_``, or ``"ALL"``.
        cap_drop: The same; `cap_add` wins over ``"ALL"`` here.
        privileged: All capabilities, no seccomp, no masks, every device. Still namespaced.
        seccomp: None is Docker's default policy; ``"unconfined"``; or the absolute path of a JSON profile.
        no_new_privileges: Set PR_SET_NO_NEW_PRIVS.
        apparmor: Name of a loaded AppArmor profile, or ``"unconfined"``. None is ``ardock-default``, and with `privileged`
            none; on a host without AppArmor it is none.
        ulimits: Resource limits.
        sysctls: Namespaced kernel parameters such as ``{"net.ipv4.ip_forward": "1"}``.
        shm_size: Size of a /dev/shm of its own; None shares the container's one tmpfs.
        oom_score_adj: -1000 to 1000.
        exposed_ports: Such as ``"80/tcp"``; told, no more.
        healthcheck: How it says that it is well, instead of what the image says. Recorded, not carried out yet.
        stop_signal: What `stop` sends first; None is the image's, else SIGTERM.
        stop_timeout: Seconds between that and SIGKILL.
        timeout: Seconds after which the program is killed; None never.
        tty: A terminal for all three standard streams.
        tty_size: Its first size: rows and columns.
        stdin_open: Keep standard input open (else it is /dev/null).
        umask: File mode mask.
        add_hosts: Lines for /etc/hosts, ``"name:address"``.
        dns: Name servers for /etc/resolv.conf.
        dns_search: Search domains; ``["."]`` is none.
        dns_options: Resolver options.
        labels: The user's own key-value pairs; travel with the container's record.
        log: Keep a log; ``"none"`` keeps none. None: a container that is created keeps one, a thrown-away one none.
    """

    argv: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    rootfs: str | None = None
    layers: tuple[str, ...] = ()
    image: str | None = None
    name: str | None = None
    scratch: ScratchKind | None = None
    scratch_size: int | str | None = None
    env: dict[str, str] = {}
    cwd: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    memory: int | str | None = None
    memory_swap: int | str | None = None
    memory_reservation: int | str | None = None
    memory_high: int | str | None = None
    oom_group: bool = False
    cpus: float | str | None = None
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: tuple[WeightDevice, ...] = ()
    blkio_device_read_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_read_iops: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_iops: tuple[ThrottleDevice, ...] = ()
    network: Network = "none"
    ipc: Literal["private", "host"] = "private"
    pid: Literal["private", "host"] = "private"
    uts: Literal["private", "host"] = "private"
    cgroupns: Literal["private", "host"] = "private"
    read_only: bool = False
    tmpfs: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    seccomp: str | None = None
    no_new_privileges: bool = False
    apparmor: str | None = None
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = {}
    shm_size: int | str | None = None
    oom_score_adj: int | None = None
    exposed_ports: tuple[str, ...] = ()
    healthcheck: HealthCheck | None = None
    stop_signal: int | str | None = None
    stop_timeout: float = 10.0
    timeout: float | None = None
    tty: bool = False
    tty_size: tuple[int, int] = (0, 0)
    stdin_open: bool = False
    umask: int = 0o022
    add_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    log: LogOptions | Literal["none"] | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """All of the program's words: entrypoint and arguments."""
        return self.entrypoint + self.argv if self.entrypoint else self.argv


class ContainerOptions(TypedDict, total=False):
    """The fields of `ContainerSpec` but `argv`, as keyword arguments (a test holds the two together)."""

    entrypoint: Sequence[str] | None
    rootfs: str | None
    layers: Sequence[str]
    image: str | None
    name: str | None
    scratch: ScratchKind | None
    scratch_size: int | str | None
    env: dict[str, str]
    cwd: str
    user: str
    group_add: Sequence[str]
    hostname: str | None
    domainname: str | None
    memory: int | str | None
    memory_swap: int | str | None
    memory_reservation: int | str | None
    memory_high: int | str | None
    oom_group: bool
    cpus: float | str | None
    cpu_shares: int | None
    cpu_quota: int | None
    cpu_period: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    pids_limit: int | None
    blkio_weight: int | None
    blkio_weight_device: Sequence[WeightDevice]
    blkio_device_read_bps: Sequence[ThrottleDevice]
    blkio_device_write_bps: Sequence[ThrottleDevice]
    blkio_device_read_iops: Sequence[ThrottleDevice]
    blkio_device_write_iops: Sequence[ThrottleDevice]
    network: Network
    ipc: Literal["private", "host"]
    pid: Literal["private", "host"]
    uts: Literal["private", "host"]
    cgroupns: Literal["private", "host"]
    read_only: bool
    tmpfs: dict[str, str]
    mounts: Sequence[Mount]
    volumes_from: Sequence[str]
    devices: Sequence[Device]
    device_cgroup_rules: Sequence[str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    privileged: bool
    seccomp: str | None
    no_new_privileges: bool
    apparmor: str | None
    ulimits: Sequence[Ulimit]
    sysctls: dict[str, str]
    shm_size: int | str | None
    oom_score_adj: int | None
    exposed_ports: Sequence[str]
    healthcheck: HealthCheck | None
    stop_signal: int | str | None
    stop_timeout: float
    timeout: float | None
    tty: bool
    tty_size: tuple[int, int]
    stdin_open: bool
    umask: int
    add_hosts: Sequence[str]
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    labels: dict[str, str]
    log: LogOptions | Literal["none"] | None


class ExecSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A program to be joined to a running container. What is not given is as for the container's first program.

    Attributes:
        argv: Program and arguments.
        env: Environment in addition to the container's.
        cwd: Working directory; None is the container's.
        user: ``"name|uid[:group|gid]"``; None is the container's.
        privileged: All capabilities, no seccomp.
        tty: A terminal.
        tty_size: Its first size: rows and columns.
        stdin_open: Keep standard input open.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str | None = None
    user: str | None = None
    privileged: bool = False
    tty: bool = False
    tty_size: tuple[int, int] = (0, 0)
    stdin_open: bool = False
