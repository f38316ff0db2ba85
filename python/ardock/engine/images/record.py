"""An image's row in the database: `ImageInfo` itself, which is all that is known of one."""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model.errors import FolderUnusable
from ardock.model.image import ImageInfo

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ImageInfo)


def encode(image: ImageInfo) -> tuple[str, bytes]:
    """Id and row."""
    return image.id, _ENCODER.encode(image)


def decode(image_id: str, row: bytes) -> ImageInfo:
    """The image of a row.

    Raises:
        FolderUnusable: The row is damaged.
    """
    try:
        return _DECODER.decode(row)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise FolderUnusable(f"the record of image {image_id} is damaged: {error}") from error
