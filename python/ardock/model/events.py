"""Events: what the journal holds, what a subscriber gets, and where it is in the journal."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from ardock.model.records import Timings

EventType = Literal["container", "image", "volume", "daemon"]

_CURSOR: Final = re.compile(r"^([0-9a-f]{8}):(0|[1-9][0-9]{0,18})$")


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """A place in the journal: after the event with this number.

    Numbers go on across epochs without a gap. A new epoch says that the end of the former one may be lost (the machine lost
    power, the journal was lost): a cursor of another epoch that points past what is left of it gets a `Gap`.

    Attributes:
        epoch: 8 hexadecimal digits.
        seq: Number of the last event that was seen; 0 is the beginning.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        """``epoch:seq``, as `parse` reads it."""
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor that `text` is, such as ``"3f2a9c1b:1042"``; None where it is none."""
        found = _CURSOR.match(text)
        return cls(found[1], int(found[2])) if found else None


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="event"):
    """Something that happened, and is in the journal.

    Attributes:
        epoch: The journal's epoch when it was written.
        seq: Its number: one more than the event's before it.
        time: Wall clock when it happened, ns since 1970. It may step; the order is `seq`.
        type: What it is about.
        action: Docker's name: ``create``, ``start``, ``die``, ``oom``, ``kill``, ``stop``, ``restart``, ``rename``,
            ``destroy``, ``exec_create``, ``exec_start``, ``exec_die``; for images ``import``, ``untag``, ``delete``;
            for volumes ``create``, ``mount``, ``unmount``, ``destroy``.
        id: Of the container or image; of a volume its name.
        name: Its name then.
        attributes: As Docker's actor attributes: labels, ``name``, ``image``, ``exitCode``, ``signal``, ``oldName``,
            ``execID``, ``execDuration`` (s), ...
        timings: Of ``start`` and ``exec_start``: µs spent in each part of the launch.
    """

    epoch: str
    seq: int
    time: int
    type: EventType
    action: str
    id: str
    name: str = ""
    attributes: dict[str, str] = {}
    timings: Timings | None = None

    @property
    def cursor(self) -> Cursor:
        """The place after it."""
        return Cursor(self.epoch, self.seq)


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """Events are missing here: retention, or the loss of the journal's end, passed the subscriber by.

    Attributes:
        after: The last place before the gap, as the subscriber gave it.
        epoch: The epoch in which it goes on.
        seq: It goes on after this number: the next event has the next one.
    """

    after: Cursor
    epoch: str
    seq: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="heartbeat"):
    """Nothing that matches has happened up to this number; the connection and the engine live.

    Attributes:
        epoch: The journal's epoch.
        seq: Resume after this number.
        time: Wall clock, ns since 1970.
    """

    epoch: str
    seq: int
    time: int


EventItem = Event | Gap | Heartbeat
