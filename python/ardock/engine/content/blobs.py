"""Blobs on the disk: ``<root>/content/<algorithm>/<hex>``, each written aside, verified, and renamed when whole."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path
from typing import Final

from ardock import _core
from ardock.engine.content.disk import unusable
from ardock.engine.failpoints import reach
from ardock.model.errors import ContentDamaged, FolderUnusable, NotFound
from ardock.model.reference import DIGEST_DIGITS

_ASIDE: Final = ".tmp-"
_GONE: Final = ".gone-"
_PIECE: Final = 1 << 20
_LOG: Final = logging.getLogger("ardock.engine.images")


class Blobs:
    """The content store of one engine. What blocks says so, and is for worker threads; the rest is from memory.

    Attributes:
        folder: Its path.
    """

    def __init__(self, root: Path) -> None:
        """In the engine's root folder."""
        self.folder = root / "content"
        self._sizes: dict[str, int] = {}
        self._unknown: set[str] = set()

    def __repr__(self) -> str:
        """How many there are."""
        return f"<Blobs: {len(self._sizes) + len(self._unknown)} in {self.folder}>"

    def open(self) -> set[str]:
        """Make the folder, remove what was not whole, and learn what there is; blocks.

        Returns:
            The digests of all blobs.

        Raises:
            FolderUnusable: It cannot be made, read or cleared.
            DiskFull: It cannot be made.
        """
        try:
            for algorithm in DIGEST_DIGITS:
                (self.folder / algorithm).mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in os.scandir(self.folder):
                if entry.name.startswith((_ASIDE, _GONE)):
                    Path(entry.path).unlink()
            for algorithm in DIGEST_DIGITS:
                # Their sizes are looked up when somebody asks: thousands of stat calls would be most of an engine's opening.
                for name in os.listdir(self.folder / algorithm):  # noqa: PTH208 - names alone
                    if len(name) == DIGEST_DIGITS[algorithm]:
                        self._unknown.add(f"{algorithm}:{name}")
        except OSError as error:
            raise unusable(error) from error
        return set(self._unknown)

    def path(self, digest: str) -> Path:
        """Where a blob is or will be."""
        algorithm, _, digits = digest.partition(":")
        return self.folder / algorithm / digits

    def __contains__(self, digest: str) -> bool:
        """Whether it is there, whole."""
        return digest in self._sizes or digest in self._unknown

    def digests(self) -> list[str]:
        """All of them, in order."""
        return sorted(self._sizes.keys() | self._unknown)

    def size(self, digest: str) -> int:
        """Bytes of one that is there; 0 of one that is not. In the loop's thread: it looks, and remembers, in one step."""
        if digest in self._unknown:
            try:
                self._sizes[digest] = self.path(digest).stat().st_size
            except OSError:
                return 0
            self._unknown.discard(digest)
        return self._sizes.get(digest, 0)

    def total(self) -> int:
        """Bytes of all; blocks, and remembers nothing."""
        total = 0
        for digest in self.digests():
            with contextlib.suppress(OSError):
                total += self._sizes.get(digest) or self.path(digest).stat().st_size
        return total

    def aside(self) -> Path:
        """A new path for a file that is to become a blob by `keep`, or to be removed by `discard`."""
        return self.folder / f"{_ASIDE}{secrets.token_hex(8)}"

    def keep(self, made: Path, digest: str) -> None:
        """Give a verified, synced file its place; blocks. It survives a loss of power. Where the blob is there, `made` goes.

        Raises:
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """
        reach("blob.keep.before")
        target = self.path(digest)
        try:
            size = made.stat().st_size
            made.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise unusable(error) from error
        reach("blob.keep.after")
        # In this order: it is there, whoever looks in between.
        self._sizes[digest] = size
        self._unknown.discard(digest)

    def put(self, data: bytes, digest: str | None = None) -> str:
        """Store a small content; blocks. It survives a loss of power.

        Args:
            data: The content.
            digest: What it must be; None takes its SHA-256.

        Raises:
            ContentDamaged: It is another content.
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """
        algorithm = "sha256" if digest is None else digest.partition(":")[0]
        found = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if digest is not None and found != digest:
            raise ContentDamaged(f"{digest}: the content that came has the digest {found}")
        if found in self:
            return found
        made = self.aside()
        try:
            with made.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            discard(made)
            raise unusable(error) from error
        try:
            self.keep(made, found)
        except BaseException:
            discard(made)
            raise
        return found

    def read(self, digest: str, *, most: int) -> bytes:
        """A small content, verified; blocks.

        Raises:
            NotFound: It is not there.
            ContentDamaged: It is longer than `most`, or not what its digest says: the disk has damaged it.
            FolderUnusable: The disk fails.
        """
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(most + 1)
        except FileNotFoundError:
            raise NotFound(
                f"content {digest} is not in the store (ardock image fsck tells what else is missing)"
            ) from None
        except OSError as error:
            raise unusable(error) from error
        algorithm = digest.partition(":")[0]
        if len(data) > most:
            raise ContentDamaged(f"{digest}: longer than the {most} bytes that such a content may have")
        if f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}" != digest:
            raise ContentDamaged(
                f"{digest}: damaged on the disk: ardock image fsck tells what else is, and mends what can be"
            )
        return data

    def verify(self, digest: str, cancel: _core.CancelFlag) -> tuple[bool, int]:
        """Whether a blob is what its digest says, and its bytes; blocks.

        Raises:
            FolderUnusable: The disk fails.
        """
        hashed = hashlib.new(digest.partition(":")[0])
        count = 0
        try:
            with self.path(digest).open("rb", buffering=0) as file:
                while not cancel.is_set and (data := file.read(_PIECE)):
                    hashed.update(data)
                    count += len(data)
        except FileNotFoundError:
            return False, 0
        except OSError as error:
            raise unusable(error) from error
        return hashed.hexdigest() == digest.partition(":")[2], count

    def drop(self, digests: Iterable[str]) -> list[Path]:
        """Take blobs out of the store; their bytes are at the paths returned, for `discard`, which may take its time.

        A rename each, so that a name is free before anybody can look: the same blob may come anew at once.
        """
        gone = []
        for digest in digests:
            self._sizes.pop(digest, None)
            self._unknown.discard(digest)
            path = self.folder / f"{_GONE}{secrets.token_hex(8)}"
            try:
                self.path(digest).rename(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                # Nobody's any more, and the next opening removes it.
                _LOG.warning("cannot remove %s: %s", digest, error)
                continue
            gone.append(path)
        return gone


def digest_of(data: bytes) -> str:
    """The SHA-256 of a small content, as a digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def discard(path: Path) -> None:
    """Remove a file that may be there; blocks.

    Raises:
        FolderUnusable: It cannot be removed. The next start tries again.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FolderUnusable(f"{path}: {error.strerror}") from error


def write_all(file: RawIOBase, data: bytes) -> None:
    """Write all of `data`, however the disk takes it; blocks.

    Raises:
        OSError: The disk failed, or is full.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def sync_folder(folder: Path) -> None:
    """Let a folder's new names survive a loss of power; blocks.

    Raises:
        OSError: The disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
