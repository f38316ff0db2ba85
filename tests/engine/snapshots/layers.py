"""Layers for the tests of drivers: archives as registries have them, and a look at what a tree shows."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ardock import _core
from ardock.engine.snapshots import Driver

MTIME = 1_500_000_000


@dataclass(frozen=True)
class Entry:
    """One entry of a layer's archive."""

    path: str
    kind: Literal["file", "dir", "link", "hard", "fifo", "device", "gone", "opaque"] = "file"
    data: bytes = b""
    target: str = ""
    mode: int = 0o755
    owner: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)


def file(path: str, data: bytes = b"x", **more: object) -> Entry:
    return Entry(path, data=data, **more)  # type: ignore[arg-type]


def folder(path: str, **more: object) -> Entry:
    return Entry(path, "dir", **more)  # type: ignore[arg-type]


def link(path: str, target: str) -> Entry:
    return Entry(path, "link", target=target)


def hard(path: str, target: str) -> Entry:
    return Entry(path, "hard", target=target)


def gone(path: str) -> Entry:
    """A whiteout."""
    return Entry(path, "gone")


def opaque(path: str) -> Entry:
    """Nothing of the layers below is in this directory."""
    return Entry(path, "opaque")


def archive(entries: Iterable[Entry]) -> bytes:
    """The layer as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            head, _, last = entry.path.rpartition("/")
            name = entry.path
            if entry.kind == "gone":
                name = f"{head}/.wh.{last}" if head else f".wh.{last}"
            elif entry.kind == "opaque":
                name = f"{entry.path}/.wh..wh..opq" if entry.path else ".wh..wh..opq"
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = entry.mode, MTIME
            member.uid, member.gid = entry.owner
            member.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in entry.xattrs.items()
            }
            match entry.kind:
                case "dir":
                    member.type = tarfile.DIRTYPE
                case "link":
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                case "hard":
                    member.type, member.linkname = tarfile.LNKTYPE, entry.target
                case "fifo":
                    member.type = tarfile.FIFOTYPE
                case "device":
                    member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 3
                case _:
                    member.size = len(entry.data)
            tar.addfile(member, io.BytesIO(entry.data) if member.size else None)
    return out.getvalue()


def commit(driver: Driver, name: str, below: tuple[str, ...], entries: Iterable[Entry], key: str = "layer") -> str:
    """Make the layer `name` on `below`; its name."""
    target = driver.prepare(key, below)
    unpack(target, archive(entries), driver.whiteouts)
    driver.commit(key, name)
    return name


def unpack(target: Path, data: bytes, whiteouts: str) -> _core.LayerSummary:
    """Unpack a layer into a snapshot."""
    ingest = _core.LayerIngest(blob=None, target=str(target), whiteouts=whiteouts)
    ingest.feed(data)
    return ingest.finish(_core.CancelFlag())


def shown(root: Path) -> dict[str, tuple[object, ...]]:
    """What a tree shows, by path: kind and mode, owner, mtime (of what is no directory), content, links, attributes."""
    found: dict[str, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], str] = {}

    def one(path: Path, name: str) -> None:
        status = path.lstat()
        mode = status.st_mode
        names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if not hidden(name))
        attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
        content: object = None
        if stat.S_ISREG(mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISCHR(mode):
            content = status.st_rdev
        same = None if stat.S_ISDIR(mode) else groups.setdefault((status.st_dev, status.st_ino), name)
        when = None if stat.S_ISDIR(mode) else status.st_mtime_ns
        found[name] = (oct(mode), status.st_uid, status.st_gid, when, content, same, attributes)
        if stat.S_ISDIR(mode):
            for each in sorted(path.iterdir()):
                one(each, f"{name}{each.name}" if name == "/" else f"{name}/{each.name}")

    one(root, "/")
    return found


def hidden(name: str) -> bool:
    return name.startswith(("trusted.overlay.", "security.selinux", "system.posix_acl"))
