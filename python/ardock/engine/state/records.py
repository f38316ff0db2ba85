"""What goes into a commit, and what comes out when the state is opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ardock.model.events import EventType
from ardock.model.records import ExitRecord, Timings


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has happened and has no number yet; the fields are those of `ardock.model.events.Event`."""

    time: int
    type: EventType
    action: str
    id: str
    name: str = ""
    attributes: dict[str, str] = {}
    timings: Timings | None = None


class Departed(msgspec.Struct, frozen=True, array_like=True):
    """A container that was removed, and what `wait` answers from then on. Kept in the database: fields may be added at the end.

    Attributes:
        id: 64 hexadecimal digits.
        name: Its last name.
        exit: How its last run ended.
    """

    id: str
    name: str
    exit: ExitRecord


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the database together or not at all.

    Attributes:
        events: What has happened, in order; numbered when the changes are handed over.
        put: Containers' rows, (id, record); a row replaces the former one of that id.
        drop: Ids of containers whose rows go.
        put_images: The same for images.
        drop_images: The same for images.
        put_volumes: The same for volumes, by name.
        drop_volumes: The same for volumes, by name.
        exits: What `wait` answers for containers that are removed with this.
        request: A request's id and its result.
        fsync: It must survive a loss of power (create, rename, remove, images, volumes). Without, it survives every end of the process,
            and a loss of power may take the last second.
        may_fail: It is refused where it cannot be written (create, import). Without, it is kept and tried until it is in.
    """

    events: tuple[NewEvent, ...] = ()
    put: tuple[tuple[str, bytes], ...] = ()
    drop: tuple[str, ...] = ()
    put_images: tuple[tuple[str, bytes], ...] = ()
    drop_images: tuple[str, ...] = ()
    put_volumes: tuple[tuple[str, bytes], ...] = ()
    drop_volumes: tuple[str, ...] = ()
    exits: tuple[Departed, ...] = ()
    request: tuple[str, bytes] | None = None
    fsync: bool = False
    may_fail: bool = False


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is over is kept. The newest entry of the journal always is: it holds the last number.

    What is in the file goes by whole commits, and now and then: there is somewhat more of it.

    Attributes:
        journal_bytes: Of events, as they are encoded.
        journal_age: s.
        tail_bytes: Of the newest events that are held in memory, too; a subscriber that is further behind reads the database.
        exits: Number of departed containers.
        exit_age: s.
        requests: Number of requests.
        request_bytes: Of their results.
        request_age: s.
    """

    journal_bytes: int = 64 << 20
    journal_age: float = 7 * 86_400.0
    tail_bytes: int = 4 << 20
    exits: int = 10_000
    exit_age: float = 86_400.0
    requests: int = 10_000
    request_bytes: int = 64 << 20
    request_age: float = 600.0


class Loaded(NamedTuple):
    """What the database held when it was opened.

    Attributes:
        containers: (id, record), in no order.
        images: (id, record), in no order.
        new_boot: The machine was started anew since the database was last open: nothing runs of what did.
        fresh: There was no database.
        volumes: (name, record), in no order.
    """

    containers: list[tuple[str, bytes]]
    images: list[tuple[str, bytes]]
    new_boot: bool
    fresh: bool
    volumes: list[tuple[str, bytes]]


class Past(NamedTuple):
    """What is kept of the past, with its age.

    Attributes:
        exits: Departed containers and how long ago that was, in ns.
        requests: Requests and how long ago they were answered, in ns.
    """

    exits: list[tuple[Departed, int]]
    requests: list[tuple[str, bytes, int]]


class Clocks(NamedTuple):
    """Where times come from.

    Attributes:
        now: Wall clock, ns since 1970. It may step.
        boot: CLOCK_BOOTTIME, ns. It does not step, and goes on while the machine sleeps.
    """

    now: Callable[[], int]
    boot: Callable[[], int]


def boottime() -> int:
    """CLOCK_BOOTTIME, ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
