# ruff: noqa: A002, ARG002 - the interface of an engine
"""Images that are none: what a reference says is what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import trio

from ardock.model.container import Filters
from ardock.model.errors import DiskFull, InvalidArgument, NotFound
from ardock.model.image import (
    HistoryEntry,
    ImageConfig,
    ImageDetails,
    ImageInfo,
    Loaded,
    Progress,
    Pruned,
    Pushed,
    StoreCheck,
)
from ardock.model.registry import Credentials


class FakeImages:
    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.gate = trio.Event()

    async def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> ImageInfo:
        user = credentials.username if credentials is not None else None
        self.tell(f"pull {ref} {platform} {user}")
        assert progress is not None
        if ref == "missing":
            raise NotFound(f"no such image: {ref}")
        if ref == "hang":
            progress(Progress(part="a", status="waiting"))
            try:
                await self.gate.wait()
            finally:
                self.tell("pull ended")
        count = 100_000 if ref == "chatty" else 2
        for done in range(1, count + 1):
            progress(Progress(part="a", status="downloading", done=done, total=count))
            if done % 1000 == 0:
                await trio.lowlevel.checkpoint()
        progress(Progress(part="b", status="pulled"))
        return ImageInfo(id="sha256:" + "1" * 64, names=(ref,))

    async def push(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Pushed:
        assert progress is not None
        progress(Progress(part="a", status="uploading", done=1, total=2))
        return Pushed(reference=ref, digest="sha256:" + "2" * 64, size=7)

    async def tag(self, ref: str, name: str) -> None:
        self.tell(f"tag {ref} {name}")

    async def load(
        self,
        source: str | Path | AsyncIterator[bytes],
        *,
        platform: str = "",
        progress: Callable[[Progress], None] | None = None,
    ) -> Sequence[Loaded]:
        assert progress is not None
        size = 0
        if isinstance(source, str | Path):
            self.tell(f"load {source} {platform}")
        else:
            async for chunk in source:
                if b"bad" in chunk:
                    raise InvalidArgument("it is no archive", field="source")
                size += len(chunk)
                progress(Progress(part="a", status="loading", done=size))
                if b"enough" in chunk:
                    break
        return [Loaded(id=f"sha256:{size}", names=("a:b",))]

    @asynccontextmanager
    async def save(self, refs: Sequence[str], *, platform: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        if "missing" in refs:
            raise NotFound("no such image: missing")

        async def pieces() -> AsyncGenerator[bytes, None]:
            for ref in refs:
                if ref == "breaks":
                    raise DiskFull("the disk is full")
                await trio.lowlevel.checkpoint()
                yield ref.encode() * 100_000

        try:
            async with aclosing(pieces()) as all_of_it:
                yield all_of_it
        finally:
            self.tell("save closed")

    async def import_tree(
        self, path: str | Path, name: str, *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> ImageInfo:
        self.tell(f"import {path} {list(changes)} {message} {platform}")
        return ImageInfo(id="sha256:" + "0" * 64, names=(f"{name}:latest",), size=1)

    async def import_tar(
        self,
        chunks: AsyncIterator[bytes],
        name: str,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> ImageInfo:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
        return ImageInfo(id="sha256:" + "0" * 64, names=(f"{name}:latest",), size=size)

    async def list(self) -> Sequence[ImageInfo]:
        return []

    async def inspect(self, ref: str) -> ImageDetails:
        if ref != "i":
            raise NotFound(f"no such image: {ref}")
        return ImageDetails(info=ImageInfo(id="sha256:" + "1" * 64), config=ImageConfig(cmd=("sh",)))

    async def history(self, ref: str) -> Sequence[HistoryEntry]:
        return [HistoryEntry(created_by=f"made {ref}")]

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        return [f"Untagged: {ref}"]

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:
        return Pruned(done=(f"{all} {filters}",), space=5)

    async def check(self, *, progress: Callable[[Progress], None] | None = None) -> StoreCheck:
        assert progress is not None
        progress(Progress(part="a", status="waiting"))
        return StoreCheck(blobs=3)
