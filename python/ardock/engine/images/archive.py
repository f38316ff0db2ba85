"""Image archives: OCI layouts (folders and tars) and Docker's, as sources.

Sources: OCI image specification, image-layout.md; moby's image/spec/v1.2, "Combined Image JSON + Filesystem Changeset Format".
An archive that is no plain file is spooled to the disk first: its table of contents may be its last entry, and its layers
are taken side by side.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

import msgspec

from ardock.engine.content.disk import unusable
from ardock.engine.images.core import in_thread
from ardock.engine.images.formats import MOST_BYTES, Descriptor, Index, read_index
from ardock.engine.images.sources import Sink
from ardock.model.errors import ContentDamaged, InvalidArgument, NotFound

_LAYOUT: Final = "oci-layout"
_INDEX: Final = "index.json"
_MANIFEST: Final = "manifest.json"
# More entries than any image has layers and documents: a hostile archive is not to fill the memory with its names.
_MOST_ENTRIES: Final = 100_000
_MOST_NAMES: Final = 32 << 20
_LINKS: Final = 16
_LONGEST_HEADER: Final = 1 << 20


class Place(NamedTuple):
    """Where one file of an archive lies."""

    path: Path
    offset: int
    size: int


class Files(Protocol):
    """The files of an archive, by name; blocks."""

    def find(self, name: str) -> Place | None:
        """One of them; None: there is none."""


class FolderFiles:
    """The files of a layout that is a folder."""

    def __init__(self, folder: Path) -> None:
        """`folder` is there."""
        self._folder = folder.resolve()

    def find(self, name: str) -> Place | None:
        """See `Files`; links may lead anywhere beneath the folder, and not out of it."""
        try:
            path = (self._folder / name).resolve(strict=True)
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
            return Place(path, 0, path.stat().st_size)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            # ValueError: a name with a NUL in it, which no file has.
            return None
        except OSError as error:
            raise unusable(error, str(self._folder)) from error


class TarFiles:
    """The files of a tar, found by its headers alone."""

    def __init__(self, path: Path, what: str) -> None:
        """Read the headers; blocks.

        Raises:
            InvalidArgument: It is no tar, is damaged, or has too many entries.
            FolderUnusable: It cannot be read.
        """
        self._places: dict[str, Place] = {}
        self._links: dict[str, str] = {}
        try:
            with path.open("rb") as file, tarfile.open(fileobj=_Headers(file), mode="r:") as archive:
                size = path.stat().st_size
                names = 0
                for count, member in enumerate(archive):
                    if count >= _MOST_ENTRIES:
                        raise InvalidArgument(f"{what} has more than {_MOST_ENTRIES} entries: it is no image archive")
                    name = _clean(member.name)
                    names += len(member.name) + len(member.linkname)
                    if names > _MOST_NAMES:
                        raise InvalidArgument(
                            f"{what} has names of more than {_MOST_NAMES} bytes: it is no image archive"
                        )
                    if member.isreg() and not member.issparse():
                        if member.offset_data + member.size > size:
                            raise InvalidArgument(f"{what} was cut off within {member.name!r}")
                        self._places[name] = Place(path, member.offset_data, member.size)
                    elif member.issym():
                        # `docker save` of old names a layer that two images share by a link.
                        self._links[name] = _clean(posixpath.join(posixpath.dirname(member.name), member.linkname))
                    elif member.islnk():
                        self._links[name] = _clean(member.linkname)
        except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"{what} is no image archive, or was cut off: {error}") from None
        except OSError as error:
            raise unusable(error, what) from error

    def find(self, name: str) -> Place | None:
        """See `Files`."""
        name = _clean(name)
        for _ in range(_LINKS):
            place = self._places.get(name)
            if place is not None:
                return place
            if name not in self._links:
                return None
            name = self._links[name]
        return None


class _Headers(io.RawIOBase):
    """A tar's file, of which headers alone are read: Python's reader takes an extended one into memory whatever its length."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"an extended header is longer than {_LONGEST_HEADER} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _clean(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


class DockerImage(msgspec.Struct, rename="pascal"):
    """An entry of ``manifest.json``."""

    config: str = ""
    repo_tags: list[str] | None = None
    layers: list[str] | None = None


class Archive:
    """An archive's table of contents, and a source of what is in it.

    Attributes:
        index: Of an OCI layout; None: it is Docker's own format.
        images: What ``manifest.json`` has.
    """

    local = True

    def __init__(self, files: Files, what: str) -> None:
        """Read the table of contents; blocks.

        Raises:
            InvalidArgument: It has none, or it is damaged.
        """
        self._files = files
        self._what = what
        self.index: Index | None = None
        self.images: list[DockerImage] = []
        manifest = self.content(_MANIFEST) if files.find(_MANIFEST) is not None else None
        if files.find(_LAYOUT) is not None and files.find(_INDEX) is not None:
            self.index = read_index(self.content(_INDEX), f"index.json of {what}")
        elif manifest is None:
            raise InvalidArgument(
                f"{what} is no image archive: it has neither oci-layout and index.json nor manifest.json (a file system is taken by "
                "ardock import)"
            )
        if manifest is not None:
            try:
                self.images = msgspec.json.decode(manifest, type=list[DockerImage])
            except (msgspec.MsgspecError, ValueError) as error:
                raise InvalidArgument(f"manifest.json of {what} is damaged: {error}") from None

    def content(self, name: str) -> bytes:
        """A document; blocks.

        Raises:
            InvalidArgument: It is not there, or too long for one.
        """
        place = self._files.find(name)
        if place is None:
            raise InvalidArgument(f"{self._what} has no {name!r}, which it names: it is not whole")
        if place.size > MOST_BYTES:
            raise InvalidArgument(f"{name!r} of {self._what} has {place.size} bytes, and is to be a document")
        try:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                return file.read(place.size)
        except OSError as error:
            raise unusable(error, self._what) from error

    def place(self, name: str) -> Place:
        """Where a file is.

        Raises:
            InvalidArgument: It is not there.
        """
        place = self._files.find(name)
        if place is None:
            raise InvalidArgument(f"{self._what} has no {name!r}, which it names: it is not whole")
        return place

    def has(self, digest: str) -> bool:
        """Whether a blob of the layout is there."""
        return self._files.find(_blob(digest)) is not None

    async def read(self, descriptor: Descriptor, what: str) -> bytes:
        """See `Source`."""
        if not await in_thread(lambda: self.has(descriptor.digest)):
            raise NotFound(f"{what}: {self._what} has no blob {descriptor.digest}")
        data = await in_thread(lambda: self.content(_blob(descriptor.digest)))
        algorithm, _, digits = descriptor.digest.partition(":")
        if hashlib.new(algorithm, data).hexdigest() != digits:
            raise ContentDamaged(f"{what}: the blob {descriptor.digest} of {self._what} is damaged")
        return data

    async def pour(self, descriptor: Descriptor, sink: Sink) -> None:
        """See `Source`. A layer of Docker's own format has no digest: its name is told as an annotation."""
        name = (descriptor.annotations or {}).get(NAME) or _blob(descriptor.digest)
        place = await in_thread(lambda: self.place(name))
        await sink.feed_file(place.path, place.offset, place.size)

    def elsewhere(self) -> None:
        """See `Source`."""


NAME: Final = "name"
"""Annotation of a descriptor that is made here: the file of the archive that it is."""


def _blob(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"blobs/{algorithm}/{digits}"


def open_archive(path: Path, what: str) -> Archive:
    """A folder or an uncompressed tar; blocks.

    Raises:
        InvalidArgument: It is neither, or no image archive.
    """
    opened: Callable[[], Files] = (lambda: FolderFiles(path)) if path.is_dir() else (lambda: TarFiles(path, what))
    return Archive(opened(), what)
