"""Where an image's documents and layers come from: a registry, a folder, an archive. And where bytes go to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import trio

from ardock import _core
from ardock.engine.content.disk import unusable
from ardock.engine.images.core import beside, in_thread, told
from ardock.engine.images.formats import Descriptor

PIECE = 1 << 20


class Sink:
    """Takes the bytes of one layer or blob.

    Attributes:
        count: Bytes taken.
    """

    def __init__(self, ingest: _core.LayerIngest, on_bytes: Callable[[int], None]) -> None:
        """Into `ingest`; `on_bytes` is told `count` now and then, in the engine's thread."""
        self._ingest = ingest
        self._on_bytes = on_bytes
        self.count = 0

    async def feed(self, data: bytes) -> None:
        """The next bytes; waits while more of them are under way than should be.

        Raises:
            ArdockError: They are not what they should be, or cannot be written.
        """
        await in_thread(lambda: told(lambda: self._ingest.feed(data)))
        self.count += len(data)
        self._on_bytes(self.count)

    async def feed_file(self, path: Path, offset: int = 0, size: int | None = None) -> None:
        """A part of a file; None: up to its end.

        Raises:
            FolderUnusable: It cannot be read.
            ArdockError: As `feed`.
        """
        left = size
        flag = _core.CancelFlag()

        def run() -> None:
            nonlocal left
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(offset)
                    while not flag.is_set and left != 0:
                        data = file.read(PIECE if left is None else min(PIECE, left))
                        if not data:
                            return
                        if left is not None:
                            left -= len(data)
                        self._ingest.feed(data)
                        self.count += len(data)
            except OSError as error:
                raise unusable(error, str(path)) from error

        async def tell() -> None:
            while True:
                await trio.sleep(0.1)
                self._on_bytes(self.count)

        try:
            await beside(tell, lambda: in_thread(lambda: told(run), flag))
        finally:
            self._on_bytes(self.count)

    async def feed_pipe(self, descriptor: int) -> None:
        """A pipe's bytes up to its end, which comes also when this is cancelled: who writes is cancelled with it.

        Raises:
            ArdockError: As `feed`.
        """

        def run() -> None:
            while data := os.read(descriptor, PIECE):
                self._ingest.feed(data)
                self.count += len(data)

        await in_thread(lambda: told(run), own=True)
        self._on_bytes(self.count)


class Source(Protocol):
    """Where one image comes from.

    Attributes:
        local: From this machine's disk.
    """

    @property
    def local(self) -> bool:
        """From this machine's disk."""

    def has(self, digest: str) -> bool:
        """Whether it may have a blob; blocks. Of a source that is far away nobody knows before it is asked."""

    async def read(self, descriptor: Descriptor, what: str) -> bytes:
        """A document, verified.

        Raises:
            NotFound: It is not there.
            ContentDamaged: It is another content.
        """

    async def pour(self, descriptor: Descriptor, sink: Sink) -> None:
        """A layer's bytes; not verified."""

    def elsewhere(self) -> Source | None:
        """Another source of the same, for what turned out damaged; None: there is none."""
