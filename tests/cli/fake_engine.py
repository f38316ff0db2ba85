"""A scripted engine: a socket whose requests a test answers one by one."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ardock._core import FrameReader

Message = list[Any]


class Request:
    """A call that has come, to be answered."""

    def __init__(self, connection: Connection, number: int, method: str, params: dict[str, Any]) -> None:
        self.connection = connection
        self.number = number
        self.method = method
        self.params = params

    def __repr__(self) -> str:
        return f"<{self.method} {self.params}>"

    def reply(self, **result: object) -> None:
        """Answer with a record."""
        self.connection.send([1, self.number, None, result])

    def fail(self, code: str, message: str, **details: str) -> None:
        """Answer with an error."""
        self.connection.send([1, self.number, {"code": code, "message": message, "details": details}, None])

    def items(self, *records: object) -> None:
        """Send records of its stream."""
        self.connection.send([2, "items", [self.number, list(records)]])

    def bytes(self, channel: int, data: bytes) -> None:
        """Send bytes of its stream."""
        self.connection.send([2, "bytes", [self.number, channel, data]])


class Connection:
    """One client's connection, read in a thread."""

    def __init__(self, engine: FakeEngine, connection: socket.socket) -> None:
        self._engine = engine
        self._socket = connection
        self._notes: queue.Queue[Message] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        frames = FrameReader(16 << 20)
        with suppress(OSError):
            while data := self._socket.recv(65536):
                for frame in frames.feed(data):
                    self._dispatch(msgspec.msgpack.decode(frame))

    def _dispatch(self, message: Message) -> None:
        if message[0] == 0:
            self._engine.requests.put(Request(self, *message[1:]))
        elif message[1] != "credit":
            self._notes.put(message[1:])

    def send(self, message: Message) -> None:
        """Send a message."""
        self._socket.sendall(msgspec.msgpack.encode(message))

    def note(self, seconds: float = 10) -> Message:
        """The next notification that is no credit: its name, and its values."""
        try:
            return self._notes.get(timeout=seconds)
        except queue.Empty:
            pytest.fail("no notification came")

    def close(self) -> None:
        """Drop it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class FakeEngine:
    """A listening socket; `expect` gives its requests in the order in which they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: queue.Queue[Request] = queue.Queue()
        self._connections: list[Connection] = []
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self.listen()

    def listen(self) -> None:
        """Serve the socket (again)."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                accepted = listener.accept()[0]
                with self._lock:
                    if self._listener is not listener:  # Dropped in between.
                        accepted.close()
                        return
                    self._connections.append(Connection(self, accepted))

    def expect(self, method: str, seconds: float = 10) -> Request:
        """The next request, which has to be this one."""
        try:
            request = self.requests.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"{method} was not called")
        assert request.method == method, request
        return request

    def expect_all(self, *methods: str) -> Sequence[Request]:
        """The next requests, in any order; given in the order of `methods`."""
        came: dict[str, Request] = {}
        while len(came) < len(methods):
            try:
                request = self.requests.get(timeout=10)
            except queue.Empty:
                pytest.fail(f"only {list(came)} came, not {methods}")
            came[request.method] = request
        assert set(came) == set(methods)
        return [came[method] for method in methods]

    def drop(self) -> None:
        """End as an owner that is killed: nobody listens any more, all connections are gone."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._connections = self._connections, []
        if listener is not None:
            # A listener that is shut down wakes its accept(2); one that is closed does not.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in connections:
            connection.close()
