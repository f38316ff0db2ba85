"""Images of archives, into the store."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from ardock import _core
from ardock.engine.content import Blobs, Lease
from ardock.engine.content.blobs import digest_of, discard, write_all
from ardock.engine.content.disk import unreadable, unusable
from ardock.engine.images import platforms
from ardock.engine.images.archive import NAME, Archive, DockerImage, open_archive
from ardock.engine.images.catalogue import Catalogue, New
from ardock.engine.images.core import in_thread, told
from ardock.engine.images.fetch import Document, Fetcher, Transfer, check_platform, record_of
from ardock.engine.images.formats import Descriptor, Index, read_config
from ardock.engine.images.jobs import Tell
from ardock.engine.images.pieces import pieces
from ardock.engine.images.record import Record
from ardock.model.errors import InvalidArgument, Unsupported
from ardock.model.image import Loaded, Progress
from ardock.model.reference import parse_reference

_CONTAINERD_NAME: Final = "io.containerd.image.name"
_REF_NAME: Final = "org.opencontainers.image.ref.name"
# gzip, zstd, and xz and bzip2, which are refused by name.
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")


class Loader:
    """Takes archives over."""

    def __init__(self, catalogue: Catalogue, blobs: Blobs, fetcher: Fetcher) -> None:
        """Into these stores."""
        self._catalogue = catalogue
        self._blobs = blobs
        self._fetcher = fetcher

    async def load(self, source: Path | AsyncIterator[bytes], platform: str, tell: Tell) -> list[Loaded]:
        """See `ardock.interface.Images.load`."""
        platforms.parse(platform)
        async with self._opened(source, tell) as archive:
            with self._catalogue.leases.lease() as lease:
                # All of it or nothing: names are given when every image is here.
                found = await self._images(archive, platform, lease, tell)

                def result(kept: Sequence[Record]) -> bytes:
                    return msgspec.msgpack.encode(_loaded(kept, found))

                new = [New(record, tuple(names)) for record, names in found]
                kept = await self._catalogue.keep_all(new, action="load", result=result)
                return _loaded(kept, found)

    async def _images(
        self, archive: Archive, platform: str, lease: Lease, tell: Tell
    ) -> list[tuple[Record, list[str]]]:
        found: dict[str, tuple[Record, list[str]]] = {}
        if archive.index is not None:
            index = archive.index
            for descriptor in await in_thread(lambda: _images_of(archive, index)):
                names = names_of(descriptor)
                what = names[0] if names else f"image {descriptor.digest}"
                root = Document(descriptor.media_type, descriptor.digest, await archive.read(descriptor, what))
                record = await self._fetcher.fetch(archive, root, Transfer(what, platform, lease, tell))
                found.setdefault(record.id, (record, []))[1].extend(names)
        else:
            for image in archive.images:
                what = (image.repo_tags or [image.config])[0]
                record = await self._docker(archive, image, Transfer(what, platform, lease, tell))
                found.setdefault(record.id, (record, []))[1].extend(_tags(image))
        if not found:
            raise InvalidArgument("load: the archive has no image in it")
        return [(record, list(dict.fromkeys(names))) for record, names in found.values()]

    async def _docker(self, archive: Archive, image: DockerImage, transfer: Transfer) -> Record:
        data = await in_thread(lambda: archive.content(image.config))
        document = read_config(data, f"the configuration of {transfer.what}")
        check_platform(document.platform, transfer)
        descriptors = []
        for name in image.layers or []:
            place = await in_thread(partial(archive.place, name))
            descriptors.append(Descriptor(media_type="", digest="", size=place.size, annotations={NAME: name}))
        image_id = digest_of(data)
        transfer.lease.hold(image_id)
        await in_thread(lambda: self._blobs.put(data, image_id))
        layers = await self._fetcher.layers(archive, document, descriptors, transfer)
        return record_of(image_id, document, layers)

    @asynccontextmanager
    async def _opened(self, source: Path | AsyncIterator[bytes], tell: Tell) -> AsyncIterator[Archive]:
        """The archive; one that is no plain file or folder is on the disk as long as the context is open."""
        made: list[Path] = []
        try:
            if isinstance(source, Path):
                path, what = source, str(source)
            else:
                path, what = self._aside(made), "the archive"
                await self._spool(source, path, what, tell)
            magic = await in_thread(lambda: _magic(path))
            if magic.startswith(_COMPRESSED):
                plain = self._aside(made)
                flag = _core.CancelFlag()
                compressed = path
                await in_thread(
                    lambda: told(lambda: _core.decompress_file(str(compressed), str(plain), flag), what), flag
                )
                path = plain
            yield await in_thread(lambda: open_archive(path, what))
        finally:
            with trio.CancelScope(shield=True):
                for each in made:
                    await in_thread(partial(discard, each))

    def _aside(self, made: list[Path]) -> Path:
        made.append(self._blobs.aside())
        return made[-1]

    async def _spool(self, chunks: AsyncIterator[bytes], path: Path, what: str, tell: Tell) -> None:
        try:
            file = await in_thread(lambda: path.open("xb", buffering=0))
            try:
                count = 0
                async for data in pieces(chunks):
                    await in_thread(partial(write_all, file, data))
                    count += len(data)
                    tell(Progress(part=what, status="loading", done=count))
            finally:
                file.close()
        except OSError as error:
            raise unusable(error) from error


def _loaded(kept: Sequence[Record], found: Sequence[tuple[Record, list[str]]]) -> list[Loaded]:
    return [Loaded(id=record.id, names=tuple(names)) for record, (_, names) in zip(kept, found, strict=True)]


def names_of(descriptor: Descriptor) -> list[str]:
    """The names that an entry of an ``index.json`` gives an image, in Docker's familiar form.

    containerd's and Docker's annotation has the whole name; the specification's own has what its writer likes, skopeo the whole
    name and umoci a bare tag, which names nothing.
    """
    annotations = descriptor.annotations or {}
    for text in (annotations.get(_CONTAINERD_NAME, ""), annotations.get(_REF_NAME, "")):
        if not text or not (set("/:") & set(text)):
            continue
        try:
            reference = parse_reference(text)
        except (InvalidArgument, Unsupported):
            continue
        if reference.tag or not reference.digest:
            return [msgspec.structs.replace(reference, digest="").tagged().familiar]
    return []


def _tags(image: DockerImage) -> list[str]:
    names = []
    for tag in image.repo_tags or []:
        reference = parse_reference(tag, field="RepoTags")
        # A digest says what an image is; an archive that gives one away would say that it is another.
        if reference.digest:
            raise InvalidArgument(f"RepoTags: {tag!r} has a digest, which cannot be given away", field="RepoTags")
        names.append(reference.tagged().familiar)
    return names


def _images_of(archive: Archive, index: Index) -> list[Descriptor]:
    """Those of which something is in the archive: of an image of many platforms it may have one alone."""
    return [descriptor for descriptor in index.manifests or [] if archive.has(descriptor.digest)]


def _magic(path: Path) -> bytes:
    """A file's first bytes; none of a folder."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            return b""
        # To open a named pipe is to wait for whoever writes.
        if not stat.S_ISREG(kind):
            raise InvalidArgument(f"source: {str(path)!r} is neither a directory nor a file", field="source")
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise unreadable(path, error, "source") from error
    except ValueError as error:
        raise InvalidArgument(f"source: invalid path {str(path)!r}", field="source") from error
