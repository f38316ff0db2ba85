"""`Images` of an engine in another process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from ardock.client.remote import Remote
from ardock.client.transfers import download, transfer, upload
from ardock.interface import OnProgress
from ardock.model.container import Filters
from ardock.model.image import HistoryEntry, ImageDetails, ImageInfo, Loaded, Pruned, Pushed, StoreCheck
from ardock.model.registry import Credentials
from ardock.protocol import image_methods as m
from ardock.protocol.method import NoParams


class Images:
    """The images of one engine, as `ardock.interface.Images` describes them."""

    def __init__(self, remote: Remote) -> None:
        """Made by `connect` alone."""
        self._remote = remote

    async def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
    ) -> ImageInfo:
        """Fetch an image from its registry, and give it its name."""
        params = m.Pull(ref=ref, platform=platform, credentials=credentials)
        return await transfer(self._remote, m.PULL, params, progress)

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, progress: OnProgress | None = None
    ) -> Pushed:
        """Send the image of that name to its registry."""
        return await transfer(self._remote, m.PUSH, m.Push(ref=ref, credentials=credentials), progress)

    async def tag(self, ref: str, name: str) -> None:
        """Give an image another name, which moves from the image that has it."""
        await self._remote.change(m.TAG, m.Tag(ref=ref, name=name))

    async def load(
        self,
        source: str | Path | AsyncIterator[bytes],
        *,
        platform: str = "",
        progress: OnProgress | None = None,
    ) -> Sequence[Loaded]:
        """Take over the images of an archive: a path on the engine's machine, or the tar's bytes."""
        if isinstance(source, str | Path):
            params = m.Load(path=_absolute(source), platform=platform)
            return (await transfer(self._remote, m.LOAD, params, progress)).images
        return (await upload(self._remote, m.LOAD, m.Load(platform=platform), source, progress)).images

    def save(self, refs: Sequence[str], *, platform: str = "") -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Images as one tar that is both an OCI layout and what ``docker load`` takes, in pieces."""
        return download(self._remote, m.SAVE, m.Save(refs=list(refs), platform=platform))

    async def import_tree(
        self, path: str | Path, name: str, *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> ImageInfo:
        """Make an image of one layer of a directory of the engine's machine, or of a tar there."""
        params = m.ImportImage(
            name=name, path=_absolute(path), changes=tuple(changes), message=message, platform=platform
        )
        return await self._remote.change(m.IMPORT, params)

    async def import_tar(
        self,
        chunks: AsyncIterator[bytes],
        name: str,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> ImageInfo:
        """As `import_tree`, of a tar that comes in pieces, plain or compressed with gzip or zstd."""
        params = m.ImportImage(name=name, changes=tuple(changes), message=message, platform=platform)
        return await upload(self._remote, m.IMPORT, params, chunks)

    async def list(self) -> Sequence[ImageInfo]:
        """All of them, newest first."""
        return (await self._remote.call(m.IMAGES, NoParams())).images

    async def inspect(self, ref: str) -> ImageDetails:
        """All about one, by name or by (a prefix of) its id."""
        return await self._remote.call(m.IMAGE, m.ImageRef(ref=ref))

    async def history(self, ref: str) -> Sequence[HistoryEntry]:
        """How one was made, the last step first."""
        return (await self._remote.call(m.HISTORY, m.ImageRef(ref=ref))).entries

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """Take a name off an image, and remove the image with its last one; what was done, as Docker tells it."""
        return (await self._remote.change(m.REMOVE_IMAGE, m.RemoveImage(ref=ref, force=force))).done

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:  # noqa: A002 - Docker's name
        """Remove images without a name, or with `all` every image that no container uses."""
        return await self._remote.change(m.PRUNE, m.PruneImages(all=all, filters=filters or {}))

    async def check(self, *, progress: OnProgress | None = None) -> StoreCheck:
        """Take the digest of everything that is stored, and build the index anew from it."""
        return await transfer(self._remote, m.CHECK, NoParams(), progress)


def _absolute(path: str | Path) -> str:
    """A relative path is this process's: the engine's working directory is another one."""
    return os.path.abspath(path)  # noqa: PTH100 - no symlink is resolved here; getcwd alone, which does not block
