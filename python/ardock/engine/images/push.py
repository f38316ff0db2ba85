"""An image to a registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from io import RawIOBase
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ardock.engine.content import Blobs, Lease
from ardock.engine.content.blobs import digest_of
from ardock.engine.content.disk import unusable
from ardock.engine.images.catalogue import Catalogue
from ardock.engine.images.core import in_thread, together
from ardock.engine.images.formats import (
    MOST_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    read_manifest,
    write_manifest,
)
from ardock.engine.images.jobs import Tell
from ardock.engine.images.layers import Layers
from ardock.engine.images.pieces import FilePieces
from ardock.engine.images.record import Layer, Record
from ardock.model.image import Progress, Pushed
from ardock.model.reference import Reference, parse_reference

if TYPE_CHECKING:
    from ardock.engine.registry.repository import Repository  # imported with the first pull alone

_AT_ONCE: Final = 5


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """An image as it is given away.

    Attributes:
        manifest: Of the manifest, which is in the store.
        data: The manifest itself.
        config: Of its configuration.
        layers: Of its layers' archives, which are in the store; the lowest first.
    """

    manifest: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Giver:
    """Makes images ready to be given away, and pushes them."""

    def __init__(self, catalogue: Catalogue, blobs: Blobs, layers: Layers) -> None:
        """From these stores."""
        self._catalogue = catalogue
        self._blobs = blobs
        self._layers = layers

    async def package(self, record: Record, lease: Lease, tell: Tell) -> Packaged:
        """An image's manifest and archives: those that it came with, or else new ones, which it has from then on.

        Raises:
            DiskFull: There is no room for them.
            ContentDamaged: A layer is no longer what it was.
            FolderUnusable: The disk fails.
        """
        lease.hold(*record.things)
        if record.manifest and record.manifest in self._blobs:
            data = await in_thread(lambda: self._blobs.read(record.manifest, most=MOST_BYTES))
            manifest = read_manifest(data, f"image {record.id}")
            if all(layer.digest in self._blobs for layer in manifest.layers or ()):
                descriptor = Descriptor(
                    media_type=manifest.media_type or OCI_MANIFEST, digest=record.manifest, size=len(data)
                )
                return _packaged(descriptor, data, manifest)
        layers: dict[int, Layer] = {}

        async def ensure(number: int) -> None:
            layers[number] = await self._layers.ensure_archive(record, number, lease, tell)

        await together([partial(ensure, number) for number in range(len(record.layers))])
        descriptors = [
            Descriptor(media_type=layer.media_type, digest=layer.blob, size=layer.size)
            for layer in (layers[number] for number in range(len(record.layers)))
        ]
        config = Descriptor(media_type=OCI_CONFIG, digest=record.id, size=self._blobs.size(record.id))
        data = write_manifest(config, descriptors)
        digest = digest_of(data)
        lease.hold(digest)
        await in_thread(lambda: self._blobs.put(data, digest))
        made = tuple([layers[number] for number in range(len(record.layers))])

        def change(known: Record) -> Record:
            # A pull may have brought the image's own meanwhile.
            if known.manifest != record.manifest:
                return known
            return msgspec.structs.replace(known, layers=made, manifest=digest, config_type=OCI_CONFIG)

        await self._catalogue.change(record.id, change)
        descriptor = Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(data))
        return _packaged(descriptor, data, read_manifest(data, f"image {record.id}"))

    async def push(
        self, record: Record, repository: Repository, reference: Reference, lease: Lease, tell: Tell
    ) -> Pushed:
        """Send an image to a repository under the tag of `reference`.

        Raises:
            NotPermitted: The registry does not let us.
            RegistryUnavailable: It cannot be reached, or breaks.
            As `package`.
        """
        packaged = await self.package(record, lease, tell)
        sources = self._sources(record, reference)
        turns = trio.CapacityLimiter(_AT_ONCE)

        async def send(descriptor: Descriptor) -> None:
            tell(Progress(part=descriptor.digest, status="waiting", total=descriptor.size))
            async with turns:
                await self._send(repository, descriptor, sources, tell)

        # A layer may be in an image several times (an empty one often is).
        blobs = {descriptor.digest: descriptor for descriptor in packaged.layers}
        await together([partial(send, descriptor) for descriptor in blobs.values()])
        # What a manifest names must be there before it, so the configuration is last but one.
        await self._send(repository, packaged.config, sources, lambda _: None)
        tag = reference.tagged().tag
        digest = await repository.put_manifest(tag, packaged.manifest.media_type, packaged.data)
        known = f"{reference.familiar_name}@{digest}"

        def change(found: Record) -> Record:
            return msgspec.structs.replace(found, digests=tuple(sorted({*found.digests, known})))

        await self._catalogue.change(record.id, change, action="push", name=f"{reference.familiar_name}:{tag}")
        return Pushed(reference=f"{reference.familiar_name}:{tag}", digest=digest, size=len(packaged.data))

    def _sources(self, record: Record, reference: Reference) -> list[str]:
        """Other repositories of the same registry that have (had) these layers: it need not be sent them again."""
        sources = []
        chains = set(record.chains)
        for other in self._catalogue.index:
            if not chains.isdisjoint(other.chains):
                for digest in other.digests:
                    known = parse_reference(digest)
                    if known.registry == reference.registry and known.repository != reference.repository:
                        sources.append(known.repository)
        return list(dict.fromkeys(sources))

    async def _send(self, repository: Repository, descriptor: Descriptor, sources: list[str], tell: Tell) -> None:
        digest, size = descriptor.digest, descriptor.size
        if await repository.exists(digest) is not None:
            tell(Progress(part=digest, status="exists", done=size, total=size))
            return
        for source in sources:
            if await repository.mount(digest, source):
                tell(Progress(part=digest, status="mounted", done=size, total=size))
                return

        def on_bytes(count: int) -> None:
            tell(Progress(part=digest, status="uploading", done=count, total=size))

        await repository.upload(digest, size, lambda offset: self._pieces(digest, offset), on_bytes)
        tell(Progress(part=digest, status="pushed", done=size, total=size))

    @asynccontextmanager
    async def _pieces(self, digest: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """A blob from a place on."""
        path = self._blobs.path(digest)

        def opened() -> RawIOBase:
            file = path.open("rb", buffering=0)
            file.seek(offset)
            return file

        try:
            file = await in_thread(opened)
        except OSError as error:
            raise unusable(error) from error
        try:
            yield FilePieces(file)
        finally:
            file.close()


def _packaged(descriptor: Descriptor, data: bytes, manifest: Manifest) -> Packaged:
    layers = tuple(
        [
            Descriptor(media_type=layer.media_type or OCI_LAYER, digest=layer.digest, size=layer.size)
            for layer in manifest.layers or ()
        ]
    )
    config = Descriptor(media_type=manifest.config.media_type, digest=manifest.config.digest, size=manifest.config.size)
    return Packaged(manifest=descriptor, data=data, config=config, layers=layers)
