"""Changes that wait to be written, and making one commit of many. Without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from ardock.engine.state.journal import Entry, make_entry
from ardock.engine.state.records import Changes, Departed, NewEvent
from ardock.model.errors import ArdockError


class Pending(NamedTuple):
    """Changes that were handed over.

    Attributes:
        changes: What.
        first: The number of the first of their events.
        then: Whom to tell.
    """

    changes: Changes
    first: int
    then: Callable[[ArdockError | None], None] | None

    def size(self) -> int:
        """About the bytes they take, events apart."""
        changes = self.changes
        rows = sum(len(row) for table in (changes.put, changes.put_images, changes.put_volumes) for _, row in table)
        return rows + (len(self.changes.request[1]) if self.changes.request else 0)


class Payload(msgspec.Struct, kw_only=True):
    """What one commit writes: the changes of many.

    Attributes:
        entry: The events.
        latest: The greatest of their times, ns since 1970.
        exits: Of departed containers.
        requests: Ids and results.
        put: Containers' rows by id.
        drop: Ids of containers whose rows go; none is in `put`.
        put_images: As `put`.
        drop_images: As `drop`.
        put_volumes: As `put`, by name.
        drop_volumes: As `drop`, by name.
        fsync: It must survive a loss of power.
    """

    entry: Entry | None
    latest: int
    exits: list[Departed]
    requests: list[tuple[str, bytes]]
    put: dict[str, bytes]
    drop: set[str]
    put_images: dict[str, bytes]
    drop_images: set[str]
    put_volumes: dict[str, bytes]
    drop_volumes: set[str]
    fsync: bool


def seal(taken: Sequence[Pending], epoch: str) -> Payload:
    """One commit of many changes, handed over in this order and without others between them."""
    put: dict[str, bytes] = {}
    drop: set[str] = set()
    put_images: dict[str, bytes] = {}
    drop_images: set[str] = set()
    put_volumes: dict[str, bytes] = {}
    drop_volumes: set[str] = set()
    exits: list[Departed] = []
    requests: list[tuple[str, bytes]] = []
    news: list[NewEvent] = []
    fsync = False
    for changes, _, _ in taken:
        news += changes.events
        _apply(changes.put, changes.drop, put, drop)
        _apply(changes.put_images, changes.drop_images, put_images, drop_images)
        _apply(changes.put_volumes, changes.drop_volumes, put_volumes, drop_volumes)
        exits += changes.exits
        if changes.request is not None:
            requests.append(changes.request)
        fsync = fsync or changes.fsync
    return Payload(
        entry=make_entry(epoch, taken[0].first, news) if news else None,
        latest=max((new.time for new in news), default=0),
        exits=exits,
        requests=requests,
        put=put,
        drop=drop,
        put_images=put_images,
        drop_images=drop_images,
        put_volumes=put_volumes,
        drop_volumes=drop_volumes,
        fsync=fsync,
    )


def _apply(rows: Iterable[tuple[str, bytes]], gone: Iterable[str], put: dict[str, bytes], drop: set[str]) -> None:
    """Add changes to those before them: what is left of both together."""
    for key, row in rows:
        put[key] = row
        drop.discard(key)
    for key in gone:
        put.pop(key, None)
        drop.add(key)


def refuse(pending: Pending, error: ArdockError, now: int) -> Pending:
    """What is written in place of changes that were refused after their events had got numbers.

    Others may have been told numbers after these, so theirs are not given again: in each one's place the journal tells that
    what it would have told did not happen.
    """
    events = tuple(
        NewEvent(
            time=now,
            type="daemon",
            action="refused",
            id=event.id,
            name=event.name,
            attributes={"type": event.type, "action": event.action, "reason": error.code},
        )
        for event in pending.changes.events
    )
    return Pending(Changes(events=events), pending.first, None)


def matters(changes: Changes) -> bool:
    """Somebody may wait for more of it than that it is told: a client for its result, a program for its durability.

    Events and exits of throw-away containers alone do not: their keeper has the record until the commit.
    """
    rows = changes.put or changes.drop or changes.put_images or changes.drop_images
    return bool(
        rows
        or changes.put_volumes
        or changes.drop_volumes
        or changes.fsync
        or changes.may_fail
        or changes.request is not None
    )
