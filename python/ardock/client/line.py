"""The line to an engine: one connection at a time, made anew when it breaks.

When a connection breaks, calls that may be repeated are sent again on the next one, in their order, with the same request
ids; where no connection can be had for `patience` seconds they fail. The others fail at once: what became of them is not
known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio.lowlevel import ParkingLot

from ardock.client.calls import Call
from ardock.client.link import Link, make_link
from ardock.model.errors import ArdockError, Cancelled, ConnectionLost, EngineClosed, InvalidArgument
from ardock.protocol.errors import from_info
from ardock.protocol.methods import Version
from ardock.protocol.session import Bytes, Credit, End, Failed, Items, Message, Reply

# A server takes 4,096 calls from a connection; the rest is for those that end others.
_MOST_CALLS: Final = 4000
# A connection that breaks sooner than this (seconds) may have been broken by what was sent on it; a call that was sent on so
# many of them in a row is given up.
_SOON: Final = 2.0
_MOST_ATTEMPTS: Final = 5
# How long leaving waits for the ends of the calls that it cancels, seconds.
_FAREWELL: Final = 10.0


class Line:
    """Calls to an engine; made by `open_line`."""

    def __init__(self, where: Callable[[], str], patience: float, link: Link) -> None:
        """Over `link` first."""
        self._where = where
        self._link: Link | None = link
        # Whoever is cancelled awaits the engine's word for it: what reads that must outlive them.
        self._scope = trio.CancelScope(shield=True)
        self._nursery: trio.Nursery | None = None
        self._waiting: deque[Call] = deque()
        # What was cancelled, with the time when the engine must have answered that.
        self._cancelled: deque[tuple[float, Call]] = deque()
        self._wanted = trio.Event()
        self._changed = ParkingLot()
        self._closed = False
        self.patience = patience
        self.version: Version = link.version

    def __repr__(self) -> str:
        """Its state."""
        link = self._link
        state = "closed" if self._closed else "down" if link is None else "up"
        calls = len(self._waiting) + (len(link.calls) if link is not None else 0)
        return f"<Line to {self.version.engine} {state}, {calls} calls>"

    # --- for calls ---

    @property
    def full(self) -> bool:
        """The engine takes no more calls just now."""
        return self._link is not None and len(self._link.calls) >= _MOST_CALLS

    async def until_room(self) -> None:
        """Wait until one more call may be sent."""
        while self.full:
            await self._changed.park()

    async def send(self, call: Call) -> None:
        """`send_nowait`, once there is room."""
        await self.until_room()
        self.send_nowait(call)

    def send_nowait(self, call: Call) -> None:
        """Send a call, now or when there is a connection.

        Raises:
            EngineClosed: This client is closed.
            InvalidArgument: The call is larger than a message may be.
        """
        if self._closed:
            raise EngineClosed("the connection to the engine is closed")
        if self._link is None:
            self._waiting.append(call)
            self._wanted.set()
        else:
            self._request(self._link, call)

    def _request(self, link: Link, call: Call) -> None:
        call.id = link.session.request(call.method.name, call.params)
        call.sent = True
        link.calls[call.id] = call
        link.flush()

    def cancel(self, call: Call) -> bool:
        """Cancel a call over there: its end comes. False: it is not under way there, and has ended here."""
        call.cancelled = True
        link = self._link
        if link is None or link.calls.get(call.id) is not call:
            # Where it was sent on a connection that broke, the engine ends it by itself: its client does not come back.
            if call in self._waiting:
                self._waiting.remove(call)
            if not call.done:
                call.finish(Cancelled(f"{call.method.name}: cancelled"))
            return False
        link.session.cancel(call.id)
        link.flush()
        if not self._cancelled:
            assert self._nursery is not None, "it is up"
            self._nursery.start_soon(self._give_up)
        self._cancelled.append((trio.current_time() + self.patience, call))
        return True

    async def _give_up(self) -> None:
        """An engine that is stopped or wedged does not answer a cancel: its callers do not hang with it."""
        while self._cancelled:
            deadline, call = self._cancelled[0]
            if not call.done:
                await trio.sleep_until(deadline)
            self._cancelled.popleft()
            if not call.done:
                if self._link is not None:
                    self._link.calls.pop(call.id, None)
                call.finish(ConnectionLost(f"{call.method.name}: cancelled, and the engine did not answer that"))

    def consumed(self, call: Call, size: int) -> None:
        """Give credit back for so many bytes of a call's streams."""
        link = self._link
        if link is not None and link.calls.get(call.id) is call and link.session.consumed(call.id, size):
            link.flush()

    def room(self, call: Call) -> int:
        """Bytes of streams that the call may send now."""
        link = self._link
        if link is None or link.calls.get(call.id) is not call:
            return 0
        return link.session.room(call.id)

    def send_bytes(self, call: Call, channel: int, data: bytes) -> None:
        """Send bytes of a call's stream; there is `room`."""
        link = self._link
        assert link is not None, "there was room"
        link.session.send_bytes(call.id, channel, data)
        link.flush()

    def send_end(self, call: Call, channel: int) -> None:
        """End one of a call's streams."""
        link = self._link
        if link is not None and link.calls.get(call.id) is call:
            link.session.send_end(call.id, channel)
            link.flush()

    def send_items(self, call: Call, items: list[bytes], *, last: bool) -> None:
        """Send records of a call's stream, for which there is `room`, and its end."""
        link = self._link
        assert link is not None, "there was room"
        if items:
            link.session.send_items(call.id, items)
        if last:
            link.session.send_items_end(call.id)
        link.flush()

    # --- from the connection ---

    def _told(self, message: Message) -> None:
        link = self._link
        assert link is not None, "it is being read"
        if isinstance(message, Failed):
            raise from_info(message.error)
        call = link.calls.get(message.id)
        if call is None:
            return  # It was given up.
        if isinstance(message, Reply):
            del link.calls[message.id]
            call.finish(from_info(message.error) if message.error is not None else None, message.result)
            if self._waiting:
                self._send_waiting(link)
            if self._changed:
                self._changed.unpark_all()
        elif isinstance(message, Items):
            call.on_items(self, message.items)
        elif isinstance(message, Bytes):
            call.on_bytes(self, message.channel, message.data)
        elif isinstance(message, End):
            call.on_end(message.channel)
        elif isinstance(message, Credit):
            call.on_credit()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Serve connections until `close`."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    task_status.started()
                    await self._serve()
        finally:
            self._end_all()

    async def _serve(self) -> None:
        while True:
            link = self._link
            if link is not None:
                since = trio.current_time()
                error: ArdockError | None = None
                try:
                    await link.serve(self._told)
                except* ArdockError as group:
                    error = _first(group)
                finally:
                    self._link = None
                    link.close()
                self._broken(link, error, soon=trio.current_time() - since < _SOON)
            if not self._waiting:
                # Nobody wants anything just now: a connection is made when somebody does.
                self._wanted = trio.Event()
                await self._wanted.wait()
            await self._reconnect()

    def _broken(self, link: Link, error: ArdockError | None, *, soon: bool) -> None:
        """The connection is gone: sort out what was under way, in its order."""
        calls, link.calls = link.calls, {}
        again: list[Call] = []
        for call in calls.values():
            call.attempts = call.attempts + 1 if soon else 1
            if error is not None:
                # Repeating what the engine ended the connection for would end the next one, too.
                call.finish(error)
            elif self._closed:
                call.finish(EngineClosed("the connection to the engine is closed"))
            elif call.repeats and not call.cancelled and call.attempts < _MOST_ATTEMPTS:
                again.append(call)
            else:
                call.finish(ConnectionLost(f"{call.method.name}: the connection to the engine was lost"))
        self._waiting.extendleft(reversed(again))
        self._changed.unpark_all()

    async def _reconnect(self) -> None:
        """Make a new connection and send what waits; or tell all who wait that there was none for `patience` seconds."""
        try:
            link = await make_link(self._where, engine=self.version.engine, patience=self.patience, again=True)
        except ArdockError as error:
            waiting, self._waiting = self._waiting, deque()
            for call in waiting:
                lost = f"{call.method.name}: the connection to the engine was lost, and {error}"
                call.finish(ConnectionLost(lost) if call.sent else error)
            return
        self._link = link
        self.version = link.version
        self._send_waiting(link)

    def _send_waiting(self, link: Link) -> None:
        while self._waiting and not self.full:
            call = self._waiting.popleft()
            if call.sent:
                call.on_repeat()
            try:
                self._request(link, call)
            except InvalidArgument as error:
                call.finish(error)
            else:
                call.on_credit()

    # --- the end ---

    async def close(self) -> None:
        """Cancel what is under way, wait for its end (for a while), and fail what comes later."""
        self._closed = True
        link = self._link
        if link is not None:
            for number in list(link.calls):
                link.session.cancel(number)
            link.flush()
            with trio.move_on_after(_FAREWELL, shield=True):
                while link.calls:
                    await self._changed.park()
        self._end_all()
        self._scope.cancel()

    def _end_all(self) -> None:
        """Nothing is answered any more."""
        self._closed = True
        calls = list(self._waiting)
        self._waiting.clear()
        if self._link is not None:
            calls.extend(self._link.calls.values())
            self._link.calls.clear()
        for call in calls:
            call.finish(EngineClosed("the connection to the engine is closed"))
        self._changed.unpark_all()


def _first(group: BaseExceptionGroup[ArdockError]) -> ArdockError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ArdockError), "the group was split by this class"
    return error


@asynccontextmanager
async def open_line(where: Callable[[], str], patience: float) -> AsyncIterator[Line]:
    """A line that lasts as long as the context. An error in the body comes out as it is, not in a group.

    Raises:
        ArdockError: Nobody answers, or no engine of ours.
    """
    link = await make_link(where, engine="", patience=patience, again=False)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            line = Line(where, patience, link)
            await nursery.start(line.run)
            try:
                yield line
            except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
                failure = error
            finally:
                await line.close()
        if failure is not None:
            raise failure
    finally:
        # Else its traceback, which holds this frame, is a cycle.
        del failure
        link.close()
