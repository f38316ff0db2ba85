"""Streams of bytes in pieces of another size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import RawIOBase
from typing import Self

from ardock.engine.content.disk import unusable
from ardock.engine.images.core import in_thread

PIECE = 1 << 20


async def pieces(chunks: AsyncIterator[bytes], size: int = PIECE) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread's while: of `size` bytes or somewhat more, the last one excepted."""
    waiting: list[bytes] = []
    length = 0
    async for chunk in chunks:
        waiting.append(chunk)
        length += len(chunk)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)


class FilePieces:
    """An open file's bytes from where it stands. No generator: one left before its end would have to be closed by whoever has it."""

    def __init__(self, file: RawIOBase) -> None:
        """`file` is the caller's, who closes it."""
        self._file = file

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            FolderUnusable: The disk fails.
        """
        try:
            data = await in_thread(lambda: self._file.read(PIECE))
        except OSError as error:
            raise unusable(error) from error
        if not data:
            raise StopAsyncIteration
        return data
