"""An image's row in the database, and what follows from it."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import msgspec

from ardock.engine.images.formats import chain_ids
from ardock.model.errors import FolderUnusable
from ardock.model.image import ImageInfo, Platform

# Raised when a row of this release could not be read by the one before it.
_VERSION: Final = 1


class Layer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One layer of an image.

    Attributes:
        diff_id: Digest of its uncompressed archive.
        blob: Digest of the archive as it is in the content store; empty: it is made of the unpacked layer when it is needed.
        size: Bytes of the blob.
        media_type: Of the blob.
        content: Bytes of its regular files.
        files: Its entries.
    """

    diff_id: str
    blob: str = ""
    size: int = 0
    media_type: str = ""
    content: int = 0
    files: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """An image, as it is written down.

    Attributes:
        id: Digest of its configuration, which is a blob.
        names: ``name:tag`` each.
        digests: ``name@sha256:...`` each.
        created_at: As its configuration says, ns since 1970; 0 where it does not.
        added_at: When it came here first, ns since 1970.
        tagged_at: When it got its last name, ns since 1970.
        platform: What it runs on.
        labels: Of its configuration.
        layers: The lowest first.
        manifest: Digest of the manifest it came with or was pushed with, which is a blob; empty: none yet.
        config_type: Media type of its configuration in that manifest.
        version: Of the row's form.
    """

    id: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    created_at: int = 0
    added_at: int = 0
    tagged_at: int = 0
    platform: Platform = Platform(os="linux", architecture="amd64")
    labels: dict[str, str] = {}
    layers: tuple[Layer, ...] = ()
    manifest: str = ""
    config_type: str = ""
    version: int = _VERSION

    @cached_property
    def chains(self) -> tuple[str, ...]:
        """The names of its unpacked layers, the lowest first."""
        return chain_ids(tuple([layer.diff_id for layer in self.layers]))

    @cached_property
    def things(self) -> tuple[str, ...]:
        """What it holds in the stores, as `Leases` names it."""
        blobs = [self.id, self.manifest, *(layer.blob for layer in self.layers)]
        return (*filter(None, blobs), *map(chain_thing, self.chains))

    @property
    def info(self) -> ImageInfo:
        """As a list shows it."""
        return ImageInfo(
            id=self.id,
            names=self.names,
            digests=self.digests,
            created_at=self.created_at,
            added_at=self.added_at,
            size=sum([layer.content for layer in self.layers]),
            files=sum([layer.files for layer in self.layers]),
            platform=self.platform,
            labels=self.labels,
        )


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Record)
_CHAIN: Final = "chain:"


def chain_thing(chain: str) -> str:
    """How `Leases` names an unpacked layer."""
    return _CHAIN + chain


def chain_of_thing(thing: str) -> str | None:
    """The unpacked layer that a thing is; None: it is a blob."""
    return thing.removeprefix(_CHAIN) if thing.startswith(_CHAIN) else None


def encode(record: Record) -> tuple[str, bytes]:
    """Id and row."""
    return record.id, _ENCODER.encode(record)


def decode(image_id: str, row: bytes) -> Record:
    """The image of a row.

    Raises:
        FolderUnusable: The row is damaged.
    """
    try:
        return _DECODER.decode(row)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise FolderUnusable(f"the record of image {image_id} is damaged: {error}") from error
