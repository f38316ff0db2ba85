"""Project quotas: most bytes that a directory may hold, where the file system counts by projects (XFS, ext4).

Both go by whatever process writes: an overlay's writes never pass a quota (fs/overlayfs/super.c lowers CAP_SYS_RESOURCE). In a
directory that is written to itself (the driver vfs) XFS counts everybody's; ext4 lets those past who have CAP_SYS_RESOURCE, which
containers do not have unless they are given it.

A project is a number that a directory has and hands down to what is made in it. Each limited directory gets one of its own,
which is read from the directory again after a crash: nothing else is written down.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import threading
from pathlib import Path
from typing import Final

from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.place import place_of
from ardock.model.errors import CapacityExceeded, Unsupported

# linux/fs.h: struct fsxattr; the flag makes what is made in a directory belong to its project.
_FS_IOC_FSGETXATTR: Final = 0x801C_581F
_FS_IOC_FSSETXATTR: Final = 0x401C_5820
_XATTR: Final = struct.Struct("=IIIII8s")
_PROJECT_INHERIT: Final = 0x200

# quotactl_fd(2) takes a descriptor in the file system where quotactl(2) takes its device; since Linux 5.14.
_QUOTACTL_FD: Final = 443
_PRJQUOTA: Final = 2
_Q_GETINFO, _Q_GETQUOTA, _Q_SETQUOTA = 0x800005, 0x800007, 0x800008
_DQINFO_SIZE: Final = 24
# linux/quota.h: struct if_dqblk; limits are in blocks of 1 KiB, usage in bytes.
_DQBLK: Final = struct.Struct("=QQQQQQQQI4x")
_QIF_BLIMITS: Final = 1
_BLOCK: Final = 1024

# Where limited directories are, beneath the root folder: scratch directories, and snapshots of the driver vfs.
_LIMITED: Final = ("containers/*", "snapshots/vfs/.tmp-container-*")
# An engine's projects: its own part of the numbers, so that two on one file system do not meet (nor Docker's, from 1 on).
_PART: Final = 1 << 16
_PARTS: Final = (1 << 31) // _PART


class ProjectQuotas:
    """The limited directories of one engine, on the file system of its root folder."""

    def __init__(self, root: Path, engine_id: str) -> None:
        """Look at nothing yet.

        Args:
            root: The root folder.
            engine_id: 8 hexadecimal digits.
        """
        self._root = root
        self._first = (int(engine_id, 16) % (_PARTS - 1) + 1) * _PART
        self._lock = threading.Lock()
        self._used: set[int] | None = None
        self._projects: dict[Path, int] = {}
        self._problem: str | None = None

    def problem(self) -> str:
        """Why no directory can be limited here, with the remedy; empty where one can. Looked at once."""
        if self._problem is None:
            self._problem = _problem(self._root)
        return self._problem

    def limit(self, path: Path, size: int) -> None:
        """Most bytes of an existing, empty directory of the root folder.

        Raises:
            Unsupported: The file system cannot; it says what would have to be done.
            CapacityExceeded: No number is left.
            FolderUnusable: It refuses otherwise.
        """
        problem = self.problem()
        if problem:
            raise Unsupported(f"storage: {problem}", option="scratch_size")
        with told("limit a directory"):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                with self._lock:
                    project = self._next(descriptor)
                    self._set(descriptor, project, size)
                    self._projects[path] = project
            finally:
                os.close(descriptor)

    def free(self, path: Path) -> None:
        """`path` is removed: its number is free, once nothing is in it any more. Not limited: nothing."""
        with self._lock:
            if self._used is None:
                return
            project = self._projects.pop(path, 0) or _project_or_none(path)
            self._used.discard(project)
        # Its limit stays until the number is used again: what is still being removed is counted until it is gone.

    def _next(self, descriptor: int) -> int:
        if self._used is None:
            found = [_project_or_none(path) for pattern in _LIMITED for path in self._root.glob(pattern)]
            self._used = {project for project in found if self._is_ours(project)}
        for project in range(self._first, self._first + _PART):
            if project not in self._used and _usage(descriptor, project) == 0:
                self._used.add(project)
                return project
        raise CapacityExceeded(f"scratch_size: all {_PART} projects of this engine are in use")

    def _set(self, descriptor: int, project: int, size: int) -> None:
        blocks = max(1, size // _BLOCK)
        _quotactl(descriptor, _Q_SETQUOTA, project, _DQBLK.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS))
        flags, *others = _XATTR.unpack(fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_XATTR.size)))
        others[2] = project
        fcntl.ioctl(descriptor, _FS_IOC_FSSETXATTR, _XATTR.pack(flags | _PROJECT_INHERIT, *others))

    def _is_ours(self, project: int) -> bool:
        return self._first <= project < self._first + _PART


def project_of(path: Path) -> int:
    """The project of a directory; 0 is none.

    Raises:
        OSError: It is not there, or its file system knows no projects.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        project: int = _XATTR.unpack(fcntl.ioctl(descriptor, _FS_IOC_FSGETXATTR, bytes(_XATTR.size)))[3]
        return project
    finally:
        os.close(descriptor)


def _project_or_none(path: Path) -> int:
    try:
        return project_of(path)
    except OSError:
        return 0


def _usage(descriptor: int, project: int) -> int:
    """Bytes of a project."""
    try:
        answer = _quotactl(descriptor, _Q_GETQUOTA, project, bytes(_DQBLK.size))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):  # nothing was ever counted for it
            return 0
        raise
    used: int = _DQBLK.unpack(answer)[2]
    return used


def _quotactl(descriptor: int, command: int, project: int, argument: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(argument, len(argument))
    libc = ctypes.CDLL(None, use_errno=True)
    # QCMD of linux/quota.h.
    code = ctypes.c_uint(command << 8 | _PRJQUOTA)
    if libc.syscall(ctypes.c_long(_QUOTACTL_FD), ctypes.c_uint(descriptor), code, ctypes.c_int(project), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw


def _problem(root: Path) -> str:
    place = place_of(root)
    if place.kind not in ("xfs", "ext4"):
        return (
            "the size of a container's writes to disk is limited by a project quota, which the root folder's file system "
            f"({place.shown}) does not have: put the root folder (--root) on XFS mounted with prjquota, or use --scratch memory"
        )
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _quotactl(descriptor, _Q_GETINFO, 0, bytes(_DQINFO_SIZE))
        return ""
    except OSError as error:
        return (
            f"project quotas are off on the root folder's file system ({place.kind} at {place.target}: {error.strerror} on Linux "
            f"{os.uname().release}): mount it with prjquota, or use --scratch memory"
        )
    finally:
        os.close(descriptor)
