"""Who needs what: nothing is removed that a lease, an image or a running transfer holds.

The store belongs to one process (the lock of the root folder), so all of this is in memory: what is on the disk and held by
nobody when an engine opens is what a former one did not get to remove, and goes then.

A thing is held before its first byte is there, and by whoever needs it: looking whether it is there and holding it is one
step without a checkpoint in between, as is letting go of it and moving it out of the way. So between "it is there" and its
use nobody can remove it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self


class Leases:
    """What is held, by how many.

    Things are named by strings: a digest is a blob, ``chain:`` and hexadecimal digits an unpacked layer.
    """

    def __init__(self, remove: Callable[[list[str]], None]) -> None:
        """`remove` is called with what nobody holds any more, without a checkpoint after that was found."""
        self._held: Counter[str] = Counter()
        self._remove = remove

    def __repr__(self) -> str:
        """How many things are held."""
        return f"<Leases: {len(self._held)} things held>"

    def held(self, thing: str) -> bool:
        """Somebody needs it."""
        return thing in self._held

    def hold(self, things: Iterable[str]) -> None:
        """Each once more."""
        self._held.update(things)

    def release(self, things: Iterable[str]) -> None:
        """Each once less; what nobody holds then is removed."""
        free = []
        for thing in things:
            count = self._held[thing] - 1
            assert count >= 0, f"{thing} is let go of more often than it was held"
            if count:
                self._held[thing] = count
            else:
                del self._held[thing]
                free.append(thing)
        if free:
            self._remove(free)

    def lease(self) -> Lease:
        """A new one, which holds nothing yet."""
        return Lease(self)


class Lease:
    """What one operation holds, until it is left."""

    def __init__(self, leases: Leases) -> None:
        """Made by `Leases.lease`."""
        self._leases = leases
        self._things: list[str] = []

    def __repr__(self) -> str:
        """How many things it holds."""
        return f"<Lease of {len(self._things)} things>"

    def hold(self, *things: str) -> None:
        """These, too."""
        self._things += things
        self._leases.hold(things)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of everything."""
        things, self._things = self._things, []
        self._leases.release(things)
