"""`RunMany` over a line: specs go as there is credit for them, results come as they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Self

import msgspec
import trio

from ardock.client.calls import StreamCall
from ardock.client.remote import mistaken
from ardock.interface import Closing
from ardock.model.errors import ArdockError, Cancelled
from ardock.model.records import RunResult
from ardock.model.spec import ContainerSpec
from ardock.protocol.errors import from_info
from ardock.protocol.methods import RUN_MANY, Outcome
from ardock.protocol.methods import RunMany as Params
from ardock.protocol.outcomes import to_result

if TYPE_CHECKING:
    from ardock.client.line import Line

# So many specs travel in one message at most: the first containers start while the next ones are still encoded.
_MOST_TOGETHER: Final = 128
_MOST_BYTES: Final = 1 << 15
# With a limit of its own, so many more are taken than that, so that the next one is there when one ends.
_AHEAD: Final = 32

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Outcome).decode


class BatchCall(StreamCall):
    """The call behind a `RunMany`. It does not hold the `RunMany`, whose `__del__` ends it where the loop was left.

    Attributes:
        ready: Results that were not taken, each with its credit.
    """

    __slots__ = ("_ended", "_exhausted", "_most", "_specs", "_streamed", "failure", "index", "ready", "sent_indices")

    def __init__(self, line: Line, specs: Iterable[ContainerSpec], params: Params) -> None:
        """Nothing is sent before the first result is asked for."""
        self._most = None if params.in_flight is None else params.in_flight + _AHEAD
        super().__init__(line, RUN_MANY, params)
        self._specs: Iterator[ContainerSpec] = iter(specs)
        self._exhausted = False
        self._streamed: tuple[list[bytes], list[bytes]] = ([], [])
        # What the engine counts is what it got: specs that cannot be sent are results of our own.
        self.index = 0
        self._ended = 0
        self.sent_indices: list[int] | None = None
        self.ready: deque[tuple[RunResult, int]] = deque()
        self.failure: BaseException | None = None

    def pump(self) -> None:
        """Send as many specs as there is room for. An error of the caller's iterator is kept for the caller."""
        while not (self._exhausted or self.done or self.cancelled) and self.line.room(self) > 0:
            items: list[bytes] = []
            size = 0
            most = _MOST_TOGETHER if self._most is None else min(_MOST_TOGETHER, self._most + self._ended - self.index)
            if most <= 0:
                return
            while len(items) < most and size < _MOST_BYTES:
                try:
                    spec = next(self._specs, None)
                except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                    self.failure = error
                    self._exhausted = True
                    self.changed.unpark_all()
                    return
                if spec is None:
                    self._exhausted = True
                    break
                item = self._encoded(spec)
                if item is not None:
                    items.append(item)
                    size += len(item)
            if items or self._exhausted:
                self.line.send_items(self, items, last=self._exhausted)

    def _encoded(self, spec: ContainerSpec) -> bytes | None:
        index = self.index
        self.index += 1
        try:
            item = _encode(spec)
        except (TypeError, ValueError, OverflowError) as error:
            self._own_result(index, mistaken(spec, error))
            return None
        if self.sent_indices is not None:
            self.sent_indices.append(index)
        return item

    def _own_result(self, index: int, error: ArdockError) -> None:
        if self.sent_indices is None:
            self.sent_indices = list(range(index))
        self._ended += 1
        self.ready.append((RunResult(id="", index=index, exit_code=error.exit_code, error=error), 0))
        self.changed.unpark_all()

    # --- told by the line ---

    def on_credit(self) -> None:
        """Room for more."""
        self.pump()

    def on_bytes(self, line: Line, channel: int, data: bytes) -> None:
        """Output of the next result, which is too long to be in it."""
        if channel in (1, 2) and not self.cancelled:
            self._streamed[channel - 1].append(data)
        line.consumed(self, len(data))

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:
        """Results."""
        if self.cancelled:
            line.consumed(self, sum(map(len, items)))
            return
        for item in items:
            outcome = _decode(item)
            stdout = stderr = None
            if outcome.streamed:
                stdout, stderr = (b"".join(chunks) for chunks in self._streamed)
                self._streamed = ([], [])
            error = from_info(outcome.error) if outcome.error is not None else None
            result = to_result(outcome, stdout=stdout, stderr=stderr, error=error)
            if self.sent_indices is not None:
                result.index = self.sent_indices[result.index]
            self.ready.append((result, len(item)))
        self._ended += len(items)
        self.changed.unpark_all()
        self.pump()


class RunMany(Closing):
    """Results of many containers in the order in which they end; an async iterator and context manager."""

    def __init__(self, call: BatchCall) -> None:
        """Made by `Containers.run_many` alone."""
        self._call = call
        self._begun = False

    def __repr__(self) -> str:
        """What it has done."""
        return f"<RunMany {self._call.index} sent, {len(self._call.ready)} ready>"

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> RunResult:
        """The next container that has ended. Cancelled, it kills the rest and awaits their end.

        Raises:
            ConnectionLost: The connection was lost; the engine kills what still ran.
            EngineClosed: The engine (or this client of it) is closed.
        """
        call = self._call
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._begun:
                self._begun = True
                await call.line.send(call)
            if not call.ready:
                call.pump()
            while not call.ready:
                if call.failure is not None:
                    failure, call.failure = call.failure, None
                    await self.aclose()
                    raise failure
                if call.done:
                    if call.error is not None and not isinstance(call.error, Cancelled):
                        raise call.error
                    raise StopAsyncIteration
                await call.changed.park()
        except trio.Cancelled:
            await self.aclose()
            raise
        result, size = call.ready.popleft()
        if size:
            call.line.consumed(call, size)
        return result

    async def aclose(self) -> None:
        """Kill what still runs and await its end; results not taken are dropped."""
        call = self._call
        self._drop()
        if self._begun:
            await call.end()
        else:
            self._begun = True
            call.finish(Cancelled(f"{RUN_MANY.name}: cancelled"))

    def _drop(self) -> None:
        call = self._call
        size = sum(size for _, size in call.ready)
        call.ready.clear()
        if size:
            call.line.consumed(call, size)

    def __del__(self) -> None:
        """The loop was left: kill what still runs, in the background."""
        if self._begun and not self._call.done and not self._call.cancelled:
            self._drop()
            self._call.line.cancel(self._call)
