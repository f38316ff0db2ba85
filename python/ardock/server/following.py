"""`containers.logs` and `events.subscribe`: records at the client's pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ardock.model.errors import InvalidArgument
from ardock.model.events import Cursor
from ardock.protocol.methods import LOGS, SUBSCRIBE, Logs, Nothing, Subscribe
from ardock.server.call import TaskCall, encode

if TYPE_CHECKING:
    from ardock.server.connection import Connection

# The most bytes of events of one message, if it is more than one.
_BATCH: Final = 64 << 10


class LogsCall(TaskCall):
    """`containers.logs`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Logs) -> None:
        """Taken."""
        super().__init__(connection, number, LOGS.name, deadline=params.deadline)
        self._params = params

    async def work(self) -> bytes:
        """Send the log."""
        containers = self.connection.server.engine.containers
        async with containers.logs(self._params.ref, self._params.query) as items:
            self.accept()
            async for item in items:
                await self.send_item(encode(item))
        return encode(Nothing())


class SubscribeCall(TaskCall):
    """`events.subscribe`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Subscribe) -> None:
        """Taken.

        Raises:
            InvalidArgument: Two beginnings are given.
        """
        super().__init__(connection, number, SUBSCRIBE.name, deadline=params.deadline)
        if params.since is not None and params.since_time is not None:
            raise InvalidArgument("since, since_time: give one of them", field="since")
        self._params = params

    async def work(self) -> bytes:
        """Send events."""
        params = self._params
        since: Cursor | int | None = params.since if params.since is not None else params.since_time
        events = self.connection.server.engine.events
        session = self.connection.session
        async with events.subscribe(
            since=since, until=params.until, filters=params.filters, heartbeat=params.heartbeat
        ) as subscription:
            self.accept()
            while True:
                # In this order: what was taken from the journal for a client that does not read would have to be kept.
                await self.room()
                count, data = await subscription.next_encoded(_BATCH)
                if not count:
                    return encode(Nothing())
                session.send_encoded(self.id, count, data)
                self.connection.flush()
