"""A server that does what a test says, and nothing else: what a client does is seen on the wire, not through another engine.

It splits and makes messages with msgpack, not with ardock's own code, so that both sides of a mistake are not the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import trio

ENGINE = "0123abcd"


class LostError(Exception):
    """The client has closed the connection."""


class Peer:
    """One connection, as the server sees it.

    Attributes:
        writes: Bytes of each piece that was read at once.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unpacker = msgpack.Unpacker(raw=False)
        self.pieces: list[int] = []
        self.late: list[list[Any]] = []

    async def receive(self) -> list[Any]:
        """The next message."""
        while True:
            try:
                message: list[Any] = next(self._unpacker)
            except StopIteration:
                pass
            else:
                return message
            data = b""
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                data = await self.stream.receive_some(1 << 20)
            if not data:
                raise LostError
            self.pieces.append(len(data))
            self._unpacker.feed(data)

    async def call(self, method: str) -> tuple[int, dict[str, Any]]:
        """The next message, which is a call of `method`: its number and parameters."""
        message = await self.receive()
        assert message[0] == 0, message
        assert message[2] == method, message
        return message[1], message[3]

    async def notification(self, name: str) -> list[Any]:
        """The next message, which is this notification: its parameters. Credit may come before."""
        while True:
            message = await self.receive()
            assert message[0] == 2, message
            if message[1] == name:
                params: list[Any] = message[2]
                return params
            assert message[1] == "credit", message

    async def send(self, *messages: list[Any]) -> None:
        await self.stream.send_all(b"".join(msgpack.packb(message) for message in messages))

    async def reply(self, number: int, result: object) -> None:
        await self.send([1, number, None, result])

    async def fail(self, number: int, code: str, message: str = "no", **details: str | int) -> None:
        await self.send([1, number, {"code": code, "message": message, "details": details}, None])

    async def notify(self, name: str, *params: object) -> None:
        await self.send([2, name, list(params)])

    async def until_lost(self) -> list[list[Any]]:
        """What came until the client closed the connection."""
        rest = []
        with contextlib.suppress(LostError):
            while True:
                rest.append(await self.receive())
        return rest

    async def close(self) -> None:
        await self.stream.aclose()


class ScriptedServer:
    """Hands out its connections, each greeted, in the order in which they come."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.engine = ENGINE
        self._send, self._receive = trio.open_memory_channel[trio.SocketStream](100)
        self._listener: trio.socket.SocketType | None = None
        self._scope = trio.CancelScope()
        self._connections: list[trio.socket.SocketType] = []
        self.accepted = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            await self.listen()
            task_status.started()
            while True:
                if self._listener is None:
                    await trio.sleep(0.005)
                    continue
                try:
                    connection, _ = await self._listener.accept()
                except (OSError, trio.ClosedResourceError):
                    continue
                self.accepted += 1
                self._connections.append(connection)
                await self._send.send(trio.SocketStream(connection))

    async def listen(self) -> None:
        """Listen again after `stop_listening`."""
        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listener.bind(self.path)
        listener.listen(100)
        self._listener = listener

    def stop_listening(self) -> None:
        """Nobody answers from now on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            os.unlink(self.path)

    async def accept(self) -> trio.SocketStream:
        return await self._receive.receive()

    async def peer(self) -> Peer:
        """The next connection, whose greeting was answered."""
        peer = Peer(await self.accept())
        number, _ = await peer.call("engine.version")
        await peer.reply(number, {"version": "1", "protocol": 1, "engine": self.engine, "pid": 1})
        return peer

    @asynccontextmanager
    async def expecting(self) -> AsyncIterator[Peer]:
        peer = await self.peer()
        try:
            yield peer
        finally:
            await peer.close()

    def close(self) -> None:
        self.stop_listening()
        self._scope.cancel()
        for connection in self._connections:
            connection.close()
