"""`containers.run_many`: specs come, results go in the order in which they end; one task for the batch, none for a container."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from trio.lowlevel import ParkingLot

from ardock.model.errors import ArdockError, InvalidArgument
from ardock.model.making import check_max_output
from ardock.model.records import RunResult
from ardock.model.spec import ContainerSpec
from ardock.protocol.errors import bad_params
from ardock.protocol.methods import RUN_MANY, Nothing, RunMany
from ardock.protocol.session import CHUNK
from ardock.server.call import TaskCall, encode
from ardock.server.oneshot import send_output
from ardock.server.served import Handle

if TYPE_CHECKING:
    from ardock.server.connection import Connection

_decode: Final = msgspec.msgpack.Decoder(ContainerSpec).decode
# Containers of one batch that queue for a launch slot: enough that no slot waits for us, few enough that the calls of others
# are not far behind.
_MOST_QUEUED: Final = 32
# Results that wait for a slow client; no more containers are launched meanwhile.
_MOST_READY: Final = 1024
# Seconds in which killed containers end, unless the machine is in trouble; the engine goes on ending them.
_FAREWELL: Final = 30.0


class RunManyCall(TaskCall):
    """A batch under way."""

    __slots__ = (
        "_changed",
        "_closing",
        "_in_flight",
        "_index",
        "_max_output",
        "_pumping",
        "_queued",
        "_ready",
        "_running",
        "_specs",
        "_specs_end",
    )

    def __init__(self, connection: Connection, number: int, params: RunMany) -> None:
        """Taken.

        Raises:
            InvalidArgument: A number is out of range.
        """
        super().__init__(connection, number, RUN_MANY.name, deadline=params.deadline)
        check_max_output(params.max_output)
        if params.in_flight is not None and params.in_flight < 1:
            raise InvalidArgument(f"in_flight: must be at least 1, not {params.in_flight}", field="in_flight")
        self._max_output = params.max_output
        self._in_flight = params.in_flight
        self._specs: deque[msgspec.Raw] = deque()
        self._specs_end = False
        self._index = 0
        # By their indices; None while the engine is being asked.
        self._running: dict[int, Handle | None] = {}
        # Of `_running` those that were not launched yet.
        self._queued: set[int] = set()
        self._ready: deque[RunResult] = deque()
        self._changed = ParkingLot()
        self._pumping = False
        self._closing = False

    # --- told by the connection and the engine ---

    def on_items(self, items: Sequence[msgspec.Raw]) -> None:
        """Specs came."""
        self._specs.extend(items)
        self._pump()

    def on_items_end(self) -> None:
        """No more come."""
        self._specs_end = True
        self._changed.unpark_all()

    def _launched(self, index: int) -> None:
        self._queued.discard(index)
        self._pump()

    def _ended(self, index: int, answer: RunResult | ArdockError) -> None:
        self._running.pop(index, None)
        self._queued.discard(index)
        if isinstance(answer, ArdockError):
            answer = RunResult(id="", exit_code=answer.exit_code, error=answer)
        answer.index = index
        self._ready.append(answer)
        self._changed.unpark_all()
        self._pump()

    # --- launching ---

    def _pump(self) -> None:
        """Launch as many as there is room for."""
        if self._pumping:
            return  # The engine answered at once: the loop below goes on, instead of a deeper one.
        self._pumping = True
        while self._specs and self._has_room():
            raw = self._specs.popleft()
            self.connection.consumed(self.id, len(raw))
            index = self._index
            self._index += 1
            try:
                spec = _decode(raw)
            except ValueError as error:
                self._ended(index, bad_params(self.method, error))
                continue
            self._queued.add(index)
            self._running[index] = None
            handle = self.connection.server.engine.containers.run_nowait(
                spec,
                max_output=self._max_output,
                done=partial(self._ended, index),
                launched=partial(self._launched, index),
            )
            if index in self._running:
                self._running[index] = handle
        self._pumping = False

    def _has_room(self) -> bool:
        if self._closing or len(self._queued) >= _MOST_QUEUED or len(self._ready) >= _MOST_READY:
            return False
        return self._in_flight is None or len(self._running) < self._in_flight

    # --- answering ---

    async def work(self) -> bytes:
        """Send results until all are sent."""
        try:
            while self._ready or self._running or self._specs or not self._specs_end:
                if self._ready:
                    await self._send()
                    self._pump()
                else:
                    await self._changed.park()
        finally:
            self._closing = True
            if self._running and not self.connection.server.closing:
                await self._end_all()
        return encode(Nothing())

    async def _send(self) -> None:
        """Send what is ready: short results together, one with long output by itself."""
        batch: list[bytes] = []
        size = 0
        while self._ready and size < CHUNK:
            outcome = await send_output(self, self._ready.popleft())
            item = encode(outcome)
            batch.append(item)
            size += len(item)
            if outcome.streamed:
                break
        await self.room()
        self.connection.session.send_items(self.id, batch)
        self.connection.flush()

    async def _end_all(self) -> None:
        """Kill what still runs and await its end."""
        with trio.move_on_after(_FAREWELL, shield=True):
            for handle in list(self._running.values()):
                if handle is not None:
                    handle.cancel()
            while self._running:
                await self._changed.park()
