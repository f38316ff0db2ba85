"""Looking up on the host what a spec names: root file systems, bind sources, devices, users, seccomp profiles."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ardock import _core
from ardock.engine.containers import limits
from ardock.engine.containers.resolved import Resolved, User
from ardock.engine.containers.roots import Root, Roots
from ardock.engine.facts import Facts
from ardock.engine.keepers import mapping
from ardock.engine.volumes.mounted import BindOptions
from ardock.model.errors import ArdockError, InvalidArgument, NotFound
from ardock.model.launch import DeviceNode
from ardock.model.spec import ContainerSpec, Device, Mount

MOST_LAYERS: Final = 500
"""`OVL_MAX_STACK` of the kernel's overlay file system."""

_PROPAGATIONS: Final = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_LONGEST_PROFILE: Final = 4 << 20
# Made by the launch core in every container's /dev, or of no use in one.
_OWN_DEVICES: Final = frozenset(
    {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "console",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "log",
        "core",
    }
)


class Resolution(NamedTuple):
    """What was found, and what is held for the launch.

    Attributes:
        resolved: Plain data, for the planner.
        roots: The open roots.
        fds: Descriptors of the spec's binds and volumes, in order; owned.
    """

    resolved: Resolved
    roots: tuple[Root, ...]
    fds: list[int]


class Resolver:
    """The look-ups of one engine, with their caches."""

    def __init__(self, roots: Roots, facts: Facts, open_volume: Callable[[Mount], tuple[int, bool]]) -> None:
        """Look up in `roots`; `open_volume` gives a volume's detached mount, and whether it is a file."""
        self.roots = roots
        self._open_volume = open_volume
        self._facts = facts
        self._programs: dict[tuple[str | None, int, bool, bool], str] = {}
        self._code: dict[str, bytes] = {}
        self._common: dict[tuple[tuple[int, ...], User, str | None], Resolved] = {}

    def resolve(self, spec: ContainerSpec, image_layers: tuple[str, ...] = ()) -> Resolution:
        """Everything that `spec` names; `image_layers` are the directories of its image, topmost first.

        Raises:
            InvalidArgument: Neither or both of `rootfs` and `layers`; a malformed path, user or profile.
            NotFound: Something is not there.
            LaunchFailed: The kernel refuses to clone a mount.
        """
        roots = self.roots_of(spec, image_layers)
        user = self.roots.user(roots, spec.user, spec.group_add)
        seccomp = self.seccomp(spec)
        if spec.mounts or spec.ipc == "host" or spec.devices or spec.privileged or _disk_paths(spec):
            return self._resolve_more(spec, roots, user, seccomp)
        key = (tuple([root.key for root in roots]), user, seccomp)
        resolved = self._common.get(key)
        if resolved is None:
            masks = tuple(dict.fromkeys(mask for root in roots for mask in root.masks))
            if len(self._common) > 1024:
                self._common.clear()
            resolved = self._common[key] = Resolved(roots=key[0], user=user, masks=masks, seccomp=seccomp)
        return Resolution(resolved, roots, [])

    def roots_of(self, spec: ContainerSpec, image_layers: tuple[str, ...] = ()) -> tuple[Root, ...]:
        """The open roots that `spec` stands on, topmost first.

        Raises:
            InvalidArgument: Not one of `rootfs`, `layers` and `image`; too many layers; a malformed path.
            NotFound: One is not there.
        """
        if (spec.rootfs is not None) + bool(spec.layers) + (spec.image is not None) > 1:
            raise InvalidArgument("rootfs: give one of rootfs, layers and image", field="rootfs")
        if spec.image is not None:
            return self.roots.get_all(image_layers, "image")
        if spec.layers:
            if len(spec.layers) > MOST_LAYERS:
                raise InvalidArgument(
                    f"layers: {len(spec.layers)} are given, and the overlay file system takes {MOST_LAYERS} lower directories "
                    "at most",
                    field="layers",
                )
            return self.roots.get_all(spec.layers, "layers")
        if spec.rootfs is not None:
            return (self.roots.get(spec.rootfs),)
        raise InvalidArgument("rootfs: give the directory that becomes the root file system", field="rootfs")

    def _resolve_more(
        self, spec: ContainerSpec, roots: tuple[Root, ...], user: User, seccomp: str | None
    ) -> Resolution:
        fds: list[int] = []
        files: list[bool] = []
        try:
            for mount in spec.mounts:
                if mount.type != "tmpfs":
                    fd, file = open_bind(mount) if mount.type == "bind" else self._open_volume(mount)
                    fds.append(fd)
                    files.append(file)
            host_shm = spec.ipc == "host" and all(mount.target != "/dev/shm" for mount in spec.mounts)
            if host_shm:
                fds.append(open_bind(Mount(source="/dev/shm", target="/dev/shm"))[0])
            resolved = Resolved(
                roots=tuple([root.key for root in roots]),
                user=user,
                binds=tuple(files),
                host_shm=host_shm,
                devices=host_devices() if spec.privileged else tuple([device_node(device) for device in spec.devices]),
                disks=tuple([(path, *_disk(field, path)) for path, field in _disk_paths(spec).items()]),
                masks=tuple(dict.fromkeys(mask for root in roots for mask in root.masks)),
                seccomp=seccomp,
            )
        except ArdockError:
            for fd in fds:
                os.close(fd)
            raise
        return Resolution(resolved, roots, fds)

    def seccomp(self, spec: ContainerSpec, *, privileged: bool = False, joining: bool = False) -> str | None:
        """The hash of the seccomp program of `spec`; compiled once for each profile and set of capabilities.

        Raises:
            InvalidArgument: The profile is malformed or forbids what starting (or `joining`) takes, or an unknown
                capability is named.
            NotFound: The profile cannot be read.
        """
        if spec.privileged or privileged or spec.seccomp == "unconfined":
            return None
        profile = None if spec.seccomp in (None, "", "builtin") else read_profile(spec.seccomp or "")
        key = (profile, limits.capability_mask(spec, self._facts.capabilities), spec.no_new_privileges, joining)
        digest = self._programs.get(key)
        if digest is None:
            try:
                digest, code = _core.seccomp_compile(*key)
            except _core.HostError as error:
                step, subject, number, hint, _ = error.args
                text = mapping.from_host(step, subject or spec.seccomp or "default", number, hint, "seccomp").message
                raise InvalidArgument(text, field="seccomp") from None
            self._programs[key] = digest
            self._code[digest] = code
        return digest

    def code(self, digest: str) -> bytes:
        """The seccomp program with this hash."""
        return self._code[digest]


def open_bind(mount: Mount) -> tuple[int, bool]:
    """A bind mount's source as a detached mount, and whether it is a file.

    Raises:
        InvalidArgument: The source is relative, or the propagation unknown.
        NotFound: It is not there.
        LaunchFailed: The kernel refuses.
    """
    source = mount.source
    if not source.startswith("/") or "\0" in source:
        raise InvalidArgument(f"mounts: invalid mount path: {source!r} mount path must be absolute", field="mounts")
    if mount.propagation not in _PROPAGATIONS:
        raise InvalidArgument(f"mounts: invalid propagation {mount.propagation!r}", field="mounts")
    if mount.create_source and not os.path.lexists(source):
        try:
            Path(source).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotFound(f"mounts: bind source {source} cannot be made: {error.strerror}", field="mounts") from None
    try:
        options = BindOptions(
            recursive=mount.recursive,
            read_only=mount.read_only,
            read_only_recursive=mount.read_only_recursive is not False,
            propagation=mount.propagation,
        )
        return _core.open_bind(source, options)
    except _core.HostError as error:
        step, subject, number, hint, _ = error.args
        raise mapping.from_host(step, subject or source, number, hint, "mounts") from None


def device_node(device: Device) -> DeviceNode:
    """A host device as the node to be made inside.

    Raises:
        InvalidArgument: A relative path, a target outside /dev, or no device.
        NotFound: It is not there.
    """
    target = device.target or device.source
    if not target.startswith("/dev/") or ".." in target.split("/"):
        raise InvalidArgument(f"devices: the target {target!r} is not beneath /dev", field="devices")
    try:
        status = Path(device.source).stat()
    except OSError as error:
        raise NotFound(f"devices: {device.source}: {error.strerror}", field="devices") from None
    kind = _kind(status.st_mode)
    if kind is None:
        raise InvalidArgument(f"devices: {device.source} is not a device node", field="devices")
    return _node(target, kind, status)


def _disk_paths(spec: ContainerSpec) -> dict[str, str]:
    """The block devices that a spec limits, each with the field that names it first."""
    paths: dict[str, str] = {}
    for field in limits.DISK_FIELDS:
        for device in getattr(spec, field):
            paths.setdefault(device.path, field)
    return paths


def _disk(field: str, path: str) -> tuple[int, int]:
    """A block device's numbers."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds a NUL character"
        raise NotFound(f"{field}: {path}: {reason}", field=field) from None
    if not path.startswith("/") or not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"{field}: {path} is not a block device", field=field)
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def host_devices() -> tuple[DeviceNode, ...]:
    """Every device node of the host's /dev, for privileged containers."""
    nodes: list[DeviceNode] = []
    for folder, folders, names in os.walk("/dev"):
        if folder == "/dev":
            folders[:] = [name for name in folders if name not in _OWN_DEVICES]
        for name in names:
            path = f"{folder}/{name}"
            if folder == "/dev" and name in _OWN_DEVICES:
                continue
            try:
                status = os.lstat(path)
            except OSError:
                continue
            kind = _kind(status.st_mode)
            if kind in ("b", "c"):
                nodes.append(_node(path, kind, status))
    return tuple(nodes)


def _kind(mode: int) -> str | None:
    if stat.S_ISBLK(mode):
        return "b"
    if stat.S_ISCHR(mode):
        return "c"
    return "p" if stat.S_ISFIFO(mode) else None


def _node(target: str, kind: str, status: os.stat_result) -> DeviceNode:
    return DeviceNode(
        target=target,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )


def read_profile(path: str) -> str:
    """A seccomp profile's text.

    Raises:
        InvalidArgument: The path is relative, or the file longer than a profile can be.
        NotFound: It cannot be read.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f"seccomp: {path!r} is not an absolute path", field="seccomp")
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LONGEST_PROFILE + 1)
    except OSError as error:
        raise NotFound(f"seccomp: opening seccomp profile ({path}) failed: {error.strerror}", field="seccomp") from None
    if len(text) > _LONGEST_PROFILE:
        raise InvalidArgument(f"seccomp: {path} is longer than {_LONGEST_PROFILE} bytes", field="seccomp")
    return text.decode("utf-8", "replace")


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
