"""Resource limits of a spec to those of the kernel: pure."""

from __future__ import annotations

import re
from typing import Final

from ardock.engine.containers import defaults
from ardock.engine.containers.resolved import Resolved
from ardock.engine.facts import Facts
from ardock.model.errors import InvalidArgument, Unsupported
from ardock.model.launch import UNLIMITED, DeviceRate, DeviceRule, DeviceWeight, Io, Resources, Rlimit
from ardock.model.sizes import format_size, parse_cpus, parse_cpuset, parse_size
from ardock.model.spec import ContainerSpec, ThrottleDevice, Ulimit

DISK_FIELDS: Final = (
    "blkio_weight_device",
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_iops",
    "blkio_device_write_iops",
)
"""Fields of a spec whose items have a `path` of a block device."""


def resources(spec: ContainerSpec, facts: Facts, resolved: Resolved) -> Resources:
    """The control groups' limits.

    Raises:
        InvalidArgument: A limit is out of range or contradicts another (rules and wording are dockerd's).
        Unsupported: The kernel cannot limit swap, or its control groups are of version 1 and a limit of version 2's.
    """
    memory, memory_swap = _memory(spec, facts)
    quota, period = _cpu(spec, facts)
    reservation = None
    if spec.memory_reservation is not None:
        reservation = parse_size(spec.memory_reservation, "memory_reservation") or None
        if reservation and memory and reservation > memory:
            raise InvalidArgument(
                "memory_reservation: minimum memory limit can not be less than memory reservation limit",
                field="memory_reservation",
            )
    high = None
    if spec.memory_high is not None:
        high = parse_size(spec.memory_high, "memory_high") or None
        if high and memory and high > memory:
            raise InvalidArgument(
                "memory_high: it must not be more than the memory limit, which would come first", field="memory_high"
            )
    for field, wanted in (("memory_high", high), ("oom_group", spec.oom_group)):
        if wanted and facts.cgroup_version == 1:
            raise Unsupported(
                f"{field}: this host's control groups are of version 1, which has no such limit", option=field
            )
    if spec.cpu_shares is not None and spec.cpu_shares < 0:
        raise InvalidArgument(f"cpu_shares: shares cannot be negative: {spec.cpu_shares}", field="cpu_shares")
    pids = spec.pids_limit
    if pids is None and (spec.pid == "host" or spec.privileged):
        # A control group of its own in any case: what PID 1 leaves behind does not end with a pid namespace, or is in no
        # device group, and must be found.
        pids = -1
    if pids is not None and pids < -1:
        raise InvalidArgument(
            f"pids_limit: {pids} is neither a number of tasks nor -1 for unlimited", field="pids_limit"
        )
    return Resources(
        memory=memory,
        memory_swap=memory_swap,
        memory_reservation=reservation,
        memory_high=high,
        oom_group=spec.oom_group,
        cpu_quota=quota,
        cpu_period=period,
        # The kernel clamps to 2..262144 itself on v1; the launch core converts for v2 and wants the clamped value.
        cpu_shares=min(max(spec.cpu_shares, 2), 262_144) if spec.cpu_shares else None,
        cpuset_cpus=parse_cpuset(spec.cpuset_cpus, facts.cpus, "cpuset_cpus") if spec.cpuset_cpus else None,
        cpuset_mems=parse_cpuset(spec.cpuset_mems, facts.memory_nodes, "cpuset_mems") if spec.cpuset_mems else None,
        pids=-1 if pids in (0, -1) else pids,
        io=_io(spec, resolved),
        devices=_devices(spec, resolved),
    )


def _memory(spec: ContainerSpec, facts: Facts) -> tuple[int | None, int | None]:
    memory = parse_size(spec.memory, "memory") if spec.memory is not None else 0
    if memory and memory < defaults.MIN_MEMORY:
        raise InvalidArgument(
            f"memory: minimum memory limit allowed is {format_size(defaults.MIN_MEMORY)}, not {spec.memory}",
            field="memory",
        )
    unlimited = str(spec.memory_swap) == "-1"
    swap = 0 if unlimited or spec.memory_swap is None else parse_size(spec.memory_swap, "memory_swap")
    if (swap or unlimited) and not facts.swap_accounting:
        raise Unsupported(
            "memory_swap: this kernel does not account swap (boot with swapaccount=1)", option="memory_swap"
        )
    if swap and not memory:
        raise InvalidArgument(
            "memory_swap: you should always set the memory limit when using memory_swap", field="memory_swap"
        )
    if swap and swap < memory:
        raise InvalidArgument(
            "memory_swap: minimum memory_swap limit should be larger than memory limit", field="memory_swap"
        )
    if not memory:
        return None, -1 if unlimited else None
    if unlimited:
        return memory, -1
    if not facts.swap_accounting:
        return memory, None
    # Docker: as much swap as memory where nothing is said.
    return memory, swap or memory * 2


def _cpu(spec: ContainerSpec, facts: Facts) -> tuple[int | None, int | None]:
    # 0 is Docker's way to say that there is no limit.
    if spec.cpus is not None and spec.cpus not in (0, "", "0"):
        for field in ("cpu_quota", "cpu_period"):
            if getattr(spec, field):
                raise InvalidArgument(f"conflicting options: cpus and {field} cannot both be set", field=field)
        return parse_cpus(spec.cpus, len(facts.cpus)), defaults.CPU_PERIOD
    period = spec.cpu_period or None
    if period is not None and not 1_000 <= period <= 1_000_000:
        raise InvalidArgument(
            "cpu_period: CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            field="cpu_period",
        )
    quota = spec.cpu_quota or None
    if quota is not None and quota != -1 and quota < 1_000:
        raise InvalidArgument("cpu_quota: CPU cfs quota cannot be less than 1ms (i.e. 1000)", field="cpu_quota")
    return quota, period


def _io(spec: ContainerSpec, resolved: Resolved) -> Io | None:
    numbers = {path: (major, minor) for path, major, minor in resolved.disks}
    weight = _weight(spec.blkio_weight or 0, "blkio_weight", "Range of blkio weight is from 10 to 1000")
    weights = []
    for device in spec.blkio_weight_device:
        text = f"invalid weight for device: {device.path}:{device.weight}"
        if one := _weight(device.weight, "blkio_weight_device", text):
            major, minor = numbers[device.path]
            weights.append(DeviceWeight(major=major, minor=minor, weight=one))

    def rates(devices: tuple[ThrottleDevice, ...], field: str, *, sizes: bool) -> tuple[DeviceRate, ...]:
        found: dict[tuple[int, int], DeviceRate] = {}
        for device in devices:
            # The last one of a device counts. No rate is no limit, as with Docker on version 1.
            major, minor = numbers[device.path]
            found.pop((major, minor), None)
            if rate := _rate(device, field, sizes=sizes):
                found[major, minor] = DeviceRate(major=major, minor=minor, rate=rate)
        return tuple(found.values())

    limits = Io(
        weight=weight or None,
        weight_devices=tuple(weights),
        read_bps=rates(spec.blkio_device_read_bps, "blkio_device_read_bps", sizes=True),
        write_bps=rates(spec.blkio_device_write_bps, "blkio_device_write_bps", sizes=True),
        read_iops=rates(spec.blkio_device_read_iops, "blkio_device_read_iops", sizes=False),
        write_iops=rates(spec.blkio_device_write_iops, "blkio_device_write_iops", sizes=False),
    )
    return None if limits == Io() else limits


def _weight(weight: int, field: str, text: str) -> int:
    if weight and not 10 <= weight <= 1000:
        raise InvalidArgument(f"{field}: {text}", field=field)
    return weight


def _rate(device: ThrottleDevice, field: str, *, sizes: bool) -> int:
    if sizes:
        return parse_size(device.rate, field)
    if isinstance(device.rate, str) and not device.rate.isdecimal():
        raise InvalidArgument(
            f"{field}: invalid rate for device: {device.path}:{device.rate}: a number of requests a second", field=field
        )
    rate = int(device.rate)
    # The kernel counts them in 32 bits.
    if not 0 <= rate < 1 << 32:
        raise InvalidArgument(
            f"{field}: {rate} requests a second are none, or more than the kernel counts", field=field
        )
    return rate


_RULE: Final = re.compile(r"^(?P<kind>[abc]) (?P<major>\d+|\*):(?P<minor>\d+|\*) (?P<access>[rwm]{1,3})$")


def _devices(spec: ContainerSpec, resolved: Resolved) -> tuple[DeviceRule, ...]:
    if spec.privileged:
        return (defaults.ALLOW_ALL_DEVICES,)
    rules = list(defaults.DEVICE_RULES)
    for device, node in zip(spec.devices, resolved.devices, strict=True):
        access = device.permissions
        if not access or set(access) - set("rwm"):
            raise InvalidArgument(f"devices: invalid permissions {access!r}: letters of rwm", field="devices")
        if node.kind != "p":
            rules.append(DeviceRule(allow=True, kind=node.kind, major=node.major, minor=node.minor, access=access))
    for text in spec.device_cgroup_rules:
        match = _RULE.match(text)
        if match is None:
            raise InvalidArgument(
                f"device_cgroup_rules: invalid rule {text!r}: such as 'c 1:3 mr'", field="device_cgroup_rules"
            )
        numbers = [None if match[part] == "*" else int(match[part]) for part in ("major", "minor")]
        rules.append(
            DeviceRule(allow=True, kind=match["kind"], major=numbers[0], minor=numbers[1], access=match["access"])
        )
    return tuple(rules)


def rlimits(ulimits: tuple[Ulimit, ...]) -> tuple[Rlimit, ...]:
    """The kernel's resource limits.

    Raises:
        InvalidArgument: An unknown name, or a soft limit above its hard one.
    """
    found: dict[int, Rlimit] = {}
    for limit in ulimits:
        resource = defaults.RLIMITS.get(limit.name.lower().removeprefix("rlimit_"))
        if resource is None:
            names = ", ".join(sorted(defaults.RLIMITS))
            raise InvalidArgument(f"ulimits: invalid ulimit type {limit.name!r}: one of {names}", field="ulimits")
        soft, hard = (UNLIMITED if value == -1 else value for value in (limit.soft, limit.hard))
        if soft < 0 or hard < 0 or soft > hard:
            raise InvalidArgument(
                f"ulimits: {limit.name}: soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}",
                field="ulimits",
            )
        found[resource] = Rlimit(resource=resource, soft=soft, hard=hard)
    return tuple(found.values())


def capability_mask(spec: ContainerSpec, available: int) -> int:
    """The container's capabilities, as Docker computes them (``caps.TweakCapabilities``).

    Raises:
        InvalidArgument: An unknown name, or one that this process does not have to give.
    """
    if spec.privileged:
        return available
    added, all_added = _names(spec.cap_add, "cap_add")
    dropped, all_dropped = _names(spec.cap_drop, "cap_drop")
    if missing := added & ~available:
        names = ", ".join(f"CAP_{name}" for number, name in enumerate(defaults.CAPABILITIES) if missing >> number & 1)
        raise InvalidArgument(f"cap_add: {names}: the engine's own process does not have it to give", field="cap_add")
    if all_added:
        mask = available & ~dropped
    elif all_dropped:
        mask = added
    else:
        mask = (defaults.DEFAULT_CAPABILITIES & ~dropped) | added
    return mask & available


def _names(names: tuple[str, ...], field: str) -> tuple[int, bool]:
    mask = 0
    every = False
    for name in names:
        short = name.upper().removeprefix("CAP_")
        if short == "ALL":
            every = True
        elif (number := defaults.CAPABILITY_NUMBERS.get(short)) is not None:
            mask |= 1 << number
        else:
            raise InvalidArgument(f"{field}: unknown capability: {name!r}", field=field)
    return mask, every
