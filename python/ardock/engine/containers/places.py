"""A bound on the execs that a keeper holds for one container: who comes later waits, and is not refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

# A keeper holds 64 for one container (MAX_EXECS in rust/keeper), those included whose end is not in the journal yet.
MOST: Final = 60


class Places:
    """The places of one container; taken from before an exec is launched until the keeper may forget it."""

    __slots__ = ("_taken", "_waiting")

    def __init__(self) -> None:
        """All are free."""
        self._taken = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, granted: Callable[[], None]) -> None:
        """Call `granted` once a place is there, which is then taken: now or later, first come, first served."""
        if self._taken < MOST:
            self._taken += 1
            granted()
        else:
            self._waiting.append(granted)

    def take_adopted(self) -> None:
        """One that an earlier engine has launched has a place, whether or not there is one."""
        self._taken += 1

    def free(self) -> None:
        """Give a place back, or on to the first who waits."""
        if self._waiting and self._taken <= MOST:
            self._waiting.popleft()()
        else:
            self._taken -= 1

    async def wait(self) -> None:
        """Take a place."""
        there = trio.Event()
        self.take(there.set)
        try:
            await there.wait()
        except trio.Cancelled:
            if there.is_set():
                self.free()
            else:
                self._waiting.remove(there.set)
            raise
