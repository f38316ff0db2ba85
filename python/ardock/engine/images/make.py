"""Images that are made here: of a directory, of a tar, of what a container has written."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ardock import _core
from ardock.engine.content import Blobs
from ardock.engine.content.blobs import digest_of
from ardock.engine.content.disk import unreadable
from ardock.engine.images.catalogue import Catalogue
from ardock.engine.images.core import in_thread, told
from ardock.engine.images.fetch import record_of
from ardock.engine.images.formats import OCI_CONFIG, OCI_LAYER, Image, chain_ids, write_config
from ardock.engine.images.layers import Layers
from ardock.engine.images.pieces import pieces
from ardock.engine.images.record import Layer, Record, chain_thing
from ardock.engine.images.sources import Sink
from ardock.engine.snapshots import Directories
from ardock.model.errors import InvalidArgument
from ardock.model.image import HistoryEntry, ImageConfig, Platform

Pour = Callable[[Sink], Awaitable[None]]

MOUNT_POINTS: Final = (
    "/.dockerenv", "/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf",
)  # fmt: skip
"""What is made in every container's root for something to be mounted on. Docker has it in a layer of its own, which no `diff`
and no `commit` shows (moby, ``daemon/initlayer``)."""


class Origin(NamedTuple):
    """What an image is to be, of whatever it is made.

    Attributes:
        names: ``name:tag`` each.
        config: What its containers get.
        message: Comment of its history.
        platform: What it runs on.
    """

    names: tuple[str, ...]
    config: ImageConfig
    message: str
    platform: Platform


class Maker:
    """Makes images of one engine.

    A layer that is made here has no archive: it is named by the digest of the one that `_core.pack` makes of it, the same one
    each time, and that is made when somebody wants it. So it lies on the disk once.
    """

    def __init__(self, root: Path, catalogue: Catalogue, blobs: Blobs, layers: Layers) -> None:
        """In the stores of the engine whose root folder is `root`."""
        self._root = root
        self._catalogue = catalogue
        self._blobs = blobs
        self._layers = layers

    async def from_path(self, path: Path, origin: Origin) -> Record:
        """Of a directory of this machine, or a tar there; see `ardock.interface.Images.import_tree`."""
        kind = await in_thread(lambda: _kind(path))
        if stat.S_ISDIR(kind):
            flag = _core.CancelFlag()

            def copy(target: str) -> _core.LayerSummary:
                return told(lambda: _core.import_directory(str(path), target, [str(self._root)], flag))

            async with self._layers.making(()) as (key, target):
                summary = await in_thread(lambda: copy(target), flag)
                return await self._keep_import(key, summary, origin)
        if not stat.S_ISREG(kind):
            raise InvalidArgument(f"path: {str(path)!r} is neither a directory nor a file", field="path")

        async def pour(sink: Sink) -> None:
            await sink.feed_file(path)

        return await self._from_tar(pour, origin)

    async def from_chunks(self, chunks: AsyncIterator[bytes], origin: Origin) -> Record:
        """Of a tar that comes in pieces."""

        async def pour(sink: Sink) -> None:
            async for piece in pieces(chunks):
                await sink.feed(piece)

        return await self._from_tar(pour, origin)

    async def commit(
        self,
        base: Record,
        image: Image,
        found: Directories,
        names: Sequence[str],
        *,
        author: str,
        message: str,
        command: str,
    ) -> Record:
        """Of what a container has written on top of an image.

        Args:
            base: The image.
            image: Its configuration, with the new image's in place of its own.
            found: What was written, and what it is compared with.
            names: Of the new image.
            author: Who.
            message: The user's words.
            command: What the container ran, for the history.
        """
        below = tuple(reversed(base.chains))
        with self._catalogue.leases.lease() as lease:
            # The image may be removed meanwhile; its layers are the new one's, too.
            lease.hold(*base.things)
            async with self._layers.making(below) as (key, target):
                summary = await self._layers.copy_changes(found, target, MOUNT_POINTS)
                created = self._catalogue.now
                step = HistoryEntry(created_at=created, created_by=command, author=author, comment=message)
                image = msgspec.structs.replace(
                    image,
                    diff_ids=(*image.diff_ids, summary.diff_id),
                    history=(*image.history, step),
                    created_at=created,
                    author=author or image.author,
                    comment=message,
                )
                layer = Layer(
                    diff_id=summary.diff_id, media_type=OCI_LAYER, content=summary.content, files=summary.files
                )
                return await self._keep(key, image, (*base.layers, layer), names, action="commit")

    async def _from_tar(self, pour: Pour, origin: Origin) -> Record:
        async with self._layers.making(()) as (key, target):
            await self._layers.unpack_into(target, pour, strict=True)
            # What is kept is the tree: the same files have the same name however their archive was made.
            flag = _core.CancelFlag()
            summary = await in_thread(lambda: told(lambda: _core.pack([target], None, cancel=flag)), flag)
            return await self._keep_import(key, summary, origin)

    async def _keep_import(self, key: str, summary: _core.LayerSummary, origin: Origin) -> Record:
        # Without a time of making: the same files with the same configuration are the same image.
        image = Image(
            config=origin.config,
            platform=origin.platform,
            diff_ids=(summary.diff_id,),
            history=(HistoryEntry(comment=origin.message or "Imported"),),
        )
        layer = Layer(diff_id=summary.diff_id, media_type=OCI_LAYER, content=summary.content, files=summary.files)
        return await self._keep(key, image, (layer,), origin.names, action="import")

    async def _keep(
        self, key: str, image: Image, layers: tuple[Layer, ...], names: Sequence[str], *, action: str
    ) -> Record:
        data = write_config(image)
        chain = chain_ids(image.diff_ids)[-1]
        with self._catalogue.leases.lease() as lease:
            lease.hold(chain_thing(chain))
            image_id = digest_of(data)
            lease.hold(image_id)
            await in_thread(lambda: self._blobs.put(data, image_id))
            await self._layers.keep(key, chain, layers[-1])
            record = record_of(image_id, image, layers, config_type=OCI_CONFIG)
            return await self._catalogue.keep(record, names=tuple(names), action=action)


def _kind(source: Path) -> int:
    try:
        return source.stat().st_mode
    except OSError as error:
        raise unreadable(source, error) from error
    except ValueError as error:
        raise InvalidArgument(f"path: invalid path {str(source)!r}", field="path") from error
