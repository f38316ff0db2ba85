"""Prints all that is in a directory, for comparing trees: ``python -m tests.engine.peer.listing DIRECTORY``; a JSON object by path.

Of each: kind, mode, owner, time in ns, extended attributes, link count (of what is no directory: file systems count those
differently), content or target or device number.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from pathlib import Path

# A security module's of the host, and the overlay's own bookkeeping.
_LEFT_OUT = ("security.selinux", "security.apparmor", "trusted.overlay.")


def listing(top: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = f"{folder}/{name}"
            found[os.fsencode(os.path.relpath(path, top)).decode("latin-1")] = described(path)
    return found


def described(path: str) -> dict[str, object]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False).hex()
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not name.startswith(_LEFT_OUT)
    }
    about: dict[str, object] = {
        "kind": oct(kind), "mode": oct(stat.S_IMODE(status.st_mode)), "owner": [status.st_uid, status.st_gid],
        "mtime": status.st_mtime_ns, "xattrs": attributes,
    }  # fmt: skip
    if kind != stat.S_IFDIR:
        about["links"] = status.st_nlink
    if kind == stat.S_IFREG:
        about["content"] = [status.st_size, hashlib.sha256(Path(path).read_bytes()).hexdigest()]
    elif kind == stat.S_IFLNK:
        about["target"] = os.readlink(path)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        about["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    return about


if __name__ == "__main__":
    json.dump(listing(sys.argv[1]), sys.stdout, sort_keys=True)
