"""How much room a tree takes."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Final

from ardock.engine.snapshots.contract import Usage
from ardock.engine.snapshots.errors import told

# linux/fiemap.h: the request's head and one extent of its answer (reserved parts left out by padding).
_FS_IOC_FIEMAP: Final = 0xC020_660B
_FIEMAP: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQ16xI12x")
_LAST, _SHARED = 0x1, 0x2000
_MOST_EXTENTS: Final = 64
_BLOCK: Final = 512  # of st_blocks, whatever the file system's own is (stat(2))


def usage_of(path: Path, *, exclusive: bool = False) -> Usage:
    """Of the tree at `path`, each file counted once however many names it has; what is mounted within is not looked into.

    Args:
        path: The tree.
        exclusive: Do not count blocks that other files have, too (FIEMAP_EXTENT_SHARED): costs a system call a file.
    """
    with told("take the room of a snapshot"):
        top = path.lstat()
        size, count = top.st_blocks * _BLOCK, 1
        linked: set[int] = set()
        todo = [str(path)]
        while todo:
            try:
                entries = os.scandir(todo.pop())
            except FileNotFoundError:  # removed by who runs on it
                continue
            with entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if status.st_dev != top.st_dev:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(entry.path)
                    elif status.st_nlink > 1:
                        if status.st_ino in linked:
                            continue
                        linked.add(status.st_ino)
                    count += 1
                    if exclusive and stat.S_ISREG(status.st_mode) and status.st_blocks:
                        size += _exclusive(entry.path)
                    else:
                        size += status.st_blocks * _BLOCK
        return Usage(size, count)


def _exclusive(path: str) -> int:
    """Bytes of a file's extents that no other file shares (Documentation/filesystems/fiemap.rst)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    size = start = 0
    last = False
    try:
        while not last:
            buffer = bytearray(_FIEMAP.pack(start, (1 << 64) - 1 - start, 0, 0, _MOST_EXTENTS, 0))
            buffer.extend(bytes(_MOST_EXTENTS * _EXTENT.size))
            fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, buffer)
            mapped = _FIEMAP.unpack_from(buffer)[3]
            last = mapped == 0
            for number in range(mapped):
                logical, _, length, flags = _EXTENT.unpack_from(buffer, _FIEMAP.size + number * _EXTENT.size)
                if not flags & _SHARED:
                    size += length
                start = logical + length
                last = bool(flags & _LAST)
    finally:
        os.close(descriptor)
    return size
