"""Subvolumes of a btrfs, by the kernel's own calls (include/uapi/linux/btrfs.h): no program of btrfs-progs is needed."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# _IOW(0x94, n, struct btrfs_ioctl_vol_args) and _vol_args_v2, both of 4096 bytes.
_SUBVOL_CREATE: Final = 0x5000_940E
_SNAP_DESTROY: Final = 0x5000_940F
_SNAP_CREATE_V2: Final = 0x5000_9417
_SUBVOL_GETFLAGS: Final = 0x8008_9419
_SUBVOL_SETFLAGS: Final = 0x4008_941A
_INO_LOOKUP: Final = 0xD000_9412
_QUOTA_CTL: Final = 0xC010_9428
_QGROUP_CREATE: Final = 0x4010_942A
_QGROUP_LIMIT: Final = 0x8030_942B
_QUOTA_RESCAN_WAIT: Final = 0x942E

_VOL_ARGS: Final = struct.Struct("=q4088s")
_VOL_ARGS_V2: Final = struct.Struct("=qQQ32s4040s")
_LIMIT: Final = struct.Struct("=QQQQQQ")
_READ_ONLY: Final = 1 << 1
_MAX_EXCLUSIVE: Final = 1 << 1
_QUOTA_ENABLE: Final = 1
# BTRFS_FIRST_FREE_OBJECTID: the inode number of every subvolume's root, and of nothing else.
_ROOT: Final = 256


@contextmanager
def _opened(path: Path, dir_fd: int | None = None) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _call(descriptor: int, request: int, argument: bytes) -> bytes:
    """ioctl(2); what the kernel has made of the argument."""
    # Python hands no more than 1,024 bytes to the kernel where it cannot write to them.
    buffer = bytearray(argument)
    fcntl.ioctl(descriptor, request, buffer)
    return bytes(buffer)


def create(path: Path) -> None:
    """A new, empty subvolume.

    Raises:
        OSError: The kernel refuses.
    """
    with _opened(path.parent) as parent:
        _call(parent, _SUBVOL_CREATE, _VOL_ARGS.pack(0, os.fsencode(path.name)))


def snapshot(source: Path, path: Path) -> None:
    """A writable snapshot of `source`.

    Raises:
        OSError: The kernel refuses.
    """
    with _opened(path.parent) as parent, _opened(source) as original:
        _call(parent, _SNAP_CREATE_V2, _VOL_ARGS_V2.pack(original, 0, 0, b"", os.fsencode(path.name)))


def set_read_only(path: Path) -> None:
    """Nothing may be changed in it from now on.

    Raises:
        OSError: The kernel refuses.
    """
    with _opened(path) as descriptor:
        (flags,) = struct.unpack("=Q", _call(descriptor, _SUBVOL_GETFLAGS, bytes(8)))
        _call(descriptor, _SUBVOL_SETFLAGS, struct.pack("=Q", flags | _READ_ONLY))


def is_subvolume(path: Path) -> bool:
    """Whether it is a subvolume's root."""
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_ino == _ROOT


def destroy(path: Path) -> None:
    """Remove a subvolume with all in it, also the subvolumes that a container has made there. Not there: nothing.

    Raises:
        OSError: The kernel refuses.
    """
    with _opened(path.parent) as parent:
        _destroy(parent, path.name)


def _destroy(parent: int, name: str) -> None:
    # What a quota counts for it goes with it; its number is not to be had afterwards.
    try:
        with _opened(Path(name), dir_fd=parent) as descriptor:
            number = _number(descriptor)
    except FileNotFoundError:
        return
    try:
        _destroy_empty(parent, name)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        # A subvolume is not removed with those in it. The deepest come first.
        for _, folders, _, descriptor in os.fwalk(name, topdown=False, dir_fd=parent):
            for each in folders:
                try:
                    status = os.stat(each, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode) and status.st_ino == _ROOT:
                        _destroy_empty(descriptor, each)
                except FileNotFoundError:
                    continue
        _destroy_empty(parent, name)
    _forget_quota(parent, number)


def _destroy_empty(parent: int, name: str) -> None:
    _call(parent, _SNAP_DESTROY, _VOL_ARGS.pack(0, os.fsencode(name)))


def _number(descriptor: int) -> int:
    """The number of the subvolume that a descriptor's file is in."""
    # With tree 0 the kernel tells the tree of the descriptor.
    found = _call(descriptor, _INO_LOOKUP, struct.pack("=QQ4080s", 0, _ROOT, b""))
    return int.from_bytes(found[:8], "little")


def enable_quotas(folder: Path) -> None:
    """Make the file system count what each subvolume takes; waits until it has counted what is there.

    Raises:
        OSError: The kernel refuses.
    """
    with _opened(folder) as descriptor:
        _call(descriptor, _QUOTA_CTL, struct.pack("=QQ", _QUOTA_ENABLE, 0))
        fcntl.ioctl(descriptor, _QUOTA_RESCAN_WAIT)


def limit(path: Path, size: int) -> None:
    """Most bytes that a subvolume may have for itself alone: what it shares with its parent does not count.

    Raises:
        OSError: The kernel refuses, such as where quotas are off (ENOTCONN).
    """
    with _opened(path) as descriptor:
        _call(descriptor, _QGROUP_LIMIT, _LIMIT.pack(_number(descriptor), _MAX_EXCLUSIVE, 0, size, 0, 0))


def _forget_quota(folder: int, number: int) -> None:
    """Remove what counted for a subvolume that is gone.

    Kernels refuse while it is still being cleared (EBUSY), and newer ones do it themselves: what is left of it costs nothing
    but a line of `btrfs qgroup show`.
    """
    try:
        _call(folder, _QGROUP_CREATE, struct.pack("=QQ", 0, number))
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ENOENT, errno.EBUSY, errno.EINVAL):
            raise
