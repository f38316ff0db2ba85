"""Reading and following one log in trio's loop, without ever holding it up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import trio

from ardock.engine.logs.files import LogFile
from ardock.engine.logs.walk import Walk, check
from ardock.engine.logs.watch import LogWatcher, Watch
from ardock.model.logs import LogItem, LogQuery

# What was written a moment ago is in memory, and so little of it is parsed sooner than handed to a thread.
_AT_ONCE: Final = 32 << 10
# Pieces that a thread passes over before the reader may be cancelled: 2 MiB.
_STEPS: Final = 16
# Between two looks at a log that cannot be watched: bounds what a machine without inotify pays for each follower.
_POLL: Final = 0.05
# Rotation renames a file and makes the next one right away.
_BETWEEN: Final = 0.002


class LogReader:
    """The items of one log in order; an async iterator. Made by `open_log`, for one task."""

    def __init__(
        self,
        walk: Walk,
        query: LogQuery,
        *,
        running: Callable[[], bool],
        changed: Callable[[], Awaitable[None]],
        watcher: LogWatcher | None,
        now: Callable[[], int],
    ) -> None:
        self._walk = walk
        self._query = query
        self._running = running
        self._changed = changed
        self._watcher = watcher
        self._now = now
        self._watch: Watch | None = None
        self._watched: LogFile | None = None
        self._items: deque[LogItem] = deque()
        self._current = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LogItem:
        if not self._items:
            self._items.extend(await self.read())
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()

    async def read(self) -> list[LogItem]:
        """The next items, 128 KiB of the log at most (or one record); none at its end.

        A log that is followed ends when the container has ended and all of it is read, or at `LogQuery.until`.
        """
        while True:
            # In this order: what is written after the look at the file is told, and what the container wrote before it ended
            # is in the file.
            self._arm()
            live = self._query.follow and self._running() and not 0 < self._query.until <= self._now()
            items = await self._step()
            if items:
                return items
            if items is None:
                if not live:
                    return []
                # A file that was come to in this very step is not watched yet.
                if self._walk.file is self._watched or self._watcher is None:
                    await self._wait()

    def close(self) -> None:
        """Close watch and file."""
        if self._watch is not None:
            self._watch.close()
        self._walk.close()

    async def _step(self) -> list[LogItem] | None:
        if self._current and self._walk.waiting() <= _AT_ONCE:
            await trio.lowlevel.checkpoint()
            items = self._walk.step()
        else:
            items = await trio.to_thread.run_sync(self._step_on)
        # Behind the end of what was there at the beginning, all is fresh.
        self._current = self._current or items is None
        return items

    def _step_on(self) -> list[LogItem] | None:
        """In a thread: some steps where the first ones find nothing that is wanted."""
        for _ in range(_STEPS):
            items = self._walk.step()
            if items is None or items:
                return items
        return []

    def _arm(self) -> None:
        if self._watcher is None:
            return
        if self._walk.file is not self._watched:
            if self._watch is not None:
                self._watch.close()
            self._watched = self._walk.file
            self._watch = self._watcher.watch(self._watched.name) if self._watched is not None else None
        if self._watch is not None:
            self._watch.rearm()

    async def _wait(self) -> None:
        """Until there may be something to do."""
        patience = float("inf")
        if self._watch is None:
            patience = _POLL
        if self._walk.between:
            patience = _BETWEEN
        if self._query.until:
            patience = min(patience, max(0.0, (self._query.until - self._now()) / 1e9))
        with trio.move_on_after(patience):
            if self._watch is None:
                await self._wait_for_end()
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wait_for_change, nursery.cancel_scope)
                await self._watch.changed.wait()
                nursery.cancel_scope.cancel()

    async def _wait_for_change(self, done: trio.CancelScope) -> None:
        await self._wait_for_end()
        done.cancel()

    async def _wait_for_end(self) -> None:
        # It may have ended since it was last asked; `changed` would wait for its next end.
        if self._running():
            await self._changed()


@asynccontextmanager
async def open_log(
    folder: Path,
    name: str,
    query: LogQuery,
    *,
    running: Callable[[], bool],
    changed: Callable[[], Awaitable[None]],
    watcher: LogWatcher | None = None,
    now: Callable[[], int] = time.time_ns,
) -> AsyncIterator[LogReader]:
    """Read a container's log.

    Args:
        folder: Where the log is.
        name: Its file's name there; it need not be there yet.
        query: What of it is wanted.
        running: Whether the container may still write: it starts or runs, or its exit is not known yet.
        changed: Returns when `running` may give another answer than when it was called.
        watcher: Tells when the file was written to; without one, the file is looked at 20 times a second.
        now: Wall clock, ns since 1970.

    Raises:
        InvalidArgument: The query contradicts itself.
    """
    check(query)
    reader = LogReader(Walk(folder, name, query), query, running=running, changed=changed, watcher=watcher, now=now)
    try:
        yield reader
    finally:
        reader.close()
