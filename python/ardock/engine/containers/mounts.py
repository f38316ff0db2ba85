"""The user's mounts to the launch core's: pure."""

from __future__ import annotations

import posixpath
from typing import Final

from ardock.engine.containers import defaults
from ardock.engine.containers.resolved import Resolved
from ardock.model.errors import InvalidArgument
from ardock.model.launch import Bind, MountPoint, Tmpfs
from ardock.model.sizes import parse_size
from ardock.model.spec import ContainerSpec

# mount(2) flags by their mount(8) names: set, clear.
_FLAGS: Final = {
    "ro": (0x1, 0), "rw": (0, 0x1), "nosuid": (0x2, 0), "suid": (0, 0x2), "nodev": (0x4, 0), "dev": (0, 0x4),
    "noexec": (0x8, 0), "exec": (0, 0x8), "sync": (0x10, 0), "async": (0, 0x10), "dirsync": (0x20, 0),
    "noatime": (0x400, 0), "atime": (0, 0x400), "nodiratime": (0x800, 0), "diratime": (0, 0x800),
    "relatime": (0x200000, 0), "norelatime": (0, 0x200000), "strictatime": (0x1000000, 0), "nostrictatime": (0, 0x1000000),
}  # fmt: skip
_RDONLY: Final = 0x1
# What a tmpfs of Docker's has unless the options say otherwise.
_TMPFS_FLAGS: Final = 0x2 | 0x4 | 0x8
_TMPFS_DATA: Final = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"})
# mount(2) data and fsconfig strings hold 255 characters at most.
_LONGEST_DATA: Final = 255


def check_target(target: str, field: str) -> str:
    """`target` normalised.

    Raises:
        InvalidArgument: It is relative, has ``..`` in it, is ``/``, or lies beneath /proc where nothing may be mounted.
    """
    if not target.startswith("/"):
        raise InvalidArgument(f"{field}: invalid mount path: {target!r} mount path must be absolute", field=field)
    if "\0" in target:
        raise InvalidArgument(f"{field}: invalid mount path: {target!r} has a NUL in it", field=field)
    if ".." in target.split("/"):
        raise InvalidArgument(f"{field}: invalid mount path: {target!r} must not contain '..'", field=field)
    clean = "/" + posixpath.normpath(target).lstrip("/")
    if clean == "/":
        raise InvalidArgument(f"{field}: invalid mount path: destination can't be '/'", field=field)
    if (clean == "/proc" or clean.startswith("/proc/")) and clean not in defaults.PROC_MOUNT_TARGETS:
        raise InvalidArgument(f"{field}: {clean!r} cannot be mounted because it is inside /proc", field=field)
    return clean


def tmpfs(options: str, *, read_only: bool = False, field: str = "tmpfs") -> Tmpfs:
    """A tmpfs with mount(8) `options`.

    Raises:
        InvalidArgument: An option that no tmpfs has, or too many of them.
    """
    flags = _TMPFS_FLAGS | (_RDONLY if read_only else 0)
    data: dict[str, str] = {}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if not value and name in _FLAGS:
            add, remove = _FLAGS[name]
            flags = (flags | add) & ~remove
        elif value and name in _TMPFS_DATA:
            data[name] = (
                str(parse_size(value, f"{field} size")) if name == "size" and not value.endswith("%") else value
            )
        else:
            raise InvalidArgument(f"{field}: invalid tmpfs option {option!r}", field=field)
    text = ",".join(f"{name}={value}" for name, value in data.items())
    if len(text) > _LONGEST_DATA:
        raise InvalidArgument(f"{field}: tmpfs options are longer than {_LONGEST_DATA} characters", field=field)
    return Tmpfs(data=text, flags=flags)


def mounts(spec: ContainerSpec, resolved: Resolved, first_fd: int) -> tuple[MountPoint, ...]:
    """All mounts of `spec`, parents before children.

    Args:
        spec: The container.
        resolved: Which binds and volumes are files.
        first_fd: The index of the first bind's descriptor in the message.

    Raises:
        InvalidArgument: A bad target or option, or a target named twice.
    """
    found: dict[str, MountPoint] = {}
    fd = first_fd
    binds = iter(resolved.binds)
    for mount in spec.mounts:
        target = check_target(mount.target, "mounts")
        if mount.type != "tmpfs":
            point = MountPoint(target=target, what=Bind(source=fd, file=next(binds)))
            fd += 1
        else:
            point = MountPoint(target=target, what=tmpfs(mount.options, read_only=mount.read_only, field="mounts"))
        _add(found, point, "mounts")
    for path, options in spec.tmpfs.items():
        _add(found, MountPoint(target=check_target(path, "tmpfs"), what=tmpfs(options)), "tmpfs")
    if resolved.host_shm and "/dev/shm" not in found:
        found["/dev/shm"] = MountPoint(target="/dev/shm", what=Bind(source=fd, file=False))
    # Docker's order: by the number of components, otherwise as given.
    return tuple(sorted(found.values(), key=lambda point: point.target.count("/")))


def _add(found: dict[str, MountPoint], point: MountPoint, field: str) -> None:
    if point.target in found:
        raise InvalidArgument(f"{field}: duplicate mount point: {point.target}", field=field)
    found[point.target] = point
