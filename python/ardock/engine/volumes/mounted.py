"""The file systems of volumes that are mounted: each once, for as long as a container uses it.

They are mounted detached and kept in namespaces of their own (`ardock._core.Shelf`), so nothing of them is in the host's mount
table, and nothing is left of them after an engine that was killed but what its containers hold themselves.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import trio

from ardock import _core
from ardock.engine.keepers.mapping import sentence
from ardock.engine.volumes.options import RDONLY, Backing, Directory, Filesystem
from ardock.model.errors import ArdockError, InvalidArgument, LaunchFailed, NotFound
from ardock.model.launch import LaunchError

_LOG: Final = logging.getLogger("ardock.volumes")
# Whose `addr` the kernel takes as a number only.
_BY_ADDRESS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3"})
# What a file server is waited for is nobody else's time.
_THREADS: Final = 16


class BindOptions(NamedTuple):
    """How a copy of a mount is to be; see `ardock._core.open_bind`."""

    recursive: bool = True
    read_only: bool = False
    read_only_recursive: bool = True
    propagation: str = "rprivate"
    attributes: int = 0


class _Kept:
    """One that is mounted.

    Attributes:
        shelf: Keeps it.
        attributes: ``MOUNT_ATTR_*`` that it has.
        holders: Ids of the containers that use it or are going to.
    """

    def __init__(self, shelf: _core.Shelf, attributes: int) -> None:
        self.shelf = shelf
        self.attributes = attributes
        self.holders: set[str] = set()


class Mounted:
    """The mounted file systems of one engine's volumes, by name."""

    def __init__(self) -> None:
        """None."""
        self._kept: dict[str, _Kept] = {}
        self._limiter = trio.CapacityLimiter(_THREADS)

    def __contains__(self, name: str) -> bool:
        """It is mounted."""
        return name in self._kept

    async def hold(self, name: str, filesystem: Filesystem, holder: str) -> int | None:
        """See that a volume's file system is mounted until `let_go` of this holder; nobody else does so meanwhile.

        Returns:
            Its device number where it was mounted now.

        Raises:
            LaunchFailed: The kernel refuses an option, or the device.
            NotFound: There is no such device, or no such host.
        """
        kept = self._kept.get(name)
        if kept is not None:
            kept.holders.add(holder)
            return None
        shelf, device = await self._in_thread(lambda: _mount(name, filesystem))
        self._kept[name] = kept = _Kept(shelf, filesystem.attributes)
        kept.holders.add(holder)
        return device

    async def take_over(
        self, name: str, filesystem: Filesystem, holder: str, *, pid: int, target: str, device: int
    ) -> bool:
        """Keep what a container that an earlier engine has started shows at `target`; whether it is what is wanted."""
        kept = self._kept.get(name)
        if kept is None:
            try:
                shelf = await self._in_thread(lambda: (_take_over(pid, target, device, filesystem), 0))
            except (_core.HostError, OSError) as error:
                _LOG.warning("volume %s: cannot be had from its container: %s", name, error)
                return False
            self._kept[name] = kept = _Kept(shelf[0], filesystem.attributes)
        kept.holders.add(holder)
        return True

    def let_go(self, name: str, holder: str) -> Callable[[], None] | None:
        """A holder is gone; with the last one, what unmounts it: to be called in a thread."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        kept.holders.discard(holder)
        if kept.holders:
            return None
        del self._kept[name]
        return kept.shelf.close

    def used_beside(self, name: str, holder: str) -> bool:
        """Somebody else holds it, too."""
        kept = self._kept.get(name)
        return kept is not None and bool(kept.holders - {holder})

    def copy(self, name: str, options: BindOptions, subpath: str) -> tuple[int, bool]:
        """A detached copy of a mounted one, and whether it is no directory.

        Raises:
            _core.HostError: It cannot be had.
        """
        kept = self._kept[name]
        options = options._replace(
            read_only=options.read_only or bool(kept.attributes & RDONLY), attributes=kept.attributes & ~RDONLY
        )
        return kept.shelf.copy(options, subpath or None)

    async def close(self) -> None:
        """Let go of all: containers that go on keep their copies."""
        kept, self._kept = self._kept, {}
        with trio.CancelScope(shield=True):
            for each in kept.values():
                await trio.to_thread.run_sync(each.shelf.close, limiter=self._limiter)

    async def _in_thread(self, call: Callable[[], tuple[_core.Shelf, int]]) -> tuple[_core.Shelf, int]:
        """Call in a thread; cancelled, what comes of it later is let go of: a file server may take for ever."""
        lock = threading.Lock()
        made: list[tuple[_core.Shelf, int]] = []
        abandoned = False

        def run() -> None:
            result = call()
            with lock:
                if not abandoned:
                    made.append(result)
                    return
            result[0].close()

        try:
            await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
        except trio.Cancelled:
            with lock:
                abandoned = True
            for shelf, _ in made:
                shelf.close()
            raise
        return made[0]


def _mount(name: str, filesystem: Filesystem) -> tuple[_core.Shelf, int]:
    options = filesystem.options
    if filesystem.kind in _BY_ADDRESS:
        options = tuple((key, _address(name, value) if key == "addr" and value else value) for key, value in options)
    try:
        fd = _core.mount_filesystem(filesystem.kind, filesystem.device, options, filesystem.attributes)
        try:
            shelf = _core.Shelf()
            shelf.put(fd)
            return shelf, os.fstat(fd).st_dev
        finally:
            os.close(fd)
    except _core.HostError as error:
        raise failed(name, error) from None


def _address(name: str, host: str) -> str:
    """The number of a host, which the kernel does not look up."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotFound(f"volume {name}: addr={host}: {error.strerror or error}", field="options") from None
    return str(found[0][4][0])


def _take_over(pid: int, target: str, device: int, filesystem: Filesystem) -> _core.Shelf:
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        shelf = _core.Shelf()
        shelf.take_over(namespace, target, device, filesystem.attributes)
    finally:
        os.close(namespace)
    return shelf


def open_directory(path: Path, backing: Backing | None, options: BindOptions, subpath: str) -> tuple[int, bool]:
    """A volume that is a directory, of the engine's (`path`) or of the host's, as a detached mount, and whether it is a file.

    Raises:
        _core.HostError: It cannot be had.
    """
    if isinstance(backing, Directory):
        options = options._replace(
            recursive=backing.recursive,
            read_only=options.read_only or bool(backing.attributes & RDONLY),
            propagation=backing.propagation,
            attributes=backing.attributes & ~RDONLY,
        )
        path = Path(backing.path)
    return _core.open_bind(str(path), options, subpath or None)


def failed(name: str, error: _core.HostError) -> ArdockError:
    """What a mount that failed means to the user."""
    step, subject, number, hint, _ = error.args
    told = f"volume {name}: {sentence(LaunchError(step=step, subject=subject, errno=number, hint=hint, exit_code=125))}"
    if not number:
        return InvalidArgument(told, field="mounts")
    if number in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        return NotFound(told, field="mounts")
    return LaunchFailed(told, step=step, subject=subject, errno=number, hint=hint)
