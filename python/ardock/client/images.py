"""`Images` of an engine in another process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import trio

from ardock.client.remote import Remote
from ardock.client.streams import ChannelCall, InputStream
from ardock.model.image import ImageInfo
from ardock.protocol import methods


class Images:
    """Named root file systems of one engine, as `ardock.interface.Images` describes them."""

    def __init__(self, remote: Remote) -> None:
        """Made by `connect` alone."""
        self._remote = remote

    async def import_tree(self, path: str | Path, name: str) -> ImageInfo:
        """Copy a directory of the engine's machine, or unpack an uncompressed tar there, as the image `name`."""
        # A relative path is this process's: the engine's working directory is another one.
        absolute = os.path.abspath(path)  # noqa: PTH100, ASYNC240 - no symlink is resolved here; getcwd alone, which does not block
        return await self._remote.change(methods.IMPORT, methods.ImportImage(name=name, path=absolute))

    async def import_tar(self, chunks: AsyncIterator[bytes], name: str) -> ImageInfo:
        """Unpack an uncompressed tar that comes in pieces."""
        call = ChannelCall(self._remote.line, methods.IMPORT, methods.ImportImage(name=name))
        tar = InputStream(call)
        await self._remote.line.send(call)
        try:
            try:
                async for chunk in chunks:
                    await tar.send_all(chunk)
            except trio.BrokenResourceError:
                # It was refused before its end: the answer says why, and nobody else will end the generator.
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()
            else:
                tar.close()
            await call.until_done()
        finally:
            # Cancelled, or the caller's iterator failed: nothing of it is kept.
            await call.end()
        if call.error is not None:
            raise call.error
        return self._remote.decode(methods.IMPORT, call.result)

    async def list(self) -> Sequence[ImageInfo]:
        """All of them, newest first."""
        return (await self._remote.call(methods.IMAGES, methods.NoParams())).images

    async def inspect(self, ref: str) -> ImageInfo:
        """One, by name or by (a prefix of) its id."""
        return await self._remote.call(methods.IMAGE, methods.ImageRef(ref=ref))

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """Take a name off an image, and remove the image with its last one; what was done, as Docker tells it."""
        return (await self._remote.change(methods.REMOVE_IMAGE, methods.RemoveImage(ref=ref, force=force))).done
