"""Options of the local driver: what is mounted for a volume, in mount(8)'s words. Pure.

The rules are moby's (``volume/local/local_unix.go``); words of ``o`` that are no flags go to the kernel, which knows its file
systems better than any list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ardock.model.errors import InvalidArgument, Unsupported

RDONLY: Final = 0x1
# MOUNT_ATTR_* of linux/mount.h: of the mount, not of its file system.
_ATTRIBUTES: Final = {
    "ro": RDONLY, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x10, "strictatime": 0x20, "nodiratime": 0x80,
}  # fmt: skip
# What is so anyway.
_DEFAULTS: Final = frozenset({
    "defaults", "rw", "suid", "dev", "exec", "async", "atime", "diratime", "relatime", "norelatime", "nostrictatime",
})  # fmt: skip
_PROPAGATIONS: Final = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_NOT_FOR_VOLUMES: Final = frozenset({"remount", "move", "unbindable", "runbindable", "bind", "rbind"})
_KNOWN: Final = ("type", "device", "o")


class Filesystem(NamedTuple):
    """A file system to be mounted.

    Attributes:
        kind: Its type.
        device: What it is on.
        options: Its own, each with its value or None.
        attributes: ``MOUNT_ATTR_*``.
    """

    kind: str
    device: str
    options: tuple[tuple[str, str | None], ...]
    attributes: int


class Directory(NamedTuple):
    """A directory of the host's.

    Attributes:
        path: Absolute.
        recursive: What is mounted beneath comes along.
        attributes: ``MOUNT_ATTR_*``.
        propagation: As mount(8) names it.
    """

    path: str
    recursive: bool
    attributes: int
    propagation: str


Backing = Filesystem | Directory


def parse(options: Mapping[str, str]) -> Backing | None:
    """What stands behind a volume with these options; None: a directory of the engine's own.

    Raises:
        InvalidArgument: An option is unknown, missing, or contradicts another.
        Unsupported: A directory's size is to be limited.
    """
    if not options:
        return None
    if "size" in options:
        raise Unsupported(
            "options: size: a directory's size cannot be limited: give type=tmpfs, device=tmpfs and o=size=...",
            option="size",
        )
    unknown = next((name for name in options if name not in _KNOWN), None)
    if unknown is not None:
        raise InvalidArgument(
            f"options: invalid option {unknown!r}: the local driver has {', '.join(_KNOWN)}", field="options"
        )
    for name in ("device", "type"):
        if not options.get(name):
            raise InvalidArgument(f"options: missing required option {name!r}", field="options")
    if any("\0" in value for value in options.values()):
        raise InvalidArgument("options: a value has a NUL in it", field="options")
    kind, device = options["type"], options["device"]
    words = [word for word in options.get("o", "").split(",") if word]
    if "bind" in words or "rbind" in words:
        return _directory(device, words)
    if kind in {"none", "bind"}:
        raise InvalidArgument(
            f"options: type={kind} is no file system: give o=bind for a directory of the host's", field="options"
        )
    return _filesystem(kind, device, words)


def _directory(device: str, words: list[str]) -> Directory:
    if not device.startswith("/"):
        raise InvalidArgument(f"options: device={device} is not an absolute path, as o=bind needs one", field="options")
    attributes, propagation = 0, "rprivate"
    for word in words:
        if word in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[word]
        elif word in _PROPAGATIONS:
            propagation = word
        elif word not in _DEFAULTS | {"bind", "rbind"}:
            raise InvalidArgument(f"options: o={word}: a directory of the host's has no such option", field="options")
    return Directory(device, "rbind" in words, attributes, propagation)


def _filesystem(kind: str, device: str, words: list[str]) -> Filesystem:
    attributes = 0
    own: list[tuple[str, str | None]] = []
    for word in words:
        if word in _NOT_FOR_VOLUMES or word in _PROPAGATIONS:
            raise InvalidArgument(f"options: o={word} is not for a volume's file system", field="options")
        if word in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[word]
        if word == "ro":
            own.append(("ro", None))
        elif word not in _ATTRIBUTES and word not in _DEFAULTS:
            name, equals, value = word.partition("=")
            own.append((name, value if equals else None))
    return Filesystem(kind, device, tuple(own), attributes)
