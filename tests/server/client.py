# ruff: noqa: ANN401 - parameters and results are plain values here
"""A client that a test can make do what no good client does."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from ardock.model.errors import ArdockError
from ardock.protocol.errors import from_info
from ardock.protocol.methods import ErrorInfo
from ardock.protocol.session import Bytes, ClientSession, Credit, End, Failed, Items, Message, Reply

encode = msgspec.msgpack.encode
decode = msgspec.msgpack.decode


class Client:
    """One connection. What comes is kept by the call's id."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.session = ClientSession()
        self.got: dict[int, list[Message]] = {}
        self.failed: ErrorInfo | None = None
        self.ended = False

    async def send(self, data: bytes) -> None:
        """Raw bytes."""
        await self.stream.send_all(data)

    async def begin(self, method: str, **params: Any) -> int:
        number = self.session.request(method, encode(params))
        await self.flush()
        return number

    async def flush(self) -> None:
        if self.session.waiting:
            await self.stream.send_all(self.session.outgoing())

    async def pump(self, *, credit: bool = True) -> None:
        """Read once. `credit`: give it back at once."""
        data = await self.stream.receive_some(1 << 16)
        if not data:
            self.ended = True
            return
        for message in self.session.feed(data):
            if isinstance(message, Failed):
                self.failed = message.error
                continue
            assert not isinstance(message, Credit) or message.size
            self.got.setdefault(message.id, []).append(message)
            if credit and isinstance(message, Bytes):
                self.session.consumed(message.id, len(message.data))
            elif credit and isinstance(message, Items):
                self.session.consumed(message.id, sum(map(len, message.items)))
        await self.flush()

    async def until_end(self) -> ErrorInfo | None:
        """Read until the server closes; why."""
        while not self.ended:
            try:
                await self.pump()
            except trio.BrokenResourceError:
                break
        return self.failed

    async def reply(self, number: int) -> Reply:
        """Read until a call is answered."""
        while True:
            for message in self.got.get(number, ()):
                if isinstance(message, Reply):
                    return message
            assert not self.ended, f"the server has closed the connection: {self.failed}"
            await self.pump()

    async def result(self, number: int) -> Any:
        reply = await self.reply(number)
        if reply.error is not None:
            raise from_info(reply.error)
        return decode(reply.result)

    async def call(self, method: str, **params: Any) -> Any:
        return await self.result(await self.begin(method, **params))

    async def error(self, method: str, **params: Any) -> ArdockError:
        """The error with which a call must fail."""
        reply = await self.reply(await self.begin(method, **params))
        assert reply.error is not None, decode(reply.result)
        return from_info(reply.error)

    def bytes_of(self, number: int, channel: int) -> bytes:
        return b"".join(m.data for m in self.got.get(number, ()) if isinstance(m, Bytes) and m.channel == channel)

    def items_of(self, number: int) -> list[Any]:
        return [decode(raw) for m in self.got.get(number, ()) if isinstance(m, Items) for raw in m.items]

    def ended_channels(self, number: int) -> set[int]:
        return {m.channel for m in self.got.get(number, ()) if isinstance(m, End)}

    async def until(self, number: int, kind: type[Message], count: int = 1) -> None:
        """Read until so many messages of that kind have come."""
        while sum(isinstance(m, kind) for m in self.got.get(number, ())) < count:
            assert not self.ended
            await self.pump()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    """A client of the socket at `path`."""
    stream = await trio.open_unix_socket(os.fspath(path))
    async with stream:
        yield Client(stream)


def reset(client: Client) -> None:
    """Close without reading what has come."""
    client.stream.socket.shutdown(socket.SHUT_RDWR)
