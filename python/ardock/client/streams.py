"""A remote program's standard streams as trio streams, and the calls that bring them.

All channels of a call share one credit: a reader that leaves one of them unread while 256 KiB wait there stops the others,
too, as a full pipe would stop the program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import trio
from trio.abc import SendStream, Stream
from trio.lowlevel import ParkingLot

from ardock import interface
from ardock.client.calls import StreamCall
from ardock.model.errors import ArdockError
from ardock.protocol.methods import Attached, Method, Missed, Params, Started

if TYPE_CHECKING:
    from ardock.client.line import Line

ResultT = TypeVar("ResultT")

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

# The most bytes of one message: many calls share a connection, and none shall hold it for long.
CHUNK: Final = 1 << 16

_decode_started: Final = msgspec.msgpack.Decoder(Started).decode
_decode_attached: Final = msgspec.msgpack.Decoder(Attached | Missed).decode


class Incoming:
    """What came on one channel and was not read yet."""

    __slots__ = ("chunks", "closed", "ended", "readers")

    def __init__(self) -> None:
        """Nothing yet."""
        self.chunks: deque[bytes] = deque()
        self.ended = False
        self.closed = False
        self.readers = ParkingLot()

    def end(self) -> None:
        """Nothing more comes."""
        self.ended = True
        self.readers.unpark_all()


class ChannelCall(StreamCall):
    """A call that brings bytes on channels and takes them: `spawn`, `exec`, `attach`, `images.import`.

    Attributes:
        started: The record that `spawn` and `exec` begin with.
        tty: What `attach` begins with.
        missed: Bytes that `attach` has missed.
        deaf: The program has closed its standard input.
        writers: Parks those who wait for room.
    """

    __slots__ = ("channels", "deaf", "missed", "started", "tty", "writers")

    def __init__(self, line: Line, method: Method[ResultT], params: Params) -> None:
        """Not sent yet."""
        super().__init__(line, method, params)
        self.channels: dict[int, Incoming] = {STDOUT: Incoming(), STDERR: Incoming()}
        self.started: Started | None = None
        self.tty = False
        self.missed = 0
        self.deaf = False
        self.writers = ParkingLot()

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """`Started`, `Attached` or `Missed`."""
        for item in items:
            if self.method.name == "containers.attach":
                record = _decode_attached(item)
                if isinstance(record, Attached):
                    self.tty = record.tty
                else:
                    self.missed = record.total
            else:
                self.started = _decode_started(item)
        super().on_records(line, items)

    def on_bytes(self, line: Line, channel: int, data: bytes) -> None:
        """Kept until they are read, which gives their credit back."""
        incoming = self.channels.get(channel)
        if incoming is None or incoming.closed or self.cancelled:
            line.consumed(self, len(data))
            return
        incoming.chunks.append(data)
        incoming.readers.unpark()

    def on_end(self, channel: int) -> None:
        """Its reader gets b"" after what is still here; of standard input: the program has closed it."""
        if channel == STDIN:
            self.deaf = True
            self.writers.unpark_all()
            return
        incoming = self.channels.get(channel)
        if incoming is not None:
            incoming.end()

    def on_credit(self) -> None:
        """Those who write go on."""
        self.writers.unpark_all()

    def finish(self, error: ArdockError | None, result: bytes | msgspec.Raw = b"") -> None:
        """Nothing more comes, nor is taken."""
        super().finish(error, result)
        self.writers.unpark_all()
        for incoming in self.channels.values():
            incoming.end()

    def drop(self, channel: int) -> None:
        """Nobody reads this channel any more."""
        incoming = self.channels[channel]
        incoming.closed = True
        size = sum(map(len, incoming.chunks))
        incoming.chunks.clear()
        incoming.end()
        if size and not self.done:
            self.line.consumed(self, size)

    async def end(self) -> None:
        """Cancel it and wait for its end; what nobody will read does not hold that up."""
        for channel in self.channels:
            self.drop(channel)
        await super().end()


class OutputStream(interface.OutputStream):
    """Standard output or error: b"" once nobody holds its other end."""

    def __init__(self, call: ChannelCall, channel: int) -> None:
        """Read a channel of `call`."""
        self._call = call
        self._channel = channel
        self._incoming = call.channels[channel]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" at the end.

        Raises:
            trio.BrokenResourceError: The connection to the engine was lost, and the rest of the output with it.
            trio.ClosedResourceError: It is closed.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        await trio.lowlevel.checkpoint()
        incoming = self._incoming
        while not incoming.chunks:
            if incoming.closed:
                raise trio.ClosedResourceError("the stream is closed")
            if incoming.ended:
                if self._call.done and self._call.error is not None:
                    raise trio.BrokenResourceError(str(self._call.error)) from self._call.error
                return b""
            await incoming.readers.park()
        data = incoming.chunks.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            incoming.chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._call.line.consumed(self._call, len(data))
        return data

    def close(self) -> None:
        """Let the rest go by unread."""
        if not self._incoming.closed:
            self._call.drop(self._channel)

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


class InputStream(SendStream):
    """Standard input; `aclose` ends it."""

    def __init__(self, call: ChannelCall) -> None:
        """Write channel 0 of `call`."""
        self._call = call
        self._closed = False
        self._busy = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, at the program's pace.

        Raises:
            trio.BrokenResourceError: The program has closed its input or ended, or the connection was lost.
            trio.ClosedResourceError: It is closed.
            trio.BusyResourceError: Another task writes.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is writing to this stream")
        view = memoryview(data).cast("B")
        self._busy = True
        try:
            await trio.lowlevel.checkpoint()
            while view:
                size = min(await self._room(), len(view), CHUNK)
                self._call.line.send_bytes(self._call, STDIN, bytes(view[:size]))
                view = view[size:]
        finally:
            self._busy = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await trio.lowlevel.checkpoint()
        await self._room()

    async def _room(self) -> int:
        while True:
            if self._closed:
                raise trio.ClosedResourceError("the stream is closed")
            if self._call.done or self._call.cancelled:
                raise trio.BrokenResourceError("the program has ended") from self._call.error
            if self._call.deaf:
                raise trio.BrokenResourceError("the program has closed its standard input")
            room = self._call.line.room(self._call)
            if room > 0:
                return room
            await self._call.writers.park()

    def close(self) -> None:
        """End the input at once."""
        if not self._closed:
            self._closed = True
            self._call.writers.unpark_all()
            if not self._call.done:
                self._call.line.send_end(self._call, STDIN)

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


class TerminalStream(Stream):
    """The outer side of a program's terminal, for both directions."""

    def __init__(self, call: ChannelCall) -> None:
        """Channels 0 and 1 of `call`."""
        self._input = InputStream(call)
        self._output = OutputStream(call, STDOUT)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" once no process has the terminal open any more."""
        return await self._output.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type `data`."""
        await self._input.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._input.wait_send_all_might_not_block()

    def close(self) -> None:
        """Close this side at once (the program sees no hang-up)."""
        self._output.close()
        self._input.close()

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()
