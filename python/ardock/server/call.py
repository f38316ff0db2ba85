"""One call at the server: what its connection tells it, and what it answers with.

`Call` is for calls without a task of their own (a run is answered by a callback), `TaskCall` for the others. How a call ends is
the same for both: with one answer, whoever asked for its end.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from trio.lowlevel import ParkingLot

from ardock.model.errors import ArdockError, Cancelled, CapacityExceeded, DeadlineExceeded, InvalidArgument
from ardock.protocol.errors import to_info, unexpected
from ardock.protocol.methods import ErrorInfo
from ardock.protocol.session import CHUNK, MAX_FRAME

if TYPE_CHECKING:
    from ardock.server.connection import Connection

_log: Final = logging.getLogger("ardock.server")
encode: Final = msgspec.msgpack.Encoder().encode


class Call:
    """A call under way.

    Attributes:
        connection: Where it came from.
        id: Its number there.
        method: Its name.
        cancelled: Why it is to end: its client asked for that, or its deadline passed.
    """

    __slots__ = ("cancelled", "connection", "id", "method")

    def __init__(self, connection: Connection, number: int, method: str) -> None:
        """Taken, and to be answered."""
        self.connection = connection
        self.id = number
        self.method = method
        self.cancelled: ArdockError | None = None

    def __repr__(self) -> str:
        """Its number and method."""
        return f"<{type(self).__name__} {self.id} {self.method}>"

    # --- told by the connection; nothing here waits or raises ---

    def cancel(self, reason: ArdockError) -> None:
        """It is to end soon, and be answered with `reason` unless its result is there."""

    def gone(self) -> None:
        """The connection is gone: nobody hears the answer."""

    def on_bytes(self, channel: int, data: bytes) -> None:  # noqa: ARG002 - for calls that have channels
        """Bytes came. The call has no such stream: they are taken."""
        self.connection.consumed(self.id, len(data))

    def on_end(self, channel: int) -> None:
        """A channel has ended."""

    def on_items(self, items: Sequence[msgspec.Raw]) -> None:
        """Records came. The call has no such stream: they are taken."""
        self.connection.consumed(self.id, sum(map(len, items)))

    def on_items_end(self) -> None:
        """The records have ended."""

    def on_room(self) -> None:
        """There may be more room to send."""

    # --- its end ---

    def reply(self, result: bytes) -> None:
        """Answer it with its encoded result."""
        if len(result) > MAX_FRAME - 64:
            self.fail(
                CapacityExceeded(
                    f"{self.method}: the answer has {len(result)} bytes, and {MAX_FRAME} are the most: ask for less, by filters or a limit"
                )
            )
            return
        self.connection.answered(self, result, None)

    def fail(self, error: ArdockError | ErrorInfo) -> None:
        """Answer it with an error."""
        self.connection.answered(self, b"", to_info(error) if isinstance(error, ArdockError) else error)


class TaskCall(Call):
    """A call with a task.

    Attributes:
        outlives: It is done to its end where its client is gone: that comes back for the result with its request id.
    """

    __slots__ = ("_room", "_scope", "outlives")

    def __init__(
        self, connection: Connection, number: int, method: str, *, deadline: float | None = None, outlives: bool = False
    ) -> None:
        """Taken; `start` begins it.

        Args:
            connection: Where it came from.
            number: Its number there.
            method: Its name.
            deadline: Seconds.
            outlives: It is done to its end where its client is gone.
        """
        super().__init__(connection, number, method)
        self.outlives = outlives
        self._scope = trio.CancelScope()
        self._room = ParkingLot()
        if deadline is not None:
            self._scope.deadline = trio.current_time() + deadline

    async def work(self) -> bytes:
        """Do it; the encoded result.

        Raises:
            ArdockError: What the client is told.
        """
        raise NotImplementedError

    def last_word(self) -> bytes | None:
        """The encoded result of a call that its client has cancelled, where there is one all the same."""
        return None

    def start(self) -> None:
        """Begin its task, which is the server's: it may outlive the connection."""
        self.connection.server.nursery.start_soon(self._run)

    async def _run(self) -> None:
        result: bytes | None = None
        try:
            with self._scope:
                result = await self.work()
        except Exception as error:  # noqa: BLE001 - every error is told to the client, and bugs are logged
            self._failed(_sole(error))
            return
        if result is None and self.cancelled is not None:
            result = self.last_word()
        if result is not None:
            self.reply(result)
        else:
            self.fail(self.cancelled or DeadlineExceeded(f"{self.method}: its deadline passed"))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ArdockError):
            self.fail(error)
        else:
            _log.error("unexpected error", exc_info=error, extra={"fields": {"method": self.method}})
            self.fail(unexpected(self.method, error))

    def cancel(self, reason: ArdockError) -> None:
        """Cancel the task."""
        self.cancelled = reason
        self._scope.cancel()

    def gone(self) -> None:
        """Cancel it, unless its client comes back for it."""
        if not self.outlives:
            self.cancel(Cancelled(f"{self.method}: its client is gone"))

    # --- sending streams ---

    def on_room(self) -> None:
        """Go on sending."""
        self._room.unpark_all()

    async def room(self) -> int:
        """Wait until bytes of a stream may be sent; how many."""
        while (room := self.connection.room(self.id)) <= 0:
            await self._room.park()
        return room

    async def send_bytes(self, channel: int, data: bytes | bytearray) -> None:
        """Send bytes of a channel, at the client's pace."""
        view = memoryview(data)
        while view:
            size = min(await self.room(), CHUNK, len(view))
            self.connection.session.send_bytes(self.id, channel, bytes(view[:size]))
            self.connection.flush()
            view = view[size:]

    async def send_item(self, item: bytes) -> None:
        """Send one encoded record, at the client's pace."""
        await self.room()
        self.connection.session.send_encoded(self.id, 1, item)
        self.connection.flush()

    def accept(self) -> None:
        """Tell the client that its call is good: an empty batch of records."""
        self.connection.session.send_items(self.id, ())
        self.connection.flush()

    def send_end(self, channel: int) -> None:
        """End a channel."""
        self.connection.session.send_end(self.id, channel)
        self.connection.flush()


class Incoming:
    """Bytes of one channel that came and were not taken."""

    __slots__ = ("_arrived", "_call", "_chunks", "_ended")

    def __init__(self, call: Call) -> None:
        """Nothing yet."""
        self._call = call
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._arrived = ParkingLot()

    def put(self, data: bytes) -> None:
        """More came."""
        if self._ended:
            self._call.connection.consumed(self._call.id, len(data))
        elif data:
            self._chunks.append(data)
            self._arrived.unpark_all()

    def end(self) -> None:
        """No more comes."""
        self._ended = True
        self._arrived.unpark_all()

    async def take(self) -> bytes:
        """All that is there, at least one byte; b"" at the end. The client gets credit for it."""
        while not self._chunks and not self._ended:
            await self._arrived.park()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._call.connection.consumed(self._call.id, len(data))
        return data

    def close(self) -> None:
        """Nobody takes any more: what comes is dropped."""
        self.end()
        self._call.connection.consumed(self._call.id, sum(map(len, self._chunks)))
        self._chunks.clear()


def check_deadline(deadline: float | None) -> None:
    """Refuse what is no time.

    Raises:
        InvalidArgument: It is not a number, or negative.
    """
    if deadline is not None and not (deadline >= 0 and math.isfinite(deadline)):
        raise InvalidArgument(f"deadline: a number of seconds is expected, not {deadline}", field="deadline")


def _sole(error: Exception) -> Exception:
    """Of a group of tasks that failed together the first one's error."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
