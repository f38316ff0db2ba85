"""Trees for the tests of images: archives, and a digest of all that is in a directory but times, to compare two of them."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tarfile
from pathlib import Path

HOSTS = {"security.selinux", "security.ima", "security.evm", "security.apparmor"}


def archive(entries: dict[str, bytes | str | None], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive: bytes are a file's content, a text is a link's target, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            match content:
                case bytes():
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                case str():
                    member.type, member.linkname = tarfile.SYMTYPE, content
                    tar.addfile(member)
                case None:
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
    return out.getvalue()


def _text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def digest_of(root: Path) -> str:
    """The digest of the tree in a directory, 64 hexadecimal digits."""
    top = os.fsencode(root)
    out = hashlib.sha256(b"ardock tree 1\n")
    first: dict[int, bytes] = {}

    def entry(path: bytes) -> bool:
        full = os.path.join(top, path)
        at = os.lstat(full)
        is_folder = stat.S_ISDIR(at.st_mode)
        if not is_folder and at.st_nlink > 1:
            if at.st_ino in first:
                out.update(b"h" + _text(path) + _text(first[at.st_ino]))
                return False
            first[at.st_ino] = path
        kind = {
            stat.S_IFDIR: b"d",
            stat.S_IFREG: b"f",
            stat.S_IFLNK: b"l",
            stat.S_IFCHR: b"c",
            stat.S_IFBLK: b"b",
            stat.S_IFIFO: b"p",
        }[stat.S_IFMT(at.st_mode)]
        mode = 0 if kind == b"l" else stat.S_IMODE(at.st_mode)
        out.update(kind + _text(path) + struct.pack(">III", mode, at.st_uid, at.st_gid))
        if kind == b"f":
            content = Path(os.fsdecode(full)).read_bytes()
            out.update(struct.pack(">Q", len(content)) + hashlib.sha256(content).digest())
        elif kind == b"l":
            out.update(_text(os.readlink(full)))
        elif kind in b"cb":
            out.update(struct.pack(">II", os.major(at.st_rdev), os.minor(at.st_rdev)))
        names = sorted(os.fsencode(name) for name in os.listxattr(full, follow_symlinks=False) if name not in HOSTS)
        out.update(struct.pack(">I", len(names)))
        for name in names:
            out.update(_text(name) + _text(os.getxattr(full, name, follow_symlinks=False)))
        return is_folder

    def folder(path: bytes) -> None:
        below = []
        for name in sorted(os.listdir(os.path.join(top, path))):
            inner = path + b"/" + name if path else name
            if entry(inner):
                below.append(inner)
        for inner in below:
            folder(inner)

    entry(b"")
    folder(b"")
    return out.hexdigest()
