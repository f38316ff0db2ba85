"""Events and logs over a line: what follows a place, and goes on from there when the connection is made anew."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec
import trio
from msgspec import structs

from ardock.client.calls import StreamCall
from ardock.client.remote import Remote
from ardock.model.container import Filters
from ardock.model.events import Cursor, EventItem
from ardock.model.logs import LogItem, LogQuery
from ardock.protocol.methods import CURSOR, LOGS, SUBSCRIBE, Logs, Method, NoParams, Nothing, Params, Subscribe

if TYPE_CHECKING:
    from ardock.client.line import Line

ItemT = TypeVar("ItemT")

_encode: Final = msgspec.msgpack.Encoder().encode
_events: Final[msgspec.msgpack.Decoder[EventItem]] = msgspec.msgpack.Decoder(EventItem)
_log_items: Final[msgspec.msgpack.Decoder[LogItem]] = msgspec.msgpack.Decoder(LogItem)


class Following(StreamCall, Generic[ItemT]):
    """A call that brings records with a place each.

    A repeated one asks for what comes after the last record that was *taken*; what had arrived beyond it is dropped and comes
    again. So nothing is lost, nothing comes twice, and however often the connection breaks no more than one window waits here.
    """

    __slots__ = ("_ready",)

    repeats = True

    def __init__(self, line: Line, method: Method[Nothing], params: Params) -> None:
        """Not sent yet."""
        super().__init__(line, method, params)
        # Records not taken, each with its credit.
        self._ready: deque[tuple[ItemT, int]] = deque()

    def decode(self, item: msgspec.Raw) -> ItemT:
        """A record."""
        raise NotImplementedError

    def taken(self, item: ItemT) -> None:
        """The place after `item` is where to go on from."""
        raise NotImplementedError

    def parameters(self) -> Params:
        """The parameters that go on from that place."""
        raise NotImplementedError

    def on_records(self, line: Line, items: Sequence[msgspec.Raw]) -> None:  # noqa: ARG002 - credit goes back when they are taken
        """Kept until they are taken, which gives their credit back."""
        # Something came: whatever broke the connections before, it was not this call.
        self.attempts = 0
        for item in items:
            self._ready.append((self.decode(item), len(item)))
        self.changed.unpark_all()

    def on_repeat(self) -> None:
        """Ask for what was not taken."""
        self._ready.clear()
        self.params = _encode(self.parameters())

    def __aiter__(self) -> Following[ItemT]:
        """Itself."""
        return self

    async def __anext__(self) -> ItemT:
        """The next record.

        Raises:
            ArdockError: It failed, or the connection could not be made anew in time.
        """
        await trio.lowlevel.checkpoint()
        while not self._ready:
            if self.done:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            await self.changed.park()
        item, size = self._ready.popleft()
        self.taken(item)
        self.line.consumed(self, size)
        return item

    async def end(self) -> None:
        """Cancel it and wait for its end; what was not taken is dropped."""
        size = sum(size for _, size in self._ready)
        self._ready.clear()
        if size:
            self.line.consumed(self, size)
        await super().end()


class Subscription(Following[EventItem]):
    """`events.subscribe`."""

    __slots__ = ("_parameters", "_place")

    def __init__(self, line: Line, parameters: Subscribe) -> None:
        """From the place in `parameters` on."""
        super().__init__(line, SUBSCRIBE, parameters)
        self._parameters = parameters
        self._place: Cursor | None = None

    def decode(self, item: msgspec.Raw) -> EventItem:
        """An event, a gap or a heartbeat."""
        return _events.decode(item)

    def taken(self, item: EventItem) -> None:
        """Each of them has a place."""
        self._place = Cursor(item.epoch, item.seq)

    def parameters(self) -> Subscribe:
        """As before, from there on."""
        if self._place is None:
            return self._parameters
        return structs.replace(self._parameters, since=self._place, since_time=None)


class LogReader(Following[LogItem]):
    """`containers.logs`."""

    __slots__ = ("_cursor", "_parameters")

    def __init__(self, line: Line, parameters: Logs) -> None:
        """What `parameters` ask for."""
        super().__init__(line, LOGS, parameters)
        self._parameters = parameters
        self._cursor = 0

    def decode(self, item: msgspec.Raw) -> LogItem:
        """A record or a gap."""
        return _log_items.decode(item)

    def taken(self, item: LogItem) -> None:
        """Each of them has a place."""
        self._cursor = item.cursor

    def parameters(self) -> Logs:
        """As before, from there on; `tail` was about where to begin."""
        if not self._cursor:
            return self._parameters
        query = structs.replace(self._parameters.query, cursor=self._cursor, tail=None)
        return structs.replace(self._parameters, query=query)


@asynccontextmanager
async def follow_log(remote: Remote, ref: str, query: LogQuery) -> AsyncIterator[AsyncIterator[LogItem]]:
    """A container's log, for as long as the context is open.

    Raises:
        ArdockError: It was refused.
    """
    reader = LogReader(remote.line, Logs(ref=ref, query=query))
    await reader.until_accepted()
    try:
        yield reader
    finally:
        await reader.end()


@asynccontextmanager
async def _subscribe(remote: Remote, parameters: Subscribe) -> AsyncIterator[AsyncIterator[EventItem]]:
    if parameters.since is None and parameters.since_time is None:
        # "From now on" is a place, too: where the connection breaks before the first event, it must be known.
        parameters = structs.replace(parameters, since=await remote.call(CURSOR, NoParams()))
    subscription = Subscription(remote.line, parameters)
    await subscription.until_accepted()
    try:
        yield subscription
    finally:
        await subscription.end()


class Events:
    """The journal of one engine, as `ardock.interface.Events` describes it."""

    def __init__(self, remote: Remote) -> None:
        """Made by `connect` alone."""
        self._remote = remote

    async def cursor(self) -> Cursor:
        """The place after the last event."""
        return await self._remote.call(CURSOR, NoParams())

    def subscribe(
        self,
        *,
        since: Cursor | int | None = None,
        until: int | None = None,
        filters: Filters | None = None,
        heartbeat: float = 10.0,
    ) -> AbstractAsyncContextManager[AsyncIterator[EventItem]]:
        """Events in order, from `since` on; goes on where it was when the connection is lost and made anew."""
        parameters = Subscribe(
            since=since if isinstance(since, Cursor) else None,
            since_time=since if isinstance(since, int) else None,
            until=until,
            filters=filters or {},
            heartbeat=heartbeat,
        )
        return _subscribe(self._remote, parameters)
