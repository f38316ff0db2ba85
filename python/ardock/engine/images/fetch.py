"""One image from a source: which of several, its documents, its layers."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from ardock.engine.content import Blobs, Lease
from ardock.engine.images import platforms
from ardock.engine.images.core import in_thread, together
from ardock.engine.images.formats import (
    MOST_BYTES,
    Descriptor,
    Image,
    Index,
    Manifest,
    chain_ids,
    read_any,
    read_config,
)
from ardock.engine.images.jobs import Tell
from ardock.engine.images.layers import Layers, Wanted
from ardock.engine.images.record import Layer, Record
from ardock.engine.images.sources import Source
from ardock.model.errors import ContentDamaged, InvalidArgument, NotFound
from ardock.model.image import Platform

# An index may name indexes; nobody needs more than a few.
_DEEPEST = 4


class Document(NamedTuple):
    """An index or manifest as it came.

    Attributes:
        media_type: As it was told; empty where it was not.
        digest: Of `data`.
        data: The document.
    """

    media_type: str
    digest: str
    data: bytes


class Transfer(NamedTuple):
    """One image on its way.

    Attributes:
        what: What it is called in errors.
        platform: As ``--platform``; empty: whatever runs here.
        lease: Holds all of it.
        tell: Told how far it is.
    """

    what: str
    platform: str
    lease: Lease
    tell: Tell


class Fetcher:
    """Takes images over from sources."""

    def __init__(self, blobs: Blobs, layers: Layers) -> None:
        """Into these stores."""
        self._blobs = blobs
        self._layers = layers

    async def fetch(self, source: Source, root: Document, transfer: Transfer) -> Record:
        """The image that `root`, an index or a manifest, is or has for the platform, with all that it is made of.

        Returns:
            Its record, without names.

        Raises:
            NotFound: It is not there for the platform.
            As `Layers.ensure`, `formats.read_any` and `Source.read`.
        """
        what, lease = transfer.what, transfer.lease
        document, manifest = await self._choose(
            source, root, what, platforms.parse(transfer.platform), asked=bool(transfer.platform)
        )
        check_size(manifest.config, what)
        data = await source.read(manifest.config, f"the configuration of {what}")
        image = read_config(data, what)
        check_platform(image.platform, transfer)
        lease.hold(manifest.config.digest, document.digest)
        await in_thread(lambda: self._blobs.put(data, manifest.config.digest))
        await in_thread(lambda: self._blobs.put(document.data, document.digest))
        layers = await self.layers(source, image, manifest.layers or [], transfer)
        return record_of(
            manifest.config.digest,
            image,
            layers,
            manifest=document.digest,
            config_type=manifest.config.media_type,
        )

    async def layers(
        self, source: Source, image: Image, descriptors: list[Descriptor], transfer: Transfer
    ) -> tuple[Layer, ...]:
        """All layers of an image, side by side; `descriptors` are of their archives, the lowest first.

        Raises:
            InvalidArgument: There are not as many archives as the configuration has layers.
            As `Layers.ensure`.
        """
        if len(descriptors) != len(image.diff_ids):
            raise InvalidArgument(
                f"{transfer.what} has {len(descriptors)} layers by its manifest and {len(image.diff_ids)} by its configuration"
            )
        chains = chain_ids(image.diff_ids)
        made: dict[int, Layer] = {}

        async def ensure(number: int) -> None:
            wanted = Wanted(image.diff_ids[number], chains[number], chains[:number][::-1], descriptors[number])
            made[number] = await self._layers.ensure(wanted, source, transfer.lease, transfer.tell)

        await together([partial(ensure, number) for number in range(len(chains))])
        return tuple([made[number] for number in range(len(chains))])

    async def _choose(
        self, source: Source, root: Document, what: str, wanted: Platform, *, asked: bool
    ) -> tuple[Document, Manifest]:
        document = root
        for _ in range(_DEEPEST):
            found = read_any(document.data, document.media_type, what)
            if isinstance(found, Manifest):
                return document, found
            descriptor = choose(await in_thread(partial(_there, found, source)), what, wanted, asked=asked)
            check_size(descriptor, what)
            data = await source.read(descriptor, what)
            document = Document(descriptor.media_type, descriptor.digest, data)
        raise InvalidArgument(f"{what} is an index of indexes, {_DEEPEST} deep and more")


def check_platform(offered: Platform, transfer: Transfer) -> None:
    """An image that is there alone is taken without a wish, as Docker does it: an emulator may run it.

    Raises:
        NotFound: It was wished for another platform.
    """
    if not transfer.platform or not offered.architecture:
        return
    wanted = platforms.parse(transfer.platform)
    if platforms.fitness(offered, wanted) is None:
        raise NotFound(f"{transfer.what} is there for {offered} only, not for {wanted}", field="platform")


def _there(index: Index, source: Source) -> Index:
    """An index without what the source lacks: an archive of an image of many platforms may have one alone."""
    there = [descriptor for descriptor in index.manifests or [] if source.has(descriptor.digest)]
    return msgspec.structs.replace(index, manifests=there) if there else index


def choose(index: Index, what: str, wanted: Platform, *, asked: bool = True) -> Descriptor:
    """The manifest of an index that is for a platform; one that is there alone, where none was asked for.

    Raises:
        NotFound: There is none; those that there are, are named.
    """
    manifests = index.manifests or []
    offers = [(descriptor.platform, descriptor) for descriptor in manifests if descriptor.platform is not None]
    found = platforms.best(offers, wanted)
    if found is not None:
        return found
    alone = [descriptor for platform, descriptor in offers if platform.os != "unknown"]
    if len(alone) == 1 and not asked:
        return alone[0]
    # An index without platforms has one image, under several names or none.
    plain = [descriptor for descriptor in manifests if descriptor.platform is None]
    if plain:
        return plain[0]
    # Attestations are manifests, too, "for" an unknown platform.
    there = ", ".join(str(platform) for platform, _ in offers if platform.os != "unknown") or "none"
    raise NotFound(f"{what} is not there for {wanted}; it is for: {there}", field="platform")


def check_size(descriptor: Descriptor, what: str) -> None:
    """A document is not read before its size is known to be one of a document.

    Raises:
        ContentDamaged: It is larger.
    """
    if descriptor.size > MOST_BYTES:
        raise ContentDamaged(
            f"{what} names a document of {descriptor.size} bytes ({descriptor.digest}), and {MOST_BYTES} are taken at most"
        )


def record_of(
    image_id: str, image: Image, layers: tuple[Layer, ...], *, manifest: str = "", config_type: str = ""
) -> Record:
    """The record of an image that has no name yet."""
    return Record(
        id=image_id,
        created_at=image.created_at,
        platform=image.platform if image.platform.architecture else platforms.host(),
        labels=image.config.labels,
        layers=layers,
        manifest=manifest,
        config_type=config_type,
    )
