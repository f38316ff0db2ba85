"""`JournalEvents`: the events service of an engine."""

from __future__ import annotations

import math
from typing import Final

from ardock.engine.events.filters import Resolve, compile_filters
from ardock.engine.events.subscription import Subscription
from ardock.engine.state.state import State
from ardock.model.container import Filters
from ardock.model.errors import InvalidArgument
from ardock.model.events import Cursor

# s: a commit takes milliseconds, or the disk is full.
_PATIENCE: Final = 1.0


class JournalEvents:
    """The journal, as `ardock.interface.Events` offers it."""

    def __init__(self, state: State, resolve: Resolve) -> None:
        """Follow a state's journal.

        Args:
            state: The state.
            resolve: The id of the container that a reference names now; None where it names none.
        """
        self._state = state
        self._resolve = resolve

    async def cursor(self) -> Cursor:
        """The place after the last event.

        What has happened and is not in the journal yet is waited for: a place that is told is there after every end of the
        process, too. Where it cannot be written now (the disk is full) the place is before it: it comes when it is written.
        """
        state = self._state
        await state.until_committed(state.assigned, _PATIENCE)
        return Cursor(state.epoch, state.committed)

    def subscribe(
        self,
        *,
        since: Cursor | int | None = None,
        until: int | None = None,
        filters: Filters | None = None,
        heartbeat: float = 10.0,
    ) -> Subscription:
        """Events in order, from `since` on: an async context manager and iterator.

        A wall clock names the place before the first event at or after it; all events from there on come, also those whose
        time is less since the clock was set back. `until` leaves out what has a later time, and ends when the clock is there.

        Args:
            since: As `ardock.interface.Events.subscribe` says, and so on.
            until: ns since 1970.
            filters: See `ardock.engine.events.filters`.
            heartbeat: s, greater than 0; infinite for none.

        Raises:
            InvalidArgument: A filter, or `heartbeat`, is none.
        """
        if not heartbeat > 0 or math.isnan(heartbeat):
            raise InvalidArgument(f"heartbeat: {heartbeat} is not a number of seconds above 0", field="heartbeat")
        match = compile_filters(filters or {}, self._resolve)
        return Subscription(self._state, since=since, until=until, match=match, heartbeat=heartbeat)
