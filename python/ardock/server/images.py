"""`images.import` of a tar that comes over the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ardock.protocol.methods import IMPORT, ImportImage
from ardock.server.call import Incoming, TaskCall, encode

if TYPE_CHECKING:
    from ardock.server.connection import Connection


class ImportCall(TaskCall):
    """An image that comes as bytes of channel 0."""

    __slots__ = ("_input", "_name")

    def __init__(self, connection: Connection, number: int, params: ImportImage) -> None:
        """Taken."""
        super().__init__(connection, number, IMPORT.name, deadline=params.deadline)
        self._input = Incoming(self)
        self._name = params.name

    def on_bytes(self, channel: int, data: bytes) -> None:
        """A piece of the tar."""
        if channel == 0:
            self._input.put(data)
        else:
            super().on_bytes(channel, data)

    def on_end(self, channel: int) -> None:
        """The tar's end."""
        if channel == 0:
            self._input.end()

    async def work(self) -> bytes:
        """Import it."""
        async with aclosing(self._chunks()) as chunks:
            return encode(await self.connection.server.engine.images.import_tar(chunks, self._name))

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while data := await self._input.take():
            yield data
