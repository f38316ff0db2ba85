"""Calls that stream what there is of something: `containers.diff`, `containers.export` and `images.save`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from ardock.protocol.image_methods import DIFF, EXPORT, SAVE, ContainerRef, Save
from ardock.protocol.method import Nothing
from ardock.server.call import TaskCall, encode

if TYPE_CHECKING:
    from ardock.server.connection import Connection

# The most bytes of records of one message, if it is more than one record.
_BATCH: Final = 64 << 10


class DiffCall(TaskCall):
    """`containers.diff`: a root may differ by more paths than a message holds."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: ContainerRef) -> None:
        """Taken."""
        super().__init__(connection, number, DIFF.name, deadline=params.deadline)
        self._params = params

    async def work(self) -> bytes:
        """Send the changes."""
        changes = await self.connection.server.engine.containers.diff(self._params.ref)
        self.accept()
        batch: list[bytes] = []
        size = 0
        for change in changes:
            batch.append(encode(change))
            size += len(batch[-1])
            if size >= _BATCH:
                await self._send(batch)
                batch, size = [], 0
        if batch:
            await self._send(batch)
        return encode(Nothing())

    async def _send(self, batch: list[bytes]) -> None:
        await self.room()
        self.connection.session.send_encoded(self.id, len(batch), b"".join(batch))
        self.connection.flush()


class OutgoingCall(TaskCall):
    """Bytes on channel 1."""

    __slots__ = ()

    def pieces(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """What to send."""
        raise NotImplementedError

    async def work(self) -> bytes:
        """Send it."""
        async with self.pieces() as pieces:
            self.accept()
            async for piece in pieces:
                await self.send_bytes(1, piece)
        self.send_end(1)
        return encode(Nothing())


class ExportCall(OutgoingCall):
    """`containers.export`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: ContainerRef) -> None:
        """Taken."""
        super().__init__(connection, number, EXPORT.name, deadline=params.deadline)
        self._params = params

    def pieces(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The root file system's tar."""
        return self.connection.server.engine.containers.export(self._params.ref)


class SaveCall(OutgoingCall):
    """`images.save`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Save) -> None:
        """Taken."""
        super().__init__(connection, number, SAVE.name, deadline=params.deadline)
        self._params = params

    def pieces(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The images' tar."""
        return self.connection.server.engine.images.save(self._params.refs, platform=self._params.platform)
