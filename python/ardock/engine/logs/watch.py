"""Who is told when a file is written to: one inotify instance for all logs that are followed."""

from __future__ import annotations

from contextlib import suppress

import trio

from ardock._core import LogWatch


class Watch:
    """One reader's watch on one file.

    Attributes:
        changed: Set when the file has changed since the event was put here.
    """

    def __init__(self, watcher: LogWatcher, number: int) -> None:
        self._watcher = watcher
        self.number = number
        self.changed = trio.Event()

    def rearm(self) -> None:
        """From now on count changes anew. Then look at the file, then wait."""
        if self.changed.is_set():
            self.changed = trio.Event()

    def close(self) -> None:
        """Watch no longer."""
        self._watcher.drop(self)


class LogWatcher:
    """All watches of one engine; somebody has to `run` it."""

    def __init__(self, inotify: LogWatch) -> None:
        self._inotify = inotify
        self._watches: dict[int, set[Watch]] = {}

    def __repr__(self) -> str:
        return f"<LogWatcher of {len(self._watches)} files>"

    @classmethod
    def make(cls) -> LogWatcher | None:
        """Make one; None where the machine has no inotify instance left: logs are polled then."""
        try:
            return cls(LogWatch())
        except OSError:
            return None

    def watch(self, path: str) -> Watch | None:
        """Watch a file; None where the machine's watches are used up: poll it then."""
        try:
            number = self._inotify.add(path)
        except OSError:
            return None
        watch = Watch(self, number)
        self._watches.setdefault(number, set()).add(watch)
        return watch

    def drop(self, watch: Watch) -> None:
        """What `Watch.close` does."""
        watches = self._watches.get(watch.number)
        if watches is None or watch not in watches:
            return
        watches.remove(watch)
        if not watches:
            del self._watches[watch.number]
            with suppress(OSError):  # closed: `run` is over
                self._inotify.remove(watch.number)

    async def run(self) -> None:
        """Tell the readers, until cancelled; who watches then has to poll."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._inotify.fileno())
                for number in self._inotify.read():
                    told = self._watches.get(number, ()) if number >= 0 else set().union(*self._watches.values())
                    for watch in told:
                        watch.changed.set()
        finally:
            self._inotify.close()
