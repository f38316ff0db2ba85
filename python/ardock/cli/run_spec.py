"""From the flags of `ardock run` to what the engine is asked for.

Nothing here does anything but read the files that flags name. What can only be
judged with the machine or the root file system at hand is left to the engine;
`in_flags` then puts the flag's name into the engine's complaint.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import msgspec

from ardock.cli import run_flags as f
from ardock.cli.command import Attached, PullWish
from ardock.cli.errors import CliError, UsageError, quoted
from ardock.cli.files import absolute_path, environment, key_values
from ardock.cli.mounts import Bind, Tmpfs, VolumeMount
from ardock.model.health import HealthCheck
from ardock.model.spec import ContainerSpec, Device, LogOptions, Mount, ThrottleDevice, Ulimit, WeightDevice

if TYPE_CHECKING:
    from ardock.cli.flags import AnyFlag, Flag, Many, Values
    from ardock.model.spec import Network, ScratchKind

    Side = Literal["private", "host"]


class RunRequest(NamedTuple):
    """All that one `ardock run` was asked for."""

    spec: ContainerSpec
    attached: Attached
    detach: bool
    remove: bool
    sig_proxy: bool
    timeout: float | None
    cidfile: str | None
    detach_keys: str
    pull: PullWish


def run_request(values: Values, arguments: Sequence[str]) -> RunRequest:
    """What to run, from the command line's values.

    Raises:
        CliError: Flags contradict each other, or a file that one names cannot be used.
    """
    streams = values.many(f.ATTACH)
    detach = values.on(f.DETACH)
    if detach and streams:
        raise UsageError("conflicting options: cannot specify both --attach and --detach")
    if streams == ["stdin"]:
        raise UsageError("-a, --attach stdin alone is not supported: attach stdout or stderr too, or give -d")
    interactive = values.on(f.INTERACTIVE)
    tty = values.on(f.TTY)
    if tty and interactive and not detach and not os.isatty(0):
        raise UsageError("the input device is not a TTY: leave out -t, --tty, or run from a terminal")
    spec = spec_of(values, arguments)
    timeout = values.one(f.TIMEOUT)
    if timeout is not None:
        # In the foreground it is this command that stops the container; the engine's is for when we are gone by then.
        grace = 0.0 if detach else spec.stop_timeout + 1
        spec = msgspec.structs.replace(spec, timeout=timeout + grace)
    return RunRequest(
        spec,
        Attached(interactive and not detach, not streams or "stdout" in streams, not streams or "stderr" in streams),
        detach,
        values.on(f.REMOVE),
        values.on(f.SIG_PROXY),
        timeout,
        values.one(f.CIDFILE),
        values.one(f.DETACH_KEYS) or "",
        pull_wish(values),
    )


def pull_wish(values: Values) -> PullWish:
    """When the image is to be pulled, and how."""
    return PullWish(values.one(f.PULL) or "missing", values.one(f.PLATFORM) or "", values.on(f.QUIET))


def spec_of(values: Values, arguments: Sequence[str], *, command: str = "run") -> ContainerSpec:
    """The container that `run` or `create` is to make.

    Raises:
        CliError: Flags contradict each other, or a file that one names cannot be used.
    """
    rootfs = values.one(f.ROOTFS)
    entrypoint = values.one(f.ENTRYPOINT)
    image, words = None, tuple(arguments)
    if rootfs is None:
        if not arguments:
            raise UsageError(
                f"give an image, or a root file system and a command: ardock {command} [--rootfs PATH | IMAGE] COMMAND [ARG...]"
            )
        image, words = arguments[0], words[1:]
    elif not rootfs:
        raise UsageError("--rootfs: the path is empty: give a directory, or / for a copy-on-write view of this machine")
    if image is None:
        _check_platform(values.one(f.PLATFORM) or "")
    if image is None and not words and not entrypoint:
        raise UsageError(f"no command specified: ardock {command} --rootfs PATH COMMAND [ARG...]")
    # An empty one is none, and no command of the image's either.
    return _spec(values, words, None if entrypoint is None else (entrypoint,), image)


def _check_platform(platform: str) -> None:
    """A directory is of no platform: one that is asked for can only be this machine's."""
    machine = os.uname().machine
    ours = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    if platform not in {"", "linux", ours, machine, f"linux/{ours}", f"linux/{machine}", f"linux/{ours}/v8"}:
        raise UsageError(f"--platform: {quoted(platform)}: this machine runs linux/{ours} only")


def _spec(
    values: Values, argv: tuple[str, ...], entrypoint: tuple[str, ...] | None, image: str | None
) -> ContainerSpec:
    rootfs = values.one(f.ROOTFS)
    security = _security(values)
    storage = values.many(f.STORAGE_OPT)
    stop_signal = values.one(f.STOP_SIGNAL)
    stop_timeout = values.one(f.STOP_TIMEOUT)
    return ContainerSpec(
        argv=argv,
        entrypoint=entrypoint if image is not None or entrypoint != ("",) else None,
        rootfs=None if rootfs is None else absolute_path(rootfs),
        image=image,
        name=values.one(f.NAME) or None,
        scratch=cast("ScratchKind | None", values.one(f.SCRATCH)),
        scratch_size=storage[-1] if storage else None,
        env=environment(values.many(f.ENV_FILE), values.many(f.ENV)),
        cwd=values.one(f.WORKDIR) or "",
        user=values.one(f.USER) or "",
        group_add=tuple(values.many(f.GROUP_ADD)),
        hostname=values.one(f.HOSTNAME) or None,
        domainname=values.one(f.DOMAINNAME) or None,
        memory=_above_zero(values, f.MEMORY),
        memory_swap=_above_zero(values, f.MEMORY_SWAP),
        memory_reservation=_above_zero(values, f.MEMORY_RESERVATION),
        memory_high=_above_zero(values, f.MEMORY_HIGH),
        oom_group=values.on(f.OOM_GROUP),
        cpus=values.one(f.CPUS) or None,
        cpu_shares=_above_zero(values, f.CPU_SHARES),
        cpu_quota=_above_zero(values, f.CPU_QUOTA),
        cpu_period=_above_zero(values, f.CPU_PERIOD),
        cpuset_cpus=values.one(f.CPUSET_CPUS) or None,
        cpuset_mems=values.one(f.CPUSET_MEMS) or None,
        pids_limit=_above_zero(values, f.PIDS_LIMIT),
        blkio_weight=_above_zero(values, f.BLKIO_WEIGHT),
        blkio_weight_device=tuple(
            WeightDevice(path=path, weight=weight) for path, weight in values.many(f.BLKIO_WEIGHT_DEVICE)
        ),
        blkio_device_read_bps=_rates(values, f.DEVICE_READ_BPS),
        blkio_device_write_bps=_rates(values, f.DEVICE_WRITE_BPS),
        blkio_device_read_iops=_rates(values, f.DEVICE_READ_IOPS),
        blkio_device_write_iops=_rates(values, f.DEVICE_WRITE_IOPS),
        network=cast("Network", values.one(f.NETWORK) or "none"),
        ipc=cast("Side", values.one(f.IPC) or "private"),
        pid=cast("Side", values.one(f.PID) or "private"),
        uts=cast("Side", values.one(f.UTS) or "private"),
        cgroupns=cast("Side", values.one(f.CGROUPNS) or "private"),
        read_only=values.on(f.READ_ONLY),
        tmpfs=dict(values.many(f.TMPFS)),
        mounts=_mounts(values),
        volumes_from=tuple(values.many(f.VOLUMES_FROM)),
        devices=tuple(
            Device(source=node.source, target=node.target, permissions=node.permissions)
            for nodes in values.many(f.DEVICE)
            for node in nodes
        ),
        device_cgroup_rules=tuple(values.many(f.DEVICE_RULE)),
        cap_add=tuple(values.many(f.CAP_ADD)),
        cap_drop=tuple(values.many(f.CAP_DROP)),
        privileged=values.on(f.PRIVILEGED),
        seccomp=security.seccomp,
        no_new_privileges=security.no_new_privileges,
        apparmor=security.apparmor,
        ulimits=tuple(Ulimit(name=name, soft=soft, hard=hard) for name, soft, hard in values.many(f.ULIMIT)),
        sysctls=dict(values.many(f.SYSCTL)),
        shm_size=_above_zero(values, f.SHM_SIZE),
        oom_score_adj=values.one(f.OOM_SCORE_ADJ),
        exposed_ports=tuple(dict.fromkeys(port for ports in values.many(f.EXPOSE) for port in ports)),
        healthcheck=_health(values),
        stop_signal=stop_signal or None,
        stop_timeout=10.0 if stop_timeout is None else float(stop_timeout),
        tty=values.on(f.TTY),
        stdin_open=values.on(f.INTERACTIVE),
        add_hosts=tuple(values.many(f.ADD_HOST)),
        dns=tuple(values.many(f.DNS)),
        dns_search=tuple(values.many(f.DNS_SEARCH)),
        dns_options=tuple(values.many(f.DNS_OPTION)),
        labels=_labels(values),
        log=_log(values),
    )


def _log(values: Values) -> LogOptions | Literal["none"] | None:
    options = dict(values.many(f.LOG_OPT))
    if values.one(f.LOG_DRIVER) == "none":
        if options:
            raise UsageError("--log-opt: there is no log with --log-driver none")
        return "none"
    if not options:
        return None
    default = LogOptions()
    return LogOptions(
        max_size=options.get("max-size", default.max_size), max_files=options.get("max-file", default.max_files)
    )


def _health(values: Values) -> HealthCheck | None:
    """What the user says of the health check; the rest is the image's."""
    test = values.one(f.HEALTH_CMD)
    check = HealthCheck(
        test=("CMD-SHELL", test) if test else (),
        interval=values.one(f.HEALTH_INTERVAL) or 0,
        timeout=values.one(f.HEALTH_TIMEOUT) or 0,
        start_period=values.one(f.HEALTH_START_PERIOD) or 0,
        start_interval=values.one(f.HEALTH_START_INTERVAL) or 0,
        retries=values.one(f.HEALTH_RETRIES) or 0,
    )
    if not values.on(f.NO_HEALTHCHECK):
        return None if check == HealthCheck() else check
    if check != HealthCheck():
        raise UsageError("--no-healthcheck conflicts with --health-* options")
    return HealthCheck(test=("NONE",))


def _above_zero(values: Values, flag: Flag[int]) -> int | None:
    """0 is Docker's way to say that there is no such limit."""
    return values.one(flag) or None


def _rates(values: Values, flag: Many[tuple[str, int]]) -> tuple[ThrottleDevice, ...]:
    return tuple(ThrottleDevice(path=path, rate=rate) for path, rate in values.many(flag))


def _labels(values: Values) -> dict[str, str]:
    labels: dict[str, str] = {}
    for path in values.many(f.LABEL_FILE):
        labels.update(key_values("--label-file", path, lambda _: ""))
    labels.update(values.many(f.LABEL))
    return labels


def _mounts(values: Values) -> tuple[Mount, ...]:
    entries = (*values.many(f.VOLUME), *values.many(f.MOUNT))
    seen: set[str] = set()
    for target in (*(entry.target for entry in entries), *(path for path, _ in values.many(f.TMPFS))):
        place = posixpath.normpath(target)
        if place in seen:
            raise UsageError(
                f"duplicate mount point: {quoted(place)} is the target of more than one -v, --mount or --tmpfs"
            )
        seen.add(place)
    return tuple(_mount(entry) for entry in entries)


def _mount(entry: Bind | VolumeMount | Tmpfs) -> Mount:
    if isinstance(entry, Tmpfs):
        return Mount(type="tmpfs", target=entry.target, options=entry.options, read_only=entry.read_only)
    if isinstance(entry, VolumeMount):
        return Mount(
            type="volume",
            source=entry.source,
            target=entry.target,
            read_only=entry.read_only,
            no_copy=entry.no_copy,
            subpath=entry.subpath,
            driver=entry.driver,
            driver_options=dict(entry.options),
            labels=dict(entry.labels),
            create_source=entry.by_v,
        )
    return Mount(
        type="bind",
        source=entry.source,
        target=entry.target,
        read_only=entry.read_only,
        propagation=entry.propagation,
        recursive=entry.recursive,
        create_source=entry.create_source,
        read_only_recursive=entry.read_only_recursive,
    )


class _Security(NamedTuple):
    seccomp: str | None = None
    no_new_privileges: bool = False
    apparmor: str | None = None


def _security(values: Values) -> _Security:
    security = _Security()
    for name, setting in values.many(f.SECURITY_OPT):
        match name:
            case "seccomp":
                security = security._replace(seccomp=_profile(setting))
            case "no-new-privileges":
                security = security._replace(no_new_privileges=setting != "false")
            case "apparmor":
                security = security._replace(apparmor=setting)
            case _:
                pass  # label=disable: what happens anyway
    return security


def _profile(setting: str) -> str | None:
    """`builtin` is Docker's default policy, `unconfined` none; all else is the path of a profile."""
    if not setting:
        raise CliError("--security-opt seccomp=: give unconfined, builtin or the path of a JSON profile")
    if setting == "builtin":
        return None
    return setting if setting == "unconfined" else absolute_path(setting)


_FLAG_OF: dict[str, AnyFlag] = {
    "rootfs": f.ROOTFS, "scratch": f.SCRATCH, "scratch_size": f.STORAGE_OPT, "env": f.ENV, "cwd": f.WORKDIR,
    "user": f.USER, "group_add": f.GROUP_ADD, "hostname": f.HOSTNAME, "domainname": f.DOMAINNAME, "memory": f.MEMORY,
    "memory_swap": f.MEMORY_SWAP, "memory_reservation": f.MEMORY_RESERVATION, "memory_high": f.MEMORY_HIGH,
    "oom_group": f.OOM_GROUP, "blkio_weight": f.BLKIO_WEIGHT, "blkio_weight_device": f.BLKIO_WEIGHT_DEVICE,
    "blkio_device_read_bps": f.DEVICE_READ_BPS, "blkio_device_write_bps": f.DEVICE_WRITE_BPS,
    "blkio_device_read_iops": f.DEVICE_READ_IOPS, "blkio_device_write_iops": f.DEVICE_WRITE_IOPS, "cpus": f.CPUS,
    "cpu_shares": f.CPU_SHARES, "cpu_quota": f.CPU_QUOTA, "cpu_period": f.CPU_PERIOD, "cpuset_cpus": f.CPUSET_CPUS,
    "cpuset_mems": f.CPUSET_MEMS, "pids_limit": f.PIDS_LIMIT, "network": f.NETWORK, "ipc": f.IPC, "pid": f.PID,
    "uts": f.UTS, "cgroupns": f.CGROUPNS, "tmpfs": f.TMPFS, "mounts": f.VOLUME, "volumes_from": f.VOLUMES_FROM, "devices": f.DEVICE,
    "device_cgroup_rules": f.DEVICE_RULE, "cap_add": f.CAP_ADD, "cap_drop": f.CAP_DROP, "privileged": f.PRIVILEGED,
    "seccomp": f.SECURITY_OPT, "no_new_privileges": f.SECURITY_OPT, "apparmor": f.SECURITY_OPT, "ulimits": f.ULIMIT,
    "sysctls": f.SYSCTL, "shm_size": f.SHM_SIZE, "oom_score_adj": f.OOM_SCORE_ADJ, "stop_signal": f.STOP_SIGNAL,
    "stop_timeout": f.STOP_TIMEOUT, "timeout": f.TIMEOUT, "tty": f.TTY, "add_hosts": f.ADD_HOST, "dns": f.DNS,
    "dns_search": f.DNS_SEARCH, "dns_options": f.DNS_OPTION, "labels": f.LABEL, "read_only": f.READ_ONLY,
    "name": f.NAME, "entrypoint": f.ENTRYPOINT, "platform": f.PLATFORM, "log": f.LOG_OPT, "exposed_ports": f.EXPOSE, "healthcheck": f.HEALTH_CMD,
}  # fmt: skip


def in_flags(message: str) -> str:
    """An engine's message with the flag's name in place of the field's that it begins with."""
    field, colon, rest = message.partition(":")
    if field == "argv":
        return rest.strip()  # what was no flag
    flag = _FLAG_OF.get(field)
    return f"--{flag.name}:{rest}" if flag is not None and colon else message
