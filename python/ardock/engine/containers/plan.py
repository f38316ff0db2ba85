"""From what a user asks for to what the launch core does: pure, synchronous, everything decided here.

`plan` gives a `Launch` message for a container. It is called once for each distinct shape of spec, with a marker for an
id; `ardock.engine.containers.template` puts in what differs between containers of one shape.
"""

from __future__ import annotations

import os
import re
from typing import Final

from ardock.engine.apparmor import UNCONFINED
from ardock.engine.containers import defaults, etc, limits
from ardock.engine.containers.mounts import mounts
from ardock.engine.containers.resolved import Placement, Resolved, User
from ardock.engine.facts import Facts
from ardock.model.errors import InvalidArgument, Unsupported
from ardock.model.launch import (
    Capabilities,
    Cgroup,
    DiskScratch,
    ExecLaunch,
    Filesystems,
    LaunchSpec,
    MemoryScratch,
    Namespaces,
    NoScratch,
    Process,
    Root,
    Scratch,
    Stdio,
)
from ardock.model.messages import Launch, Log, Output
from ardock.model.paths import MASKED_PATHS, READONLY_PATHS
from ardock.model.sizes import parse_signal, parse_size
from ardock.model.spec import ContainerSpec, ExecSpec, LogOptions

# sethostname(2) and RFC 1123.
_HOSTNAME: Final = re.compile(r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?$")
_LONGEST_DOMAIN: Final = 64
SHORT_ID: Final = 12


def plan(
    spec: ContainerSpec,
    facts: Facts,
    resolved: Resolved,
    placement: Placement,
    *,
    container_id: str,
) -> Launch:
    """Everything that the keeper must know to launch `spec`, but the request number, the blob and the descriptors' offset.

    Descriptors of the message, in order: standard input (with `placement.input`), the binds and volumes of `spec.mounts`, the host's
    /dev/shm (with ``ipc="host"``).

    Raises:
        InvalidArgument: A value is malformed, out of range or contradicts another.
        Unsupported: The kernel lacks what was asked for.
    """
    _check_conflicts(spec, facts)
    hostname = spec.hostname if spec.hostname is not None else container_id[:SHORT_ID]
    points = mounts(spec, resolved, first_fd=1 if placement.input else 0)
    taken = frozenset(point.target for point in points)
    capabilities = limits.capability_mask(spec, facts.capabilities)
    launch = LaunchSpec(
        process=Process(
            argv=argv(spec.command),
            env=environment(spec.env, hostname=hostname, home=resolved.user.home, tty=spec.tty),
            cwd=_cwd(spec.cwd),
            uid=resolved.user.uid,
            gid=resolved.user.gid,
            groups=resolved.user.groups,
            umask=_range(spec.umask, 0, 0o777, "umask"),
            capabilities=capability_sets(capabilities),
            seccomp=resolved.seccomp,
            no_new_privileges=spec.no_new_privileges,
            apparmor=_confined(apparmor_profile(spec, facts)),
            rlimits=limits.rlimits(spec.ulimits),
            oom_score_adj=None
            if spec.oom_score_adj is None
            else _range(spec.oom_score_adj, -1000, 1000, "oom_score_adj"),
        ),
        stdio=_stdio(spec, placement),
        namespaces=Namespaces(
            pid="host" if spec.pid == "host" else "new",
            net="host" if spec.network == "host" else "new",
            ipc="host" if spec.ipc == "host" else "new",
            uts="host" if spec.uts == "host" else "new",
            cgroup="host" if spec.cgroupns == "host" else "new",
        ),
        hostname=None if spec.uts == "host" else hostname,
        domainname=spec.domainname,
        root=Root(
            layers=tuple(f"/roots/{key}" for key in resolved.roots),
            scratch=_scratch(spec, facts, placement, container_id, layers=len(resolved.roots)),
            readonly=spec.read_only,
        ),
        filesystems=Filesystems(
            shm_size=None if spec.shm_size is None else _shm_size(spec.shm_size),
            mqueue=spec.ipc != "host",
            writable=spec.privileged,
        ),
        devices=resolved.devices,
        mounts=points,
        files=etc.files(spec, facts, hostname, taken),
        masked=resolved.masks if spec.privileged else resolved.masks + MASKED_PATHS,
        readonly=() if spec.privileged else READONLY_PATHS,
        sysctls=_sysctls(spec),
        cgroup=Cgroup(
            parent=placement.cgroup_parent, name=container_id, resources=limits.resources(spec, facts, resolved)
        ),
        deadline_ms=defaults.DEADLINE_MS,
    )
    descriptors = int(placement.input) + len(resolved.binds) + int(resolved.host_shm)
    return Launch(
        req=0,
        id=container_id,
        spec=launch,
        output=_output(spec, placement, container_id),
        blob=b"",
        watch_oom=spec.memory is not None,
        fds=(0, descriptors),
    )


def plan_exec(
    spec: ExecSpec,
    container: ContainerSpec,
    facts: Facts,
    *,
    user: User,
    seccomp: str | None,
    hostname: str,
    apparmor: str = UNCONFINED,
    has_input: bool = False,
) -> ExecLaunch:
    """A program to be joined to a running `container`; `user` and `seccomp` are resolved for this exec.

    `apparmor` is the container's profile: a privileged exec has it too, as Docker's.

    With `has_input` its standard input is the message's first descriptor.

    Raises:
        InvalidArgument: A value is malformed or out of range.
    """
    mask = facts.capabilities if spec.privileged else limits.capability_mask(container, facts.capabilities)
    if spec.tty and has_input:
        raise InvalidArgument("input: cannot be given with a terminal", field="input")
    env = environment({**container.env, **spec.env}, hostname=hostname, home=user.home, tty=spec.tty)
    return ExecLaunch(
        process=Process(
            argv=argv(spec.argv),
            env=env,
            cwd=_cwd(container.cwd if spec.cwd is None else spec.cwd),
            uid=user.uid,
            gid=user.gid,
            groups=user.groups,
            umask=container.umask,
            capabilities=capability_sets(mask),
            seccomp=None if spec.privileged else seccomp,
            no_new_privileges=container.no_new_privileges,
            apparmor=_confined(apparmor),
            rlimits=limits.rlimits(container.ulimits),
            oom_score_adj=container.oom_score_adj,
        ),
        stdio=Stdio(
            terminal=_terminal_size(spec.tty_size) if spec.tty else None,
            stdin=0 if has_input else "pipe" if spec.stdin_open else "null",
        ),
        deadline_ms=defaults.DEADLINE_MS,
    )


def argv(words: tuple[str, ...]) -> tuple[bytes, ...]:
    """`words` as the kernel takes them.

    Raises:
        InvalidArgument: There are none, the program's name is empty, or a NUL is in one.
    """
    if not words or not words[0]:
        raise InvalidArgument("argv: no command specified", field="argv")
    encoded = tuple([os.fsencode(word) for word in words])
    if any(b"\0" in word for word in encoded):
        raise InvalidArgument("argv: an argument has a NUL character in it", field="argv")
    return encoded


def environment(env: dict[str, str], *, hostname: str, home: str, tty: bool) -> tuple[bytes, ...]:
    """``NAME=value`` each, in Docker's order: PATH, HOSTNAME, TERM, the user's own (in place where named above), HOME.

    Raises:
        InvalidArgument: A name is empty or has ``=`` in it, or a NUL is in one.
    """
    merged = {"PATH": defaults.PATH, "HOSTNAME": hostname}
    if tty:
        merged["TERM"] = defaults.TERM
    if env:
        merged.update(env)
        for name in env:
            if not name or "=" in name:
                raise InvalidArgument(f"env: invalid environment variable name: {name!r}", field="env")
    merged.setdefault("HOME", home)
    encoded = tuple([os.fsencode(f"{name}={value}") for name, value in merged.items()])
    if env and any(b"\0" in pair for pair in encoded):
        raise InvalidArgument("env: a variable has a NUL character in it", field="env")
    return encoded


def capability_sets(mask: int) -> Capabilities:
    """Docker's sets for `mask`: nothing is inheritable or ambient (CVE-2022-24769)."""
    return Capabilities(bounding=mask, effective=mask, permitted=mask, inheritable=0, ambient=0)


def _check_conflicts(spec: ContainerSpec, facts: Facts) -> None:
    if spec.uts == "host" and (spec.hostname is not None or spec.domainname is not None):
        raise InvalidArgument("conflicting options: hostname and the UTS mode", field="hostname")
    if spec.hostname is not None and not _HOSTNAME.match(spec.hostname):
        raise InvalidArgument(f"hostname: invalid host name {spec.hostname!r}", field="hostname")
    if spec.domainname is not None and (len(spec.domainname) > _LONGEST_DOMAIN or "\0" in spec.domainname):
        raise InvalidArgument(f"domainname: longer than {_LONGEST_DOMAIN} characters", field="domainname")
    if spec.tty and spec.stdin_open is False and spec.tty_size != (0, 0):
        _terminal_size(spec.tty_size)
    if spec.timeout is not None and spec.timeout <= 0:
        raise InvalidArgument(f"timeout: must be more than 0 seconds, not {spec.timeout:g}", field="timeout")
    if spec.stop_timeout < 0:
        raise InvalidArgument(f"stop_timeout: cannot be negative: {spec.stop_timeout:g}", field="stop_timeout")
    if spec.stop_signal is not None:
        parse_signal(spec.stop_signal, "stop_signal")
    if spec.apparmor not in (None, "", UNCONFINED):
        if not facts.apparmor:
            raise Unsupported("apparmor: this kernel does not have AppArmor enabled", option="apparmor")
        if not spec.apparmor.isprintable():
            raise InvalidArgument(f"apparmor: {spec.apparmor!r} is not the name of a profile", field="apparmor")


def _cwd(cwd: str) -> str:
    if not cwd:
        return "/"
    if not cwd.startswith("/") or "\0" in cwd:
        raise InvalidArgument(
            f"cwd: the working directory {cwd!r} is invalid, it needs to be an absolute path", field="cwd"
        )
    return cwd


def _range(value: int, low: int, high: int, field: str) -> int:
    if not low <= value <= high:
        raise InvalidArgument(f"{field}: invalid value {value}, range is [{low}, {high}]", field=field)
    return value


def apparmor_profile(spec: ContainerSpec, facts: Facts) -> str:
    """The AppArmor profile that `spec` gets: its own, also where it is privileged; ``"unconfined"``; empty without AppArmor."""
    if not facts.apparmor:
        return ""
    return spec.apparmor or (UNCONFINED if spec.privileged else facts.apparmor_profile)


def _confined(profile: str) -> str | None:
    return None if profile in ("", UNCONFINED) else profile


def _terminal_size(size: tuple[int, int]) -> tuple[int, int]:
    rows, columns = size
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise InvalidArgument(f"tty_size: invalid terminal size {rows}x{columns}", field="tty_size")
    return rows, columns


def _stdio(spec: ContainerSpec, placement: Placement) -> Stdio:
    if spec.tty:
        if placement.input:
            raise InvalidArgument("input: cannot be given with a terminal", field="input")
        return Stdio(terminal=_terminal_size(spec.tty_size))
    if placement.input:
        return Stdio(stdin=0)
    return Stdio(stdin="pipe" if spec.stdin_open else "null")


def _scratch(spec: ContainerSpec, facts: Facts, placement: Placement, container_id: str, *, layers: int) -> Scratch:
    kind = spec.scratch or facts.scratch
    if placement.way == "snapshot":
        # The snapshot is its own, and the driver limits it.
        return NoScratch()
    size = facts.scratch_size if spec.scratch_size is None else parse_size(spec.scratch_size, "scratch_size")
    if kind == "memory":
        return MemoryScratch(size=size or 0)
    if kind == "disk":
        # A quota is set before the launch, or the container is refused.
        assert size is None or placement.way == "limited", "its size is limited"
        # What goes at exit need not be synced (docs/design.md); a volatile overlay could not be mounted a second time.
        folder = placement.scratch or f"{placement.scratch_dir}/{container_id}"
        # The keeper removes directories beneath its own alone: one that was made beforehand is removed by who made it.
        kept = placement.kept or placement.way == "limited"
        return DiskScratch(dir=folder, volatile=not kept, keep=kept)
    if spec.scratch_size is not None:
        raise Unsupported(
            f"scratch_size: with scratch 'none' a container writes into {spec.rootfs or 'its root'} itself, which has no limit: "
            "use scratch 'disk' or 'memory'",
            option="scratch_size",
        )
    if layers > 1 or len(spec.layers) > 1:
        raise InvalidArgument("scratch: layers need a scratch 'disk' or 'memory'", field="scratch")
    if spec.image is not None and not spec.read_only:
        raise InvalidArgument(
            "scratch: with 'none' the container would write into its image: use 'disk' or 'memory', or make it read-only",
            field="scratch",
        )
    return NoScratch()


def _shm_size(value: int | str) -> int:
    size = parse_size(value, "shm_size")
    if size == 0:
        raise InvalidArgument("shm_size: must be more than 0", field="shm_size")
    return size


_IPC_SYSCTLS: Final = frozenset({"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
                                 "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"})  # fmt: skip


def _sysctls(spec: ContainerSpec) -> tuple[tuple[str, str], ...]:
    for name in spec.sysctls:
        dotted = name.replace("/", ".")
        if not re.fullmatch(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)+", dotted):
            raise InvalidArgument(f"sysctls: invalid name {name!r}", field="sysctls")
        ipc = dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue.")
        net = dotted.startswith("net.")
        if (ipc and spec.ipc == "host") or (net and spec.network == "host"):
            namespace = "IPC" if ipc else "network"
            raise InvalidArgument(f"sysctls: {name} not allowed in host {namespace} namespace", field="sysctls")
        if not ipc and not net:
            raise InvalidArgument(f"sysctls: {name} is not in a separate kernel namespace", field="sysctls")
    return tuple((name.replace("/", "."), value) for name, value in spec.sysctls.items())


def _output(spec: ContainerSpec, placement: Placement, container_id: str) -> Output:
    log = None
    if isinstance(spec.log, LogOptions):
        size = parse_size(spec.log.max_size, "log max_size")
        if size < 1 << 12 or spec.log.max_files < 1:
            raise InvalidArgument("log: max_size is at least 4k and max_files at least 1", field="log")
        path = placement.log or log_path(container_id)
        log = Log(path=path, max_size=size, max_files=spec.log.max_files)
    return Output(
        capture=placement.capture, log=log, direct=placement.output == "direct", attach=placement.output == "tap"
    )


def log_path(container_id: str) -> str:
    """Where a container's log is, beneath the engine's root folder."""
    return f"logs/{container_id}.log"
