"""The client of the command line: no event loop, nothing that takes long to import, and nothing that blocks unless asked to.

A caller with nothing else to wait for uses `Client.call` and `Call.events`; one that waits for a terminal, signals and the engine
at once polls `Client.fileno` itself, calls `feed` and `flush`, and looks at its calls.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import msgspec

from ardock.client.find import try_connect
from ardock.model.errors import (
    ArdockError,
    ConnectionLost,
    DaemonUnavailable,
    EngineClosed,
    ProtocolViolation,
    Unsupported,
)
from ardock.protocol.errors import from_info
from ardock.protocol.methods import PROTOCOL, VERSION, Method, NoParams, Params, Version
from ardock.protocol.session import Bytes, ClientSession, Credit, End, Failed, Items, ItemsEnd, Reply

ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")

_READ: Final = 1 << 16
# How often a full listener's queue is tried again, seconds.
_PAUSE: Final = 0.01

_encode: Final = msgspec.msgpack.Encoder().encode


class Item(msgspec.Struct, frozen=True, gc=False):
    """A record of a call's stream, decoded.

    Attributes:
        record: Of one of the types `Method.items`.
        size: Bytes of it on the wire: what to give to `Call.consumed`.
    """

    record: msgspec.Struct
    size: int


# What `Call.take` and `Call.events` give.
Event = Bytes | End | Item | ItemsEnd


class Call(Generic[ResultT]):
    """A call under way.

    Attributes:
        method: What was called.
        id: Its number on the connection.
        done: It is answered; `result` gives the answer.
        accepted: Something came: a record, an empty batch of them, or bytes.
    """

    def __init__(self, client: Client, method: Method[ResultT], number: int) -> None:
        """Made by `Client.begin` alone."""
        self._client = client
        self._events: deque[Event] = deque()
        self._result: msgspec.Raw | bytes = b""
        self._error: ArdockError | None = None
        self._decoder: msgspec.msgpack.Decoder[msgspec.Struct] | None = None
        self.method = method
        self.id = number
        self.done = False
        self.accepted = False

    def __repr__(self) -> str:
        """Its method and state."""
        return f"<Call {self.method.name} {'done' if self.done else 'under way'}, {len(self._events)} events>"

    def take(self) -> list[Event]:
        """What has come and was not taken; nothing is read. Say by `consumed` what of it was used up."""
        events = list(self._events)
        self._events.clear()
        return events

    def events(self) -> Iterator[Event]:
        """All that comes until the call is answered, waiting for it; then ask for `result`.

        Raises:
            ConnectionLost: The connection ended in the middle.
        """
        while True:
            while self._events:
                event = self._events.popleft()
                yield event
                if isinstance(event, Bytes):
                    self.consumed(len(event.data))
                elif isinstance(event, Item):
                    self.consumed(event.size)
            if self.done:
                return
            self._client.pump()

    def result(self) -> ResultT:
        """The answer; only once `done`.

        Raises:
            ArdockError: The call failed.
        """
        assert self.done, f"{self.method.name} is under way"
        if self._error is not None:
            raise self._error
        try:
            return msgspec.msgpack.Decoder(self.method.result).decode(self._result)
        except msgspec.DecodeError as error:
            raise ProtocolViolation(f"{self.method.name}: the engine's answer is not understood: {error}") from error

    @property
    def error(self) -> ArdockError | None:
        """Why it failed; None while it is under way, or where it did not."""
        return self._error

    @property
    def sendable(self) -> int:
        """Bytes that the engine takes now; 0 once it is answered. `Client.feed` brings more room."""
        return self._client.session.room(self.id)

    def send_bytes(self, channel: int, data: bytes) -> None:
        """Send bytes of a channel, `sendable` at most; what comes after the answer is dropped, as by a closed pipe."""
        self._client.session.send_bytes(self.id, channel, data)
        self._client.flush()

    def send_items(self, records: list[msgspec.Struct]) -> None:
        """Send records, while something is `sendable`."""
        self._client.session.send_items(self.id, [_encode(record) for record in records])
        self._client.flush()

    def end(self, channel: int) -> None:
        """End a channel."""
        self._client.session.send_end(self.id, channel)
        self._client.flush()

    def end_items(self) -> None:
        """End the records."""
        self._client.session.send_items_end(self.id)
        self._client.flush()

    def cancel(self) -> None:
        """Ask for its end; the answer comes, soon."""
        self._client.session.cancel(self.id)
        self._client.flush()

    def consumed(self, size: int) -> None:
        """So many bytes of what came were used up: the engine may send more."""
        if self._client.session.consumed(self.id, size):
            self._client.flush()

    # --- told by the client ---

    def came(self, message: Bytes | End | Items | ItemsEnd) -> None:
        """Part of a stream came.

        Raises:
            msgspec.DecodeError: A record is none of this method's.
        """
        self.accepted = True
        if not isinstance(message, Items):
            self._events.append(message)
            return
        for raw in message.items:
            if self._decoder is None:
                self._decoder = msgspec.msgpack.Decoder(_union(self.method.items))
            self._events.append(Item(self._decoder.decode(raw), len(raw)))

    def finish(self, error: ArdockError | None, result: msgspec.Raw | bytes = b"") -> None:
        """It is answered, or the connection is gone."""
        self.done = True
        self._error = error
        self._result = result


def _union(kinds: tuple[type[msgspec.Struct], ...]) -> type[msgspec.Struct]:
    """The type of any of `kinds`."""
    union = kinds[0]
    for kind in kinds[1:]:
        union = union | kind  # type: ignore[assignment] # a union is no type to mypy, and one to msgspec
    return union


class Client:
    """One connection to an engine; a context manager that closes it.

    Attributes:
        session: Its state, which its calls use.
        calls: What is under way, by number.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Own `connection`, which becomes non-blocking."""
        connection.setblocking(False)
        self._socket = connection
        self._unsent = memoryview(b"")
        self._failure: ArdockError | None = None
        self.session = ClientSession()
        self.calls: dict[int, Call[object]] = {}

    @classmethod
    def connect(cls, path: str, *, patience: float = 10.0) -> Self:
        """A client of the engine at a socket; waits up to `patience` seconds where too many wait to be let in.

        Raises:
            DaemonUnavailable: Nobody answers there.
            NotPermitted: We may not use it.
        """
        deadline = time.monotonic() + patience
        while (connection := try_connect(path)) is None:
            if time.monotonic() > deadline:
                raise DaemonUnavailable(f"the engine at {path} does not answer: too many wait for it")
            time.sleep(_PAUSE)
        return cls(connection)

    def __repr__(self) -> str:
        """Its calls."""
        return f"<Client {len(self.calls)} calls{', closed' if self._socket.fileno() < 0 else ''}>"

    # --- without blocking ---

    def fileno(self) -> int:
        """The socket, to be polled: for reading always, for writing while `unsent`."""
        return self._socket.fileno()

    def begin(self, method: Method[ResultT], params: Params) -> Call[ResultT]:
        """Send a request, or keep it where the socket does not take it now. Any number may be under way.

        Raises:
            ConnectionLost: The connection is gone.
            InvalidArgument: It is larger than a message may be.
        """
        if self._failure is not None:
            raise self._failure
        call = Call(self, method, self.session.request(method.name, _encode(params)))
        self.calls[call.id] = call  # type: ignore[assignment] # one result type a method, many in this dict
        self.flush()
        return call

    @property
    def unsent(self) -> bool:
        """Something waits for the socket to take it: poll for writing and call `flush`."""
        return bool(self._unsent or self.session.waiting)

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._failure is None and (self._unsent or self.session.waiting):
            if not self._unsent:
                self._unsent = memoryview(self.session.outgoing())
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                # Closed over there: `feed` finds the end, after what was still said.
                self._unsent = memoryview(b"")
                return

    def feed(self) -> None:
        """Read what is there and hand it to the calls.

        Raises:
            ConnectionLost: The connection has ended; every call under way has failed with it.
            ArdockError: The engine ended it for a reason, or what it sent is no message; the same.
        """
        if self._failure is not None:
            raise self._failure
        while True:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(ConnectionLost(f"the connection to the engine was lost: {error.strerror}"))
                return
            if not data:
                self._lose(ConnectionLost("the connection to the engine was lost"))
                return
            try:
                for message in self.session.feed(data):
                    self._told(message)
            except msgspec.DecodeError as error:
                self._lose(ProtocolViolation(f"the engine sent a record that is not understood: {error}"))
            except ArdockError as error:
                self._lose(error)
            if len(data) < _READ:
                return

    def _told(self, message: object) -> None:
        if isinstance(message, Failed):
            raise from_info(message.error)
        if isinstance(message, Reply):
            call = self.calls.pop(message.id)
            call.finish(from_info(message.error) if message.error is not None else None, message.result)
        elif isinstance(message, Bytes | End | Items | ItemsEnd):
            self.calls[message.id].came(message)
        else:
            assert isinstance(message, Credit), "the session gives nothing else to a client"

    def _lose(self, error: ArdockError) -> None:
        self._failure = error
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.finish(error)
        raise error

    # --- blocking ---

    def pump(self, timeout: float | None = None) -> bool:
        """Wait until something comes (or may be sent), and handle it; False: nothing did for `timeout` seconds.

        Raises:
            As `feed`.
        """
        self.flush()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        ready = poll.poll(None if timeout is None else max(0.0, timeout * 1000))
        for _, events in ready:
            if events & select.POLLOUT:
                self.flush()
            if events & ~select.POLLOUT:
                self.feed()
        return bool(ready)

    def wait_for(self, call: Call[OtherT]) -> OtherT:
        """Wait for a call's answer; its streams, if it has any, are kept.

        Raises:
            ArdockError: It failed, or the connection did.
        """
        while not call.done:
            self.pump()
        return call.result()

    def call(self, method: Method[ResultT], params: Params) -> ResultT:
        """Make a call and wait for its answer.

        Raises:
            ArdockError: It failed, or the connection did.
        """
        return self.wait_for(self.begin(method, params))

    def greet(self) -> Version:
        """Ask who is there.

        Raises:
            Unsupported: An engine with another protocol.
        """
        version = self.call(VERSION, NoParams())
        if version.protocol != PROTOCOL:
            raise Unsupported(
                f"the engine (ardock {version.version}) speaks protocol {version.protocol}, this client {PROTOCOL}: "
                "use a client of the engine's version",
                option="protocol",
            )
        return version

    def close(self) -> None:
        """Close the connection: what is under way ends as its method says."""
        if self._failure is None:
            self._failure = EngineClosed("the connection to the engine is closed")
        self._socket.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`close`."""
        self.close()
