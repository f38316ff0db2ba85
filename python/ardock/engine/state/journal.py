"""The journal's entries (what one commit told), and its newest part, which is held in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

from ardock.engine.state.records import NewEvent
from ardock.model.events import Event

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(list[Event]).decode
# So many of the newest entries keep their events decoded, for subscribers with filters and those in this process.
_DECODED: Final = 64


def encode_event(event: Event) -> bytes:
    """The map that the journal holds, which is also what a subscriber gets."""
    return _ENCODE(event)


def _array_header(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


class Entry:
    """The events of one commit, in order and without a gap.

    Attributes:
        epoch: Their epoch.
        first: Number of the first.
        last: Number of the last.
        body: Their MessagePack maps, one behind the other.
    """

    __slots__ = ("_events", "body", "epoch", "first", "last")

    def __init__(self, epoch: str, first: int, count: int, body: bytes, events: Sequence[Event] | None = None) -> None:
        """Take what was encoded; `events` is the same, decoded."""
        self.epoch = epoch
        self.first = first
        self.last = first + count - 1
        self.body = body
        self._events = events

    def __repr__(self) -> str:
        """Its numbers."""
        return f"<Entry {self.epoch}:{self.first}-{self.last}, {len(self.body)} bytes>"

    def __len__(self) -> int:
        """Number of events."""
        return self.last - self.first + 1

    def events(self, after: int = 0) -> Sequence[Event]:
        """Those with a number greater than `after`."""
        events = self._events
        if events is None:
            events = _DECODE(_array_header(len(self)) + self.body)
        return events if after < self.first else events[after - self.first + 1 :]

    def forget(self) -> None:
        """Keep the bytes alone."""
        self._events = None


def make_entry(epoch: str, first: int, news: Sequence[NewEvent]) -> Entry:
    """Number and encode what has happened."""
    events = [
        Event(
            epoch=epoch,
            seq=seq,
            time=new.time,
            type=new.type,
            action=new.action,
            id=new.id,
            name=new.name,
            attributes=new.attributes,
            timings=new.timings,
        )
        for seq, new in enumerate(news, first)
    ]
    return Entry(epoch, first, len(events), b"".join([_ENCODE(event) for event in events]), events)


class Tail:
    """The newest entries, up to a number of bytes; for all subscribers together."""

    __slots__ = ("_bytes", "_entries", "_firsts", "_joined", "_most")

    def __init__(self, most: int) -> None:
        """Hold `most` bytes, and the newest entry whatever its size."""
        self._most = most
        self._bytes = 0
        self._entries: list[Entry] = []
        self._firsts: list[int] = []
        # What was joined last, by where and how much: subscribers that keep up ask for the same one after the other.
        self._joined: tuple[tuple[int, int, int], tuple[int, bytes]] | None = None

    @property
    def before(self) -> int | None:
        """The number before its first event; None where it holds none."""
        return self._firsts[0] - 1 if self._firsts else None

    def append(self, entry: Entry) -> None:
        """Add what was written, and let go of the oldest."""
        entries = self._entries
        entries.append(entry)
        self._firsts.append(entry.first)
        self._bytes += len(entry.body)
        if len(entries) > _DECODED:
            entries[-_DECODED - 1].forget()
        # A sixteenth too much, so that the lists are moved seldom.
        if self._bytes > self._most + self._most // 16:
            gone = 0
            while self._bytes > self._most and gone < len(entries) - 1:
                self._bytes -= len(entries[gone].body)
                gone += 1
            del entries[:gone], self._firsts[:gone]

    def holds(self, seq: int) -> bool:
        """The event after `seq` is here (or has not happened yet)."""
        return bool(self._firsts) and seq >= self._firsts[0] - 1

    def after(self, seq: int) -> Entry | None:
        """The entry with the event after `seq`, which it `holds`; None where that has not happened yet."""
        entry = self._entries[bisect_right(self._firsts, seq + 1) - 1]
        return entry if seq < entry.last else None

    def joined(self, seq: int, most: int) -> tuple[int, bytes]:
        """Whole entries after `seq`, of `most` bytes at most: number of events, and their maps, one behind the other.

        Nothing (0) where `seq` is not between two entries, or the first is longer than `most`.
        """
        key = (seq, most, self._entries[-1].last)
        if self._joined is not None and self._joined[0] == key:
            return self._joined[1]
        at = bisect_right(self._firsts, seq + 1) - 1
        bodies = []
        count = 0
        if self._firsts[at] == seq + 1:
            for entry in self._entries[at:] if at else self._entries:
                most -= len(entry.body)
                if most < 0:
                    break
                bodies.append(entry.body)
                count += len(entry)
        result = (count, bodies[0] if len(bodies) == 1 else b"".join(bodies))
        self._joined = (key, result)
        return result
