"""`Subscription`: a cursor on the journal.

It holds a place and, while it reads what is no longer in memory, a few entries. So one that is not read costs nothing, slows
nobody, and finds what it missed in the journal afterwards; or is told that retention has passed it by.
"""

from __future__ import annotations

import math
from collections import deque
from types import TracebackType
from typing import Final, Self

import msgspec
import trio

from ardock.engine.events.filters import Match
from ardock.engine.state.epochs import epoch_at, place_of
from ardock.engine.state.journal import Entry, encode_event
from ardock.engine.state.state import State
from ardock.model.errors import EngineClosed
from ardock.model.events import Cursor, Event, EventItem, Gap, Heartbeat

# Of the journal, for each subscriber that is behind what is in memory.
_READ_BYTES: Final = 64 << 10
# s between two looks at the wall clock, which may step (when a subscription ends), and for which a commit is waited for.
_LOOK: Final = 1.0
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Subscription:
    """Events in order; made by `JournalEvents.subscribe`. For one reader."""

    def __init__(
        self,
        state: State,
        *,
        since: Cursor | int | None,
        until: int | None,
        match: Match | None,
        heartbeat: float,
    ) -> None:
        """See `JournalEvents.subscribe`."""
        self._state = state
        self._match = match
        self._until = until
        self._stop: int | None = None
        self._heartbeat = heartbeat
        # Wall clock, ns: what happened before it is left out until the first event that did not.
        self._from: int | None = None
        # Where the place is still to be looked up by that clock.
        self._unplaced = False
        self._gap: Cursor | None = None
        self._epoch = state.epoch
        self._seq = state.assigned
        if isinstance(since, Cursor):
            self._epoch = since.epoch
            self._seq, missed = place_of(since, state.epochs, state.assigned)
            if missed:
                self._gap = since
        elif since is not None:
            self._from = since
            self._unplaced = True
        # What was read and is not yet given: entries from the database, then items.
        self._entries: deque[Entry] = deque()
        self._items: deque[EventItem] = deque()
        self._due = trio.current_time() + heartbeat

    def __repr__(self) -> str:
        """Its place."""
        return f"<Subscription after {self._seq} of {self._state.committed}>"

    async def __aenter__(self) -> Self:
        """Itself."""
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of what was read."""
        self._entries.clear()
        self._items.clear()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> EventItem:
        """The next item.

        Raises:
            EngineClosed: The engine was closed; all that happened before has come.
            FolderUnusable: The journal is damaged.
        """
        while not self._items:
            if not await self._advance():
                raise StopAsyncIteration
        item = self._items.popleft()
        self._due = trio.current_time() + self._heartbeat
        return item

    async def next_encoded(self, max_bytes: int) -> tuple[int, bytes]:
        """The next items, as they travel.

        Args:
            max_bytes: So long they are at most, if it is more than one.

        Returns:
            Their number and their MessagePack maps, one behind the other; 0 of them at the end of the subscription.

        Raises:
            EngineClosed: The engine was closed; all that happened before has come.
            FolderUnusable: The journal is damaged.
        """
        while not self._items:
            await trio.lowlevel.checkpoint()
            joined = self._join(max_bytes)
            if joined is not None:
                self._due = trio.current_time() + self._heartbeat
                return joined
            if not await self._advance():
                return 0, b""
        bodies: list[bytes] = []
        while self._items:
            item = self._items[0]
            body = encode_event(item) if isinstance(item, Event) else _ENCODE(item)
            max_bytes -= len(body)
            if bodies and max_bytes < 0:
                break
            bodies.append(body)
            self._items.popleft()
        self._due = trio.current_time() + self._heartbeat
        return len(bodies), b"".join(bodies)

    def _join(self, max_bytes: int) -> tuple[int, bytes] | None:
        """What was read or is in memory for all subscribers, as its bytes; None where this one needs something else."""
        state = self._state
        plain = self._match is None and self._until is None and self._from is None and self._gap is None
        if not plain or self._seq >= state.committed:
            return None
        if self._entries:
            entry = self._entries[0]
            if entry.first != self._seq + 1 or len(entry.body) > max_bytes:
                return None
            self._seq, self._epoch = entry.last, entry.epoch
            return len(entry), self._entries.popleft().body
        if not state.tail.holds(self._seq):
            return None
        count, data = state.tail.joined(self._seq, max_bytes)
        if not count:
            return None
        self._seq += count
        self._epoch = state.epoch
        return count, data

    async def _advance(self) -> bool:
        """Wait for something, and add it to the items if it is wanted; False at the end."""
        state = self._state
        if self._unplaced:
            await self._look_up()
        if self._seq < state.committed:
            await trio.lowlevel.checkpoint()
            entry = self._entry()
            if entry is None:
                # Looked at anew: as bytes, where that is what is asked for.
                await self._read()
                return True
            self._take(entry)
        elif self._gap is not None:
            self._tell_gap(state.epoch)
        elif self._is_over():
            return False
        elif state.closed:
            raise EngineClosed("the engine is closed")
        else:
            await self._wait()
        if not self._items and trio.current_time() >= self._due:
            # A place that is told is in the journal; what was skipped unseen may come again to who resumes there.
            seq = min(self._seq, state.committed)
            self._items.append(Heartbeat(epoch=epoch_at(seq, state.epochs), seq=seq, time=state.now()))
        return True

    async def _look_up(self) -> None:
        """Find the place of a wall clock; that of now where it is in the future."""
        assert self._from is not None
        # What has happened is found only when it is written. Where it cannot be now, it comes after all that is found.
        await self._state.until_committed(self._state.assigned, _LOOK)
        committed = self._state.committed
        found = await self._state.place_at(self._from)
        self._seq = committed if found is None else found
        self._unplaced = False

    def _entry(self) -> Entry | None:
        """The entry with the next event, which has happened; None where it is only in the database."""
        if self._entries:
            return self._entries.popleft()
        tail = self._state.tail
        return tail.after(self._seq) if tail.holds(self._seq) else None

    async def _read(self) -> None:
        """Read the next entries from the database; what retention has left of them."""
        self._entries.extend(await self._state.read_journal(self._seq, _READ_BYTES))
        if not self._entries:
            # Retention always leaves the last one.
            raise self._state.damaged(
                f"there is nothing after event {self._seq}, and {self._state.committed} were written"
            )

    def _take(self, entry: Entry) -> None:
        """Give an entry's events that are wanted."""
        if entry.first > self._seq + 1:
            # Retention has passed by.
            self._gap = self._gap or Cursor(self._epoch, self._seq)
            self._seq = entry.first - 1
        if self._gap is not None:
            self._tell_gap(entry.epoch)
        try:
            events = entry.events(self._seq)
        except msgspec.MsgspecError as error:
            raise self._state.damaged(str(error)) from error
        self._seq = entry.last
        self._epoch = entry.epoch
        for event in events:
            if self._from is not None:
                if event.time < self._from:
                    continue
                self._from = None
            if (self._until is None or event.time < self._until) and (self._match is None or self._match(event)):
                self._items.append(event)

    def _tell_gap(self, epoch: str) -> None:
        assert self._gap is not None
        self._items.append(Gap(after=self._gap, epoch=epoch, seq=self._seq))
        self._gap = None
        self._epoch = epoch

    def _is_over(self) -> bool:
        """The wall clock is past `until`, and all that had happened then was given."""
        if self._until is None:
            return False
        if self._stop is None and self._state.now() >= self._until:
            self._stop = self._state.assigned
        return self._stop is not None and self._seq >= self._stop

    async def _wait(self) -> None:
        """Until there is something new, a heartbeat is due, or it may be over."""
        until = self._due
        if self._until is not None:
            left = (self._until - self._state.now()) / 1e9
            until = min(until, trio.current_time() + min(max(left, 0.001), _LOOK))
        if until == math.inf:
            await self._state.told.park()
            return
        with trio.move_on_at(until):
            await self._state.told.park()
