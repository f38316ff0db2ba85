"""One call of the trio client: what waits for it, and what comes of it. No I/O: the line (`ardock.client.line`) calls in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec
import outcome
import trio
from trio.lowlevel import Abort, ParkingLot, Task, current_task, reschedule, wait_task_rescheduled

from ardock.model.errors import ArdockError
from ardock.protocol.methods import Method, Params

if TYPE_CHECKING:
    from ardock.client.line import Line

ResultT = TypeVar("ResultT")

_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[str, msgspec.msgpack.Decoder[object]] = {}


def decode(method: Method[ResultT], result: bytes | msgspec.Raw) -> ResultT:
    """The result of `method`.

    Raises:
        msgspec.DecodeError: It is none (validation errors are of this class).
    """
    decoder = _decoders.get(method.name)
    if decoder is None:
        decoder = _decoders[method.name] = msgspec.msgpack.Decoder(method.result)
    return decoder.decode(result)  # type: ignore[return-value] # keyed by the method's name


class Call:
    """A call without streams but what `run` brings: its output, which is kept.

    Attributes:
        method: What is called.
        params: Its encoded parameters.
        id: Its number on the present connection; -1 where it was not sent on that.
        sent: It was sent once, on whichever connection: what became of it there is not known.
        attempts: Connections in a row that broke soon after it was sent.
        cancelled: Its caller does not want it any more.
        error: How it failed; valid once `done`.
        result: Its encoded result; valid once `done`.
        done: It is answered, or given up.
        output: What came on the channels 1 and 2.
    """

    __slots__ = (
        "_output",
        "_raise_cancel",
        "_task",
        "attempts",
        "cancelled",
        "done",
        "error",
        "id",
        "method",
        "params",
        "result",
        "sent",
    )

    # Whether it is sent again on the next connection where this one breaks: its request id makes that safe, or it only reads.
    repeats = True

    def __init__(self, method: Method[ResultT], params: Params) -> None:
        """Not sent yet."""
        self.method: Method[object] = method  # type: ignore[assignment] # only its name and decoder are used
        self.params = _encode(params)
        self.id = -1
        self.sent = False
        self.attempts = 0
        self.cancelled = False
        self.done = False
        self.error: ArdockError | None = None
        self.result: bytes | msgspec.Raw = b""
        self._output: tuple[list[bytes], list[bytes]] | None = None
        self._task: Task | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None

    def __repr__(self) -> str:
        """Its method and state."""
        state = "done" if self.done else "sent" if self.id >= 0 else "waiting"
        return f"<{type(self).__name__} {self.method.name} {state}>"

    # --- told by the line ---

    def on_bytes(self, line: Line, channel: int, data: bytes) -> None:
        """Output came. It is bounded by the call's `max_output`, so its credit goes back at once."""
        if self._output is None:
            self._output = ([], [])
        if channel in (1, 2):
            self._output[channel - 1].append(data)
        line.consumed(self, len(data))

    def on_end(self, channel: int) -> None:
        """A channel has ended."""

    def on_items(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """Records came."""
        line.consumed(self, sum(map(len, items)))

    def on_credit(self) -> None:
        """More may be sent."""

    def on_repeat(self) -> None:
        """It is sent again on a new connection: what the old one brought of its output comes again."""
        self._output = None

    def finish(self, error: ArdockError | None, result: bytes | msgspec.Raw = b"") -> None:
        """It is answered, or given up."""
        self.done = True
        self.error = error
        self.result = result
        task, self._task = self._task, None
        if task is not None:
            raise_cancel, self._raise_cancel = self._raise_cancel, None
            reschedule(task, outcome.Value(None) if raise_cancel is None else outcome.capture(raise_cancel))

    # --- asked by its caller ---

    def channel(self, number: int) -> bytes:
        """All that came on a channel."""
        return b"".join(self._output[number - 1]) if self._output is not None else b""

    async def wait(self, line: Line) -> None:
        """Wait until it is done. Cancelled, cancel it over there and wait for its end, which is soon."""

        def abort(raise_cancel: Callable[[], NoReturn]) -> Abort:
            task, self._task = self._task, None
            if not line.cancel(self):
                return Abort.SUCCEEDED
            self._task, self._raise_cancel = task, raise_cancel
            return Abort.FAILED

        if not self.done:
            self._task = current_task()
            await wait_task_rescheduled(abort)


class StreamCall(Call):
    """A call with streams, which several tasks may wait for. It ends with its connection.

    Attributes:
        line: What it is sent on.
        accepted: The first record came (or an empty batch, which says no more than that).
        changed: Parks those who wait for `accepted` or `done`.
    """

    __slots__ = ("accepted", "changed", "line")

    repeats = False

    def __init__(self, line: Line, method: Method[ResultT], params: Params) -> None:
        """Not sent yet."""
        super().__init__(method, params)
        self.line = line
        self.accepted = False
        self.changed = ParkingLot()

    def on_items(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """The first ones say that the call was accepted, also an empty batch."""
        if items:
            self.on_records(line, items)
        if not self.accepted:
            self.accepted = True
            self.changed.unpark_all()

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """Records came, at least one."""
        line.consumed(self, sum(map(len, items)))

    def finish(self, error: ArdockError | None, result: bytes | msgspec.Raw = b"") -> None:
        """It is answered, or given up."""
        super().finish(error, result)
        self.changed.unpark_all()

    async def until_accepted(self) -> None:
        """Send it and wait until it is accepted. Cancelled, cancel it over there and wait for its end.

        Raises:
            ArdockError: It was refused.
        """
        await self.line.send(self)
        try:
            while not (self.accepted or self.done):
                await self.changed.park()
        except trio.Cancelled:
            await self.end()
            raise
        if self.error is not None and not self.accepted:
            raise self.error

    async def until_done(self) -> None:
        """Wait until it is answered."""
        while not self.done:
            await self.changed.park()

    async def end(self) -> None:
        """Cancel it and wait for its end, also when cancelled; not for ever: an engine that is stopped does not answer."""
        if not self.done and self.line.cancel(self):
            with trio.CancelScope(shield=True):
                await self.until_done()
