"""Calls that tell how far they are (`images.pull`, `push`, `load`, `check`), and those whose bytes come over the connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ardock.model.image import Progress
from ardock.protocol.image_methods import (
    CHECK,
    IMPORT,
    LOAD,
    PULL,
    PUSH,
    ImportImage,
    Load,
    LoadedImages,
    Pull,
    Push,
)
from ardock.protocol.method import NoParams
from ardock.server.call import Incoming, TaskCall, encode

if TYPE_CHECKING:
    from ardock import interface
    from ardock.server.connection import Connection


class TellingCall(TaskCall):
    """A call that streams its progress.

    A client that does not read holds nothing up: of what it has no room for, the newest of each part waits.
    """

    __slots__ = ("_untold",)

    def __init__(self, connection: Connection, number: int, method: str, *, deadline: float | None) -> None:
        """Taken."""
        super().__init__(connection, number, method, deadline=deadline)
        self._untold: dict[str, Progress] = {}

    async def result(self) -> bytes:
        """Do it, and `tell` meanwhile; the encoded result."""
        raise NotImplementedError

    async def work(self) -> bytes:
        """Do it, and send what is still untold at its end."""
        self.accept()
        result = await self.result()
        while self._untold:
            await self.room()
            self._send()
        return result

    def tell(self, progress: Progress) -> None:
        """Something has changed."""
        self._untold.pop(progress.part, None)
        self._untold[progress.part] = progress
        self._send()

    def on_room(self) -> None:
        """Go on sending."""
        self._send()
        super().on_room()

    def _send(self) -> None:
        connection = self.connection
        sent = False
        while self._untold and connection.room(self.id) > 0:
            part = next(iter(self._untold))
            connection.session.send_encoded(self.id, 1, encode(self._untold.pop(part)))
            sent = True
        if sent:
            connection.flush()

    @property
    def images(self) -> interface.Images:
        """The engine's."""
        return self.connection.server.engine.images


class PullCall(TellingCall):
    """`images.pull`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Pull) -> None:
        """Taken."""
        super().__init__(connection, number, PULL.name, deadline=params.deadline)
        self._params = params

    async def result(self) -> bytes:
        """Pull it."""
        params = self._params
        pulled = await self.images.pull(
            params.ref, platform=params.platform, credentials=params.credentials, progress=self.tell
        )
        return encode(pulled)


class PushCall(TellingCall):
    """`images.push`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Push) -> None:
        """Taken."""
        super().__init__(connection, number, PUSH.name, deadline=params.deadline)
        self._params = params

    async def result(self) -> bytes:
        """Push it."""
        params = self._params
        return encode(await self.images.push(params.ref, credentials=params.credentials, progress=self.tell))


class CheckCall(TellingCall):
    """`images.check`."""

    __slots__ = ()

    def __init__(self, connection: Connection, number: int, params: NoParams) -> None:
        """Taken."""
        super().__init__(connection, number, CHECK.name, deadline=params.deadline)

    async def result(self) -> bytes:
        """Look at everything."""
        return encode(await self.images.check(progress=self.tell))


class LoadCall(TellingCall):
    """`images.load`, of a path or of bytes of channel 0."""

    __slots__ = ("_input", "_params")

    def __init__(self, connection: Connection, number: int, params: Load) -> None:
        """Taken."""
        super().__init__(connection, number, LOAD.name, deadline=params.deadline)
        self._input = Incoming(self)
        self._params = params

    def on_bytes(self, channel: int, data: bytes) -> None:
        """A piece of the archive."""
        if channel == 0 and self._params.path is None:
            self._input.put(data)
        else:
            super().on_bytes(channel, data)

    def on_end(self, channel: int) -> None:
        """The archive's end."""
        if channel == 0:
            self._input.end()

    async def result(self) -> bytes:
        """Load it."""
        params = self._params
        if params.path is not None:
            loaded = await self.images.load(params.path, platform=params.platform, progress=self.tell)
        else:
            try:
                async with aclosing(taken(self._input)) as chunks:
                    loaded = await self.images.load(chunks, platform=params.platform, progress=self.tell)
            finally:
                # An archive may go on after what is needed of it: what still comes is not to wait for anybody.
                self._input.close()
        return encode(LoadedImages(images=list(loaded)))


class ImportCall(TaskCall):
    """`images.import` of a tar that comes as bytes of channel 0."""

    __slots__ = ("_input", "_params")

    def __init__(self, connection: Connection, number: int, params: ImportImage) -> None:
        """Taken."""
        super().__init__(connection, number, IMPORT.name, deadline=params.deadline)
        self._input = Incoming(self)
        self._params = params

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
        params = self._params
        async with aclosing(taken(self._input)) as chunks:
            imported = await self.connection.server.engine.images.import_tar(
                chunks, params.name, changes=params.changes, message=params.message, platform=params.platform
            )
        return encode(imported)


async def taken(incoming: Incoming) -> AsyncGenerator[bytes, None]:
    """What comes, in pieces as they come."""
    while data := await incoming.take():
        yield data
