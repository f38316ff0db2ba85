"""`State`: one place where all that must not be lost is handed over, numbered and written.

A commit never waits for another one's disk: what is handed over while one is being written goes into the next, together.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import trio

from ardock.engine.state.database import FAILURES, damaged, is_full, unusable
from ardock.engine.state.epochs import Epoch
from ardock.engine.state.journal import Entry, Tail
from ardock.engine.state.kept import Exits, Kept
from ardock.engine.state.pending import Payload, Pending, matters, refuse, seal
from ardock.engine.state.records import Changes, Clocks, Departed, Past, Retention
from ardock.engine.state.reserve import Reserve
from ardock.engine.state.store import Store
from ardock.model.errors import ArdockError, DiskFull, EngineClosed, FolderUnusable

T = TypeVar("T")
_LOG: Final = logging.getLogger("ardock.state")

# s that changes nobody waits for may wait for others, so that they share a commit.
_GATHER: Final = 0.005
# s between two times that subscribers are woken: under load each is woken less often, and gets more at once.
_PACE: Final = 0.01
# s after which what could not be written is tried again, and room for the reserve is looked for.
_RETRY: Final = 0.25
# s between two looks at what is past its time.
_TEND: Final = 60.0
# A commit takes so many changes, and so many bytes of rows, at most: sealing them must not hold the loop up.
_MOST_CHANGES: Final = 512
_MOST_BYTES: Final = 4 << 20


class State:
    """The engine's memory of what must outlive it. Made by `open_state`; its methods belong to the trio thread.

    Attributes:
        epoch: The journal's current epoch.
        epochs: All known ones, the current one last.
        assigned: The last event number given.
        committed: The last event number in the journal.
        tail: The journal's newest part.
        told: Where subscribers wait for `committed` to move on.
        disk_full: Changes that may fail are refused.
    """

    def __init__(self, store: Store, past: Past, reserve: Reserve, retention: Retention, clocks: Clocks) -> None:
        """Made by `open_state` alone."""
        self.epoch: str = store.epoch
        self.epochs: tuple[Epoch, ...] = tuple(store.epochs)
        self.assigned: int = store.last
        self.committed: int = store.last
        self.tail = Tail(min(retention.tail_bytes, retention.journal_bytes))
        self.told = trio.lowlevel.ParkingLot()
        self.disk_full: bool = False
        self.closed: bool = False
        self.now = clocks.now
        self._boot = clocks.boot
        self._store = store
        self._reserve = reserve
        self._failing: ArdockError | None = None
        self._closing = False
        self._pending: deque[Pending] = deque()
        self._arrived = trio.Event()
        self._hurry = trio.Event()
        self._untold = trio.Event()
        self._filled = trio.Event()
        self._in_file = trio.lowlevel.ParkingLot()
        self._prune = True
        # Their own threads: those of trio's default limiter may all be busy with images.
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        self._exits = Exits(retention.exits, retention.exit_age)
        self._requests: Kept[bytes] = Kept(retention.requests, retention.request_age, retention.request_bytes)
        opened = clocks.boot()
        for departed, age in past.exits:
            self._exits.put(departed, opened - age)
        for request, result, age in past.requests:
            self._requests.put(request, result, opened - age, len(result))

    def __repr__(self) -> str:
        """Epoch and numbers."""
        full = ", disk full" if self.disk_full else ""
        return f"<State {self.epoch}: {self.committed} of {self.assigned} events written{full}>"

    @property
    def journal_bytes(self) -> int:
        """What the journal holds, in encoded bytes."""
        return self._store.journal_bytes

    def commit(self, changes: Changes, then: Callable[[ArdockError | None], None] | None = None) -> None:
        """Hand changes over: their events are numbered now, and written in this order.

        Exits and requests are found from now on; events are told when they are in the file.

        Args:
            changes: What goes in together.
            then: Called in the trio thread once it is in the file; with an error where it is not and never will be. At once
                where that is known already.

        Raises:
            ArdockError: It is refused, and there is no `then` to tell.
            EngineClosed: The state is (being) closed.
        """
        self._hand_over(changes, then, hurry=then is not None and matters(changes))

    async def commit_and_wait(self, changes: Changes) -> None:
        """Hand changes over and wait until they are in the file. Cancelled, it waits no longer; they go in all the same.

        Raises:
            DiskFull: The disk is full, and they may fail; nothing of them is in the file.
            FolderUnusable: The disk fails otherwise, idem.
            EngineClosed: The state was closed, and they could not be written.
        """
        done = trio.Event()
        errors: list[ArdockError | None] = []

        def then(error: ArdockError | None) -> None:
            errors.append(error)
            done.set()

        self._hand_over(changes, then, hurry=True)
        await done.wait()
        if errors[0] is not None:
            raise errors[0]

    async def until_committed(self, seq: int, timeout: float | None = None) -> bool:
        """Wait until the event `seq` is in the journal, `timeout` seconds at most; whether it is."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(math.inf if timeout is None else timeout):
            while self.committed < seq and not self.closed:
                self._hurry.set()
                await self._in_file.park()
        return self.committed >= seq

    def find_exit(self, ref: str) -> Departed | None:
        """How a removed container had ended, by its id, its last name or a unique prefix of its id.

        Raises:
            Ambiguous: It is the prefix of several.
        """
        return self._exits.find(ref, self._boot())

    def find_request(self, request_id: str) -> bytes | None:
        """The result of a request that was answered not long ago."""
        self._requests.expire(self._boot())
        return self._requests.find(request_id)

    async def read_journal(self, seq: int, most: int) -> list[Entry]:
        """Entries from the one with the event after `seq` (or from the oldest), about `most` bytes; none where it has not happened.

        Raises:
            FolderUnusable: The database is damaged.
        """
        return await self._read(lambda: self._store.read(seq, most))

    async def place_at(self, wall: int) -> int | None:
        """The number before the first entry with an event at or after a wall clock (ns since 1970); None where there is none.

        Raises:
            FolderUnusable: The database is damaged.
        """
        return await self._read(lambda: self._store.place_at(wall))

    def damaged(self, why: str) -> FolderUnusable:
        """The error for a journal that cannot be understood."""
        return damaged(self._store.path, why)

    async def _read(self, call: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(call, limiter=self._reading)
        except FAILURES as error:
            raise unusable(self._store.path, error) from error
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise self.damaged(str(error)) from error

    # Handing over

    def _hand_over(self, changes: Changes, then: Callable[[ArdockError | None], None] | None, *, hurry: bool) -> None:
        if self._closing:
            raise EngineClosed("the engine is closed")
        if changes.may_fail:
            refusal = self._refusal()
            if refusal is not None:
                if then is None:
                    raise refusal
                then(refusal)
                return
        self._pending.append(Pending(changes, self.assigned + 1, then))
        self.assigned += len(changes.events)
        if changes.exits or changes.request is not None:
            now = self._boot()
            for departed in changes.exits:
                self._exits.put(departed, now)
            if changes.request is not None:
                self._requests.put(changes.request[0], changes.request[1], now, len(changes.request[1]))
        if hurry:
            self._hurry.set()
        self._arrived.set()

    def _refusal(self) -> ArdockError | None:
        """Why what may fail is refused now."""
        if self.disk_full:
            return DiskFull(f"{self._store.path.parent}: the file system is full; free space on it")
        return self._failing

    # Writing

    async def write_all(self) -> None:
        """Write what is handed over until the state is closed. It is never cancelled in the middle."""
        with trio.CancelScope(shield=True):
            try:
                await self._write_until_closed()
            finally:
                # An error of a callback, too, ends what waits here.
                self.closed = True
                self._in_file.unpark_all()
                self.told.unpark_all()

    async def _write_until_closed(self) -> None:
        while True:
            if self._pending:
                if not self._closing and len(self._pending) < _MOST_CHANGES:
                    with trio.move_on_after(_GATHER):
                        await self._hurry.wait()
                await self._write(self._take())
            if self._prune or self._store.prune_due():
                await self._remove_old()
            if self._closing and not self._pending:
                return
            if not self._pending and not self._prune:
                self._arrived = trio.Event()
                await self._arrived.wait()

    def _take(self) -> list[Pending]:
        """What goes into the next commit."""
        taken: list[Pending] = []
        size = 0
        while self._pending and len(taken) < _MOST_CHANGES and size < _MOST_BYTES:
            taken.append(self._pending.popleft())
            size += taken[-1].size()
        if not self._pending:
            # Whoever hurries is in what was taken.
            self._hurry = trio.Event()
        return taken

    async def _write(self, taken: list[Pending]) -> None:
        while taken:
            payload = seal(taken, self.epoch)
            error = await trio.to_thread.run_sync(self._try, payload, limiter=self._writing)
            if error is None:
                self._failing = None
                self._written(payload.entry, taken)
                return
            if self._failing is None:
                _LOG.error("cannot write: %s; it is tried again", error.message)
            self._failing = error
            self._refuse_waiting(taken, error)
            if self._closing:
                self._give_up(taken)
                return
            if taken:
                await trio.sleep(_RETRY)

    def _try(self, payload: Payload) -> ArdockError | None:
        """In a worker thread: write, if need be into the room that the reserve has held.

        On a full disk the write-ahead log is given back after each commit: else it would grow into all the room that there is,
        before SQLite thinks of a checkpoint.
        """
        if self.disk_full:
            self._store.shrink()
        # What may give room, each once: a commit that failed leaves some of itself in the log.
        mends = [self._store.shrink, self._reserve.release, self._store.shrink]
        while True:
            try:
                self._store.write(payload)
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError):
                raise  # a fault of ours, which no second try mends
            except FAILURES as error:
                if not is_full(error):
                    return unusable(self._store.path, error)
                while mends:
                    if mends.pop(0)():
                        break
                else:
                    trio.from_thread.run_sync(self.fill)
                    return unusable(self._store.path, error)
                if not self._reserve.path.exists():
                    # Not before it is gone: `make_room` takes a reserve that is there for room that is there.
                    trio.from_thread.run_sync(self.fill)
                continue
            if self.disk_full:
                self._store.shrink()
            return None

    def fill(self) -> None:
        """Note that the disk is full; from now on `make_room` looks for room."""
        if not self.disk_full:
            _LOG.error("%s: the file system is full: nothing new is taken until there is room", self._store.path.parent)
        self.disk_full = True
        self._filled.set()

    def _written(self, entry: Entry | None, taken: list[Pending]) -> None:
        if entry is not None:
            self.committed = entry.last
            self.tail.append(entry)
            self._untold.set()
            self._in_file.unpark_all()
        for pending in taken:
            if pending.then is not None:
                pending.then(None)

    def _refuse_waiting(self, taken: list[Pending], error: ArdockError) -> None:
        """Refuse what may fail, of what was tried and of what waits behind it."""
        now = self.now()
        refused: list[Pending] = []
        for waiting in (taken, self._pending):
            kept = []
            for pending in waiting:
                if not pending.changes.may_fail:
                    kept.append(pending)
                    continue
                refused.append(pending)
                if pending.changes.events:
                    kept.append(refuse(pending, error, now))
                if pending.changes.request is not None:
                    self._requests.take(pending.changes.request[0])
            waiting.clear()
            waiting.extend(kept)
        for pending in refused:
            if pending.then is not None:
                pending.then(error)

    def _give_up(self, taken: list[Pending]) -> None:
        """The state is closed and cannot be written: what is not in the file is told so."""
        lost = [*taken, *self._pending]
        taken.clear()
        self._pending.clear()
        _LOG.error("closed with %d changes that could not be written: %s", len(lost), self._failing)
        for pending in lost:
            if pending.then is not None:
                pending.then(EngineClosed(f"the engine was closed before it could be written: {self._failing}"))

    async def _remove_old(self) -> None:
        try:
            self._prune = await trio.to_thread.run_sync(self._store.prune, limiter=self._writing)
        except FAILURES as error:
            # It matters to nobody now, and is tried again before long; a commit that fails is told.
            self._prune = False
            _LOG.warning("cannot remove what is past its time: %s", unusable(self._store.path, error))

    # Beside the writing

    async def tell(self) -> None:
        """Wake the subscribers when there is something new, at a pace."""
        while True:
            await self._untold.wait()
            self._untold = trio.Event()
            self.told.unpark_all()
            await trio.sleep(_PACE)

    async def tend(self) -> None:
        """Now and then have removed what is past its time."""
        while True:
            await trio.sleep(_TEND)
            self._prune = True
            self._arrived.set()

    async def make_room(self) -> None:
        """Have the reserve again as soon as there is room for it."""
        while True:
            await self._filled.wait()
            if await trio.to_thread.run_sync(self._make_reserve, limiter=self._reading):
                self._filled = trio.Event()
                self.disk_full = False
                _LOG.info("%s: there is room again", self._store.path.parent)
            else:
                await trio.sleep(_RETRY)

    def _make_reserve(self) -> bool:
        try:
            return self._reserve.make()
        except OSError as error:
            _LOG.warning("cannot make the reserve: %s", error)
            return False

    async def close(self) -> None:
        """Write what is left, and end the writing."""
        self._closing = True
        self._arrived.set()
        self._hurry.set()
        while not self.closed:
            await self._in_file.park()

    def close_files(self) -> None:
        """Close the database, after the writing has ended. Blocks."""
        self._store.close()
