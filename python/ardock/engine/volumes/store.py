"""Volumes on the disk: ``<root>/volumes/<name>/_data``, and ``volume.json`` beside it.

Whether a volume is there is told by its row. While a row is being written or removed its directory bears another name,
``.unsettled-<name>``, which says that the row decides: with a row it is a volume (a removal that was not done, a creation that
was), without one it is rubbish. A directory under its plain name that no row tells of is not rubbish: the database is not the
one that has seen it (lost, or put back from an older copy), and it becomes a volume again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import trio

from ardock import _core
from ardock.engine.failpoints import reach
from ardock.engine.volumes import names
from ardock.engine.volumes.record import Volume, from_file, to_file
from ardock.model.errors import ArdockError, DiskFull, FolderUnusable, InvalidArgument
from ardock.model.volume import ANONYMOUS_LABEL

_T = TypeVar("_T")
_LOG: Final = logging.getLogger("ardock.volumes")
_UNSETTLED: Final = ".unsettled-"
_RUBBISH: Final = ".tmp-"
_DATA: Final = "_data"
_RECORD: Final = "volume.json"
# Threads for volumes: they are busy with the disk, and the engine's other work needs some too.
_THREADS: Final = 4


class Store:
    """The volumes' folder.

    Attributes:
        folder: Its path.
    """

    def __init__(self, root: Path) -> None:
        """In the engine's root folder."""
        self.folder = root / "volumes"
        self._limiter = trio.CapacityLimiter(_THREADS)

    def data(self, name: str) -> Path:
        """The directory of what is in a volume."""
        return self.folder / name / _DATA

    def aside(self, name: str) -> Path:
        """A path beside a volume's data, on the same file system, that is not taken; what is left there goes at the next start."""
        return self.folder / name / f"{_RUBBISH}{secrets.token_hex(8)}"

    async def tidy(self, rows: Iterable[str]) -> list[Volume]:
        """Make the folder, and its content agree with the rows. To be called once, before anything else.

        Returns:
            Volumes that no row tells of.

        Raises:
            FolderUnusable: It cannot be made, read or cleared.
        """
        wanted = frozenset(rows)
        return await self.run(lambda: self._tidy(wanted))

    def _tidy(self, wanted: frozenset[str]) -> list[Volume]:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        adopted: list[Volume] = []
        there: set[str] = set()
        # A list: what is renamed meanwhile must not be met again.
        for entry in list(os.scandir(self.folder)):
            if entry.name.startswith(_UNSETTLED):
                name = entry.name.removeprefix(_UNSETTLED)
                if name in wanted and not (self.folder / name).exists():
                    Path(entry.path).rename(self.folder / name)
                    there.add(name)
                else:
                    _core.remove_tree(entry.path)
            elif entry.name.startswith(_RUBBISH):
                _core.remove_tree(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                there.add(entry.name)
                if entry.name not in wanted:
                    found = self._adopt(entry.name)
                    adopted += [found] if found else []
        for name in there:
            for inner in list(os.scandir(self.folder / name)):
                if inner.name.startswith(_RUBBISH):
                    _core.remove_tree(inner.path)
        for name in wanted:
            if not self.data(name).is_dir():
                # Somebody has removed it by hand.
                _LOG.error("the directory of volume %s is gone: an empty one is made in its place", name)
                self.data(name).mkdir(mode=0o755, parents=True, exist_ok=True)
        return adopted

    def _adopt(self, name: str) -> Volume | None:
        """The volume that a directory without a row is."""
        try:
            names.check(name)
            data = self.data(name).stat()
        except (InvalidArgument, OSError):
            _LOG.warning("%s: is no volume, and left alone", self.folder / name)
            return None
        volume = None
        with contextlib.suppress(FileNotFoundError):
            volume = from_file(name, (self.folder / name / _RECORD).read_bytes())
        if volume is None:
            labels = {ANONYMOUS_LABEL: ""} if len(name) == 64 and set(name) <= set("0123456789abcdef") else {}
            volume = Volume(name=name, labels=labels, created_at=data.st_mtime_ns)
        _LOG.warning("volume %s is not in the state, and taken into it again", name)
        return volume

    # A volume's life, in the order in which it is called

    async def prepare(self, volume: Volume) -> None:
        """Make the directory of a volume whose row is not written yet.

        Raises:
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """

        def run() -> None:
            path = self.folder / f"{_UNSETTLED}{volume.name}"
            if path.exists():
                # A removal that failed half way; its row is gone.
                _core.remove_tree(str(path))
            try:
                path.mkdir(mode=0o700)
                data = path / _DATA
                data.mkdir()
                # Whatever the process's umask is, as Docker's.
                data.chmod(0o755)
                with (path / _RECORD).open("wb") as file:
                    file.write(to_file(volume))
                    file.flush()
                    os.fsync(file.fileno())
                _sync(path)
                _sync(self.folder)
            except BaseException:
                _core.remove_tree(str(path))
                raise
            reach("volume.prepared")

        await self.run(run)

    async def settle(self, name: str) -> None:
        """Its row is written: give it its name.

        Raises:
            FolderUnusable: The disk fails.
        """

        def run() -> None:
            (self.folder / f"{_UNSETTLED}{name}").rename(self.folder / name)
            _sync(self.folder)
            reach("volume.settled")

        await self.run(run)

    async def unsettle(self, name: str) -> None:
        """Its row is going to be removed: from now on that decides.

        Raises:
            FolderUnusable: The disk fails.
        """

        def run() -> None:
            path = self.folder / name
            if path.exists():
                path.rename(self.folder / f"{_UNSETTLED}{name}")
                _sync(self.folder)
            reach("volume.unsettled")

        await self.run(run)

    async def discard(self, name: str) -> None:
        """Remove what was `prepare`d or `unsettle`d and has no row; not to be cancelled.

        Raises:
            FolderUnusable: It cannot be removed. The next start tries again.
        """

        def run() -> None:
            path = self.folder / f"{_UNSETTLED}{name}"
            gone = self.folder / f"{_RUBBISH}{secrets.token_hex(8)}"
            if path.exists():
                path.rename(gone)
                reach("volume.discarding")
                _core.remove_tree(str(gone))

        await self.run(run)

    async def size(self, name: str) -> int:
        """Bytes of its regular files, each counted once.

        Raises:
            FolderUnusable: It cannot be read.
        """
        return await self.run(lambda: _size(self.data(name)))

    async def run_cancellable(self, call: Callable[[_core.CancelFlag], None]) -> None:
        """Call in a thread, which is told when the caller is cancelled, and awaited.

        Raises:
            ArdockError: As `run`.
        """
        cancel = _core.CancelFlag()
        errors: list[ArdockError] = []

        async def watch() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancel.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                await self.run(lambda: call(cancel))
            except ArdockError as error:
                errors.append(error)
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()
        if errors:
            raise errors[0]

    async def run(self, call: Callable[[], _T]) -> _T:
        """Call in a thread; not to be cancelled.

        Raises:
            DiskFull: The disk is full.
            FolderUnusable: It fails otherwise.
        """

        def told() -> _T:
            try:
                return call()
            except OSError as error:
                raise failed(error) from error

        with trio.CancelScope(shield=True):
            result = await trio.to_thread.run_sync(told, limiter=self._limiter)
        return result  # noqa: RET504 - a scope may swallow what leaves it, to mypy


def failed(error: OSError) -> ArdockError:
    """What a failure of the disk means to the user."""
    where = f": {str(error.filename)!r}" if error.filename else ""
    message = f"volumes: {error.strerror or error}{where}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"{message}; free space on that disk")
    return FolderUnusable(message)


def _size(folder: Path) -> int:
    """As moby's ``directory.Size``: what files hold by their length, hard links once; directories themselves not."""
    seen: set[tuple[int, int]] = set()
    total = 0
    folders = [str(folder)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
