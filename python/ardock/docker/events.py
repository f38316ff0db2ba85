"""Events in Docker's shape: pure functions of an event."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ardock.docker.times import SECOND, rfc3339_nano
from ardock.docker.values import OpenMap, Struct
from ardock.model.events import Event, Gap

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def event_json(event: Event) -> dict[str, Json]:
    """An event as Docker's API gives it (moby, ``api/types/events.Message``), with its place in the journal.

    ``seq`` and ``epoch`` are ours: Docker's events have no numbers. So is ``timings``, the µs of each part of a launch.
    """
    attributes: dict[str, Json] = {"name": event.name} if event.name else {}
    attributes.update(event.attributes)
    shape: dict[str, Json] = {}
    if event.type == "container":
        # Docker's older fields, which it goes on to send.
        shape |= {"status": event.action, "id": event.id}
        if "image" in event.attributes:
            shape["from"] = event.attributes["image"]
    shape |= {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": attributes},
        "scope": "local",
        "time": event.time // SECOND,
        "timeNano": event.time,
        "seq": event.seq,
        "epoch": event.epoch,
    }
    if event.timings is not None:
        shape["timings"] = msgspec.to_builtins(event.timings)
    return shape


def event_object(item: Event | Gap) -> str:
    """An event, or a gap, as compact JSON."""
    shape = event_json(item) if isinstance(item, Event) else gap_json(item)
    return msgspec.json.encode(shape).decode()


def event_struct(event: Event) -> Struct:
    """An event as Docker's templates see it: Go's names for what `event_json` has."""
    attributes = {"name": event.name} if event.name else {}
    is_container = event.type == "container"
    return {
        "Status": event.action if is_container else "",
        "ID": event.id if is_container else "",
        "From": event.attributes.get("image", "") if is_container else "",
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": OpenMap(attributes | event.attributes)},
        "Scope": "local",
        "Time": event.time // SECOND,
        "TimeNano": event.time,
        "Seq": event.seq,
        "Epoch": event.epoch,
    }


def event_line(event: Event | Gap) -> str:
    """An event as ``docker events`` prints it (docker/cli, ``command/system/events.go``); of a gap, nothing."""
    if not isinstance(event, Event):
        return ""
    attributes = {"name": event.name} if event.name else {}
    attributes |= event.attributes
    line = f"{rfc3339_nano(event.time)} {event.type} {event.action} {event.id}"
    if attributes:
        line += f" ({', '.join(f'{key}={value}' for key, value in sorted(attributes.items()))})"
    return line


def gap_json(gap: Gap) -> dict[str, Json]:
    """A gap, which Docker has no word for: events after ``after`` are missing, it goes on after ``seq``."""
    return {"Type": "gap", "after": str(gap.after), "seq": gap.seq, "epoch": gap.epoch}
