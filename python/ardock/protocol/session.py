"""One end of a connection, without I/O: bytes in, messages out; messages in, bytes out.

Both ends share the flow control. Of the payload of a call's streams a sender may have `WINDOW` bytes under way in each
direction: it may send while `room` is positive (one record may overshoot it), and the receiver gives back by `consumed` what
its caller has taken. So a call that nobody reads holds no other call back, and neither end stores more than it must.

What comes for a call that has ended here is late, not wrong, and is left out of what `feed` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ardock.model.errors import ArdockError, MalformedRequest, ProtocolViolation
from ardock.protocol import frames, messages
from ardock.protocol.frames import MAX_FRAME
from ardock.protocol.messages import (
    Bytes,
    Cancel,
    Credit,
    End,
    Failed,
    Items,
    ItemsEnd,
    Message,
    Reply,
    Request,
)
from ardock.protocol.methods import ErrorInfo

__all__ = [
    "CHUNK",
    "MAX_FRAME",
    "WINDOW",
    "Bytes",
    "Cancel",
    "ClientSession",
    "Credit",
    "End",
    "Failed",
    "Items",
    "ItemsEnd",
    "Message",
    "Reply",
    "Request",
    "ServerSession",
]

# Payload bytes under way per call and direction: of `bytes` the data, of `items` the encoded records.
WINDOW: Final = 256 << 10
# The most bytes of one `bytes` message: many calls share a connection, and none shall hold it for long.
CHUNK: Final = 64 << 10
# Credit goes back in portions: a message for each read would cost as much as what it is for.
_PORTION: Final = WINDOW // 4


class _Flow:
    """The streams of one call.

    Attributes:
        sent: Bytes that were sent and not given back.
        received: Bytes that came and were not given back.
        owed: Of these, what was consumed.
    """

    __slots__ = ("owed", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.owed = 0


class _Session:
    """What both ends have.

    Attributes:
        waiting: Bytes that are ready to be sent: the length of what `outgoing` would give.
    """

    # Whose fault it is that what comes is no message.
    _fault: type[ArdockError]

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._reader = frames.reader(max_frame)
        self._out: list[bytes] = []
        self.waiting = 0
        self._calls: set[int] = set()
        # Most calls have no streams.
        self._flows: dict[int, _Flow] = {}

    def __repr__(self) -> str:
        """Its calls and what waits."""
        return f"<{type(self).__name__} {len(self._calls)} calls, {self.waiting} bytes to send>"

    @property
    def pending(self) -> int:
        """Bytes of a message that has begun and is not whole."""
        return self._reader.pending

    @property
    def calls(self) -> int:
        """Number of calls under way."""
        return len(self._calls)

    def outgoing(self) -> bytes:
        """All that is ready to be sent, once."""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self.waiting = 0
        return data

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole with these bytes, in order.

        Raises:
            ArdockError: They are none, or not this end's to get: close the connection. Messages before the wrong one in the
                same piece are lost.
        """
        found: list[Message] = []
        try:
            for frame in self._reader.feed(data):
                message = messages.decode(frame)
                if self._admit(message):
                    found.append(message)
        except ValueError as error:
            raise self._fault(_sentence(error)) from None
        return found

    def _admit(self, message: Message) -> bool:
        """Whether `message` is news; ValueError: it may not come."""
        if isinstance(message, Bytes):
            return self._arrived(message.id, len(message.data))
        if isinstance(message, Items):
            return self._arrived(message.id, sum(map(len, message.items)))
        if isinstance(message, Credit):
            flow = self._flows.get(message.id)
            if flow is None:
                return False
            if message.size > flow.sent:
                raise ValueError(f"call {message.id}: credit for {message.size} bytes, and {flow.sent} are under way")
            flow.sent -= message.size
            return True
        if isinstance(message, End | ItemsEnd):
            return message.id in self._calls
        raise ValueError(f"a {type(message).__name__.lower()} goes the other way")

    def _arrived(self, number: int, size: int) -> bool:
        if number not in self._calls:
            return False
        flow = self._flow(number)
        if flow.received >= WINDOW:
            raise ValueError(f"call {number}: more than {WINDOW} bytes of a stream without credit")
        flow.received += size
        return True

    def _flow(self, number: int) -> _Flow:
        flow = self._flows.get(number)
        if flow is None:
            flow = self._flows[number] = _Flow()
        return flow

    def _end(self, number: int) -> bool:
        """The call is over; False: it was."""
        if number not in self._calls:
            return False
        self._calls.remove(number)
        self._flows.pop(number, None)
        return True

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        self.waiting += len(frame)

    # --- streams, both directions; for a call that has ended they do nothing ---

    def room(self, number: int) -> int:
        """Bytes that may be sent now of the call's streams; 0 for one that has ended."""
        if number not in self._calls:
            return 0
        flow = self._flows.get(number)
        return WINDOW if flow is None else max(0, WINDOW - flow.sent)

    def consumed(self, number: int, size: int) -> bool:
        """`size` bytes of the call's streams have been taken; True: there is something to send now."""
        flow = self._flows.get(number)
        if flow is None:
            return False
        flow.owed += size
        if flow.owed < _PORTION:
            return False
        assert flow.owed <= flow.received, f"call {number}: more was consumed than came"
        self._send(frames.notification("credit", number, flow.owed))
        flow.received -= flow.owed
        flow.owed = 0
        return True

    def send_bytes(self, number: int, channel: int, data: bytes) -> None:
        """Send bytes of a channel; there is `room`."""
        if number in self._calls and data:
            self._flow(number).sent += len(data)
            for start in range(0, len(data), CHUNK):
                piece = data if len(data) <= CHUNK else data[start : start + CHUNK]
                self._send(frames.notification("bytes", number, channel, piece))

    def send_end(self, number: int, channel: int) -> None:
        """End a channel."""
        if number in self._calls:
            self._send(frames.notification("end", number, channel))

    def send_items(self, number: int, items: Sequence[bytes | msgspec.Raw]) -> None:
        """Send encoded records; there is `room` for all but the last. None at all say that the call was accepted."""
        self.send_encoded(number, len(items), b"".join(map(bytes, items)))

    def send_encoded(self, number: int, count: int, encoded: bytes) -> None:
        """`send_items` for `count` records that are encoded one after the other."""
        if number in self._calls:
            if encoded:
                self._flow(number).sent += len(encoded)
            self._send(frames.items(number, count, encoded))

    def send_items_end(self, number: int) -> None:
        """End the records."""
        if number in self._calls:
            self._send(frames.notification("items_end", number))


class ClientSession(_Session):
    """The client's end. `feed` gives `Reply`, `Bytes`, `End`, `Items`, `ItemsEnd`, `Credit` and `Failed`."""

    _fault = ProtocolViolation

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        """A new connection."""
        super().__init__(max_frame)
        self._next = 0

    def request(self, method: str, params: bytes | msgspec.Raw) -> int:
        """Send a call with its encoded parameters; its number.

        Raises:
            InvalidArgument: It is larger than a frame may be.
        """
        number = self._next
        while number in self._calls:  # only after 2^32 calls
            number = (number + 1) & 0xFFFF_FFFF
        self._send(frames.call(number, method, params))
        self._next = (number + 1) & 0xFFFF_FFFF
        self._calls.add(number)
        return number

    def cancel(self, number: int) -> None:
        """Ask for a call's end; its reply comes."""
        if number in self._calls:
            self._send(frames.notification("cancel", number))

    def _admit(self, message: Message) -> bool:
        if isinstance(message, Reply):
            if not self._end(message.id):
                raise ValueError(f"an answer to call {message.id}, which is not under way")
            return True
        if isinstance(message, Failed):
            return True
        return super()._admit(message)


class ServerSession(_Session):
    """The server's end. `feed` gives `Request`, `Bytes`, `End`, `Items`, `ItemsEnd`, `Credit` and `Cancel`."""

    _fault = MalformedRequest

    def reply(self, number: int, result: bytes) -> None:
        """Answer a call with its encoded result."""
        if self._end(number):
            self._send(frames.answer(number, result))

    def fail(self, number: int, error: ErrorInfo) -> None:
        """Answer a call that failed."""
        if self._end(number):
            self._send(frames.failure(number, error))

    def close(self, error: ErrorInfo) -> None:
        """Say why the connection is closed: the last message."""
        self._send(frames.notification("error", error))

    def _admit(self, message: Message) -> bool:
        if isinstance(message, Request):
            if message.id in self._calls:
                raise ValueError(
                    f"call {message.id} is under way already: its number may be used again after its answer"
                )
            self._calls.add(message.id)
            return True
        if isinstance(message, Cancel):
            return message.id in self._calls
        return super()._admit(message)


def _sentence(error: ValueError) -> str:
    text = str(error).replace("`", "").strip().rstrip(".")
    return f"no message of the protocol: {text[:1].lower()}{text[1:]}"
