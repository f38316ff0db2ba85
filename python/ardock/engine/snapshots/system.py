"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_FS: Final = 0x200
_CLONE_NEWNS: Final = 0x20000
MS_RDONLY, MS_REMOUNT = 0x1, 0x20
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 1 << 14, 1 << 18
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
# fs/namespace.c copies a page of mount options.
_LONGEST_OPTIONS: Final = 4095


def _check(result: int, path: object) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def mount(source: str, target: Path, kind: str, flags: int, options: str, *, within: Path | None = None) -> None:
    """Mount a file system, private: what is mounted in it is not seen elsewhere.

    Args:
        source: What to mount.
        target: Where.
        kind: Of file system.
        flags: MS_*.
        options: Of the file system.
        within: Becomes the working directory, which paths in `options` are relative to; for threads that have their own.

    Raises:
        OSError: The kernel refuses.
    """
    if within is not None:
        os.chdir(within)
    place = os.fsencode(target)
    _check(
        _LIBC.mount(os.fsencode(source), place, kind.encode("ascii"), ctypes.c_ulong(flags), options.encode()), target
    )
    if not flags & MS_REMOUNT:
        _check(_LIBC.mount(None, place, None, ctypes.c_ulong(_MS_PRIVATE), None), target)


def unmount(target: Path) -> bool:
    """Take off what is mounted at `target`, all of it, also where it is in use; whether anything was.

    Raises:
        OSError: The kernel refuses for another reason than that nothing is mounted there.
    """
    found = False
    while True:
        if _LIBC.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
            found = True
            continue
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):
            return found
        raise OSError(number, os.strerror(number), str(target))


def unmount_idle(target: Path) -> None:
    """Take off what is mounted at `target`, so that all of it is on its device.

    Raises:
        OSError: EBUSY where somebody still has something in it open.
    """
    _check(_LIBC.umount2(os.fsencode(target), _UMOUNT_NOFOLLOW), target)


def sync_file_system(path: Path) -> None:
    """syncfs(2): all of the file system is on its device.

    Raises:
        OSError: It could not be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(_LIBC.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def mount_overlay(layers: Sequence[Path], target: Path, folder: Path) -> None:
    """An overlay of two and more `layers`, topmost first, that cannot be written to.

    Mount options have one page, which 500 paths do not fit in: they are given as links of one or two letters in `folder`,
    relative to the working directory.

    Raises:
        OSError: The kernel refuses.
    """
    names = [_short(index) for index in range(len(layers))]
    for name, layer in zip(names, layers, strict=True):
        (folder / name).symlink_to(layer)
    options = f"lowerdir={':'.join(names)}"
    if len(options) > _LONGEST_OPTIONS:
        raise OSError(errno.E2BIG, f"{len(layers)} layers are too many for an overlay")
    flags = MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _in_thread(lambda: mount("overlay", target, "overlay", flags, options, within=folder), _CLONE_FS)


def in_own_mounts(call: Callable[[], None]) -> None:
    """`call` in a thread with a mount namespace of its own, where it may leave mounts and its working directory as it likes.

    Raises:
        OSError: The namespace cannot be made; whatever `call` raises of these.
    """

    def run() -> None:
        _check(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_PRIVATE | _MS_REC), None), "/")
        call()

    _in_thread(run, _CLONE_FS | _CLONE_NEWNS)


def _in_thread(call: Callable[[], None], unshared: int) -> None:
    failures: list[OSError] = []

    def run() -> None:
        try:
            _check(_LIBC.unshare(unshared), "")
            call()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="ardock-mounts")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _short(index: int) -> str:
    """A name of one or two letters; "merged" is none of them."""
    first, second = divmod(index, len(_LETTERS))
    return _LETTERS[second] if first == 0 else _LETTERS[first - 1] + _LETTERS[second]
