"""What is kept in memory for a time after it is over: exits of departed containers, results of requests."""

from __future__ import annotations

from typing import Generic, TypeVar

from ardock.engine.state.records import Departed
from ardock.model.errors import Ambiguous

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by key, the oldest first; bounded by number, size and age."""

    __slots__ = ("_age", "_bytes", "_most", "_most_bytes", "_values")

    def __init__(self, most: int, age: float, most_bytes: int | None = None) -> None:
        """Hold `most` values of `most_bytes` bytes in all for `age` seconds."""
        self._most = most
        self._age = round(age * 1e9)
        self._most_bytes = most_bytes
        self._bytes = 0
        self._values: dict[str, tuple[int, int, V]] = {}

    def __len__(self) -> int:
        """Number of values."""
        return len(self._values)

    def put(self, key: str, value: V, at: int, size: int = 0) -> list[V]:
        """Keep a value from the time `at` (CLOCK_BOOTTIME, ns); what had to go for it."""
        self.take(key)
        self._values[key] = (at, size, value)
        self._bytes += size
        return self.expire(at)

    def take(self, key: str) -> V | None:
        """Let go of a value."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        self._bytes -= found[1]
        return found[2]

    def find(self, key: str) -> V | None:
        """The value, where it is still kept."""
        found = self._values.get(key)
        return None if found is None else found[2]

    def beginning(self, prefix: str) -> list[str]:
        """The keys that begin with it."""
        return [key for key in self._values if key.startswith(prefix)]

    def expire(self, now: int) -> list[V]:
        """Let go of what is too old or too much."""
        gone = []
        while self._values:
            key, (at, size, value) = next(iter(self._values.items()))
            full = len(self._values) > self._most or (self._most_bytes is not None and self._bytes > self._most_bytes)
            if not full and now - at <= self._age:
                break
            del self._values[key]
            self._bytes -= size
            gone.append(value)
        return gone


class Exits:
    """Departed containers by id, by what an id begins with, and by name."""

    __slots__ = ("_ids", "_kept")

    def __init__(self, most: int, age: float) -> None:
        """Hold `most` for `age` seconds."""
        self._kept: Kept[Departed] = Kept(most, age)
        # The last container that had the name.
        self._ids: dict[str, str] = {}

    def __len__(self) -> int:
        """Number of containers."""
        return len(self._kept)

    def put(self, departed: Departed, at: int) -> None:
        """Keep one from the time `at` (CLOCK_BOOTTIME, ns)."""
        self._ids[departed.name] = departed.id
        self._unname(self._kept.put(departed.id, departed, at))

    def find(self, ref: str, now: int) -> Departed | None:
        """By id, name or unique prefix of an id, in this order, as Docker does.

        Raises:
            Ambiguous: It is the prefix of several.
        """
        self._unname(self._kept.expire(now))
        found = self._kept.find(ref) or self._kept.find(self._ids.get(ref, ""))
        if found is not None or not ref:
            return found
        fitting = self._kept.beginning(ref)
        if len(fitting) > 1:
            raise Ambiguous(f"{ref}: {len(fitting)} removed containers have an id that begins with it")
        return self._kept.find(fitting[0]) if fitting else None

    def _unname(self, gone: list[Departed]) -> None:
        for departed in gone:
            if self._ids.get(departed.name) == departed.id:
                del self._ids[departed.name]
