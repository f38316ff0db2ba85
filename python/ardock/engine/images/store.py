"""Trees on the disk: ``<root>/images/<64 hexadecimal digits>``, one for each image, each made aside and renamed when whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import trio

from ardock import _core
from ardock.engine.failpoints import reach
from ardock.model.errors import (
    ArdockError,
    DiskFull,
    FolderUnusable,
    InvalidArgument,
    NotFound,
    NotPermitted,
    Unsupported,
)

_T = TypeVar("_T")
_ASIDE: Final = ".tmp-"
# Bytes of an archive that are handed to a thread at once: a thread costs some 100 µs each time.
_PIECE: Final = 1 << 20
# Threads for images: they are busy with the disk, and the engine's other work needs some too.
_THREADS: Final = 4


class Tree(NamedTuple):
    """A tree that was made.

    Attributes:
        digest: 64 hexadecimal digits.
        size: Bytes of its regular files.
        files: Number of its entries.
    """

    digest: str
    size: int
    files: int


class Store:
    """The images' folder.

    Attributes:
        folder: Its path.
    """

    def __init__(self, root: Path) -> None:
        """In the engine's root folder."""
        self.folder = root / "images"
        self._root = root
        self._limiter = trio.CapacityLimiter(_THREADS)

    def path(self, digest: str) -> Path:
        """Where a tree is."""
        return self.folder / digest

    async def tidy(self, digests: Iterable[str]) -> None:
        """Make the folder, and remove from it what is no tree of `digests`: what was being made or removed when the engine ended.

        Raises:
            FolderUnusable: It cannot be made, read or cleared.
        """
        wanted = frozenset(digests)

        def run() -> None:
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                for entry in os.scandir(self.folder):
                    if entry.name not in wanted:
                        _core.remove_tree(entry.path)
            except OSError as error:
                raise _unusable(error) from error

        await trio.to_thread.run_sync(run, limiter=self._limiter)

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Path]:
        """An empty folder to make a tree in; removed on leaving if `keep` has not moved it."""
        path = self.folder / f"{_ASIDE}{secrets.token_hex(8)}"
        try:
            path.mkdir()
            # Whatever the process's umask is: the tree's root unless the source says otherwise.
            path.chmod(0o755)
        except OSError as error:
            raise _unusable(error) from error
        try:
            yield path
        finally:
            await self.remove(path)

    async def unpack(self, chunks: AsyncIterator[bytes], target: Path) -> Tree:
        """Unpack a tar that comes in pieces.

        Raises:
            InvalidArgument: It is none, or is damaged or cut off, or leads out of its root.
            Unsupported: It has an entry that is not taken.
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """
        unpacker = _told(lambda: _core.Unpacker(str(target)))
        pieces: list[bytes] = []
        length = 0
        async for chunk in chunks:
            pieces.append(chunk)
            length += len(chunk)
            if length >= _PIECE:
                await self._feed(unpacker, pieces)
                pieces, length = [], 0
        await self._feed(unpacker, pieces)
        return Tree(*await self._run(unpacker.finish))

    async def _feed(self, unpacker: _core.Unpacker, pieces: list[bytes]) -> None:
        # Not to be cancelled: each call is bounded.
        await trio.to_thread.run_sync(_told, lambda: unpacker.feed(b"".join(pieces)), limiter=self._limiter)

    async def copy(self, source: Path, target: Path) -> Tree:
        """Copy a directory, or unpack a tar.

        Raises:
            NotFound: There is no `source`.
            NotPermitted: It may not be read.
            InvalidArgument: It is neither; else as `unpack`.
        """

        def run(cancel: _core.CancelFlag) -> tuple[str, int, int]:
            kind = _kind(source)
            if stat.S_ISDIR(kind):
                return _core.copy_directory(str(source), str(target), [str(self._root)], cancel)
            if not stat.S_ISREG(kind):
                raise InvalidArgument(f"path: {str(source)!r} is neither a directory nor a file", field="path")
            return _unpack_file(source, target, cancel)

        return Tree(*await self._run(run))

    async def keep(self, made: Path, digest: str) -> bool:
        """Give a whole tree its place; whether it is new there. It survives a loss of power.

        Raises:
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """

        def run() -> bool:
            reach("image.keep.before")
            try:
                if self.path(digest).exists():
                    return False
                made.rename(self.path(digest))
                folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            except OSError as error:
                raise _unusable(error) from error
            reach("image.keep.after")
            return True

        return await trio.to_thread.run_sync(run, limiter=self._limiter)

    async def remove(self, path: Path) -> None:
        """Remove a tree, whether whole or not; not to be cancelled.

        Raises:
            FolderUnusable: It cannot be removed. The next start tries again.
        """

        def run() -> None:
            try:
                _core.remove_tree(str(path))
            except OSError as error:
                raise _unusable(error) from error

        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(run, limiter=self._limiter)

    async def _run(self, call: Callable[[_core.CancelFlag], _T]) -> _T:
        """Call in a thread, which is told when the caller is cancelled, and awaited."""
        cancel = _core.CancelFlag()
        results: list[_T] = []
        errors: list[ArdockError] = []

        async def watch() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancel.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                results.append(
                    await trio.to_thread.run_sync(_told, lambda: call(cancel), limiter=self._limiter),
                )
            except ArdockError as error:
                errors.append(error)
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint_if_cancelled()
        if errors:
            raise errors[0]
        return results[0]


def _unpack_file(source: Path, target: Path, cancel: _core.CancelFlag) -> tuple[str, int, int]:
    unpacker = _core.Unpacker(str(target))
    try:
        with source.open("rb", buffering=0) as file:
            while not cancel.is_set and (data := file.read(_PIECE)):
                unpacker.feed(data)
    except OSError as error:
        raise _unreadable(source, error) from error
    return unpacker.finish(cancel)


def _kind(source: Path) -> int:
    try:
        return source.stat().st_mode
    except OSError as error:
        raise _unreadable(source, error) from error
    except ValueError as error:
        raise InvalidArgument(f"path: invalid path {str(source)!r}", field="path") from error


def _unreadable(source: Path, error: OSError) -> ArdockError:
    sentence = f"path: cannot read {str(source)!r}: {error.strerror}"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(sentence, field="path")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return NotPermitted(sentence)
    return InvalidArgument(sentence, field="path")


def _told(call: Callable[[], _T]) -> _T:
    """Call the Rust side; its errors as ours."""
    try:
        return call()
    except _core.LayerError as error:
        kind, message, number = error.args
        if kind == "source" or number == errno.ENAMETOOLONG:
            raise InvalidArgument(f"import: {message}") from error
        if kind == "unsupported":
            raise Unsupported(f"import: {message}") from error
        raise _failed(f"import: {message}", number) from error


def _unusable(error: OSError) -> ArdockError:
    return _failed(f"images: {error.strerror or error}: {str(error.filename or '')!r}", error.errno or 0)


def _failed(message: str, number: int) -> ArdockError:
    return DiskFull(message) if number in {errno.ENOSPC, errno.EDQUOT} else FolderUnusable(message)
