"""A container's events in Docker's words: pure."""

from __future__ import annotations

from ardock.engine.containers.container import Container
from ardock.engine.state import NewEvent
from ardock.model.messages import Exit
from ardock.model.records import ExitRecord, Timings

_NS: int = 1_000_000_000


def about(container: Container) -> dict[str, str]:
    """The attributes that every event of it has: labels, ``image`` and ``name``, as Docker's."""
    attributes = dict(container.spec.labels)
    attributes["image"] = container.image()
    attributes["name"] = container.name
    return attributes


def event(
    container: Container,
    action: str,
    time: int,
    attributes: dict[str, str] | None = None,
    timings: Timings | None = None,
) -> NewEvent:
    """One event of it."""
    told = about(container)
    if attributes:
        told.update(attributes)
    return NewEvent(
        time=time,
        type="container",
        action=action,
        id=container.id,
        name=container.name,
        attributes=told,
        timings=timings,
    )


def died(container: Container, end: ExitRecord, duration: int) -> list[NewEvent]:
    """``oom`` where that was why, and ``die``.

    Args:
        container: Which.
        end: How.
        duration: ns that it ran, by a clock that does not step.
    """
    events: list[NewEvent] = []
    if end.oom_killed:
        events.append(event(container, "oom", end.finished_at))
    attributes = {"exitCode": str(end.exit_code), "execDuration": str(duration // _NS)}
    if end.signal is not None:
        attributes["signal"] = str(end.signal)
    if end.reason != "exited":
        attributes["reason"] = end.reason
    events.append(event(container, "die", end.finished_at, attributes))
    return events


def joined(container: Container, exec_id: str, command: str, time: int, timings: Timings | None) -> list[NewEvent]:
    """``exec_create`` and ``exec_start``; `command` is empty where it is not known (any more)."""
    suffix = f": {command}" if command else ""
    attributes = {"execID": exec_id}
    return [
        event(container, f"exec_create{suffix}", time, attributes),
        event(container, f"exec_start{suffix}", time, attributes, timings),
    ]


def exec_died(container: Container, exec_id: str, end: Exit | None, time: int) -> NewEvent:
    """``exec_die``; `end` is None where it was lost."""
    attributes = {"execID": exec_id, "exitCode": "255" if end is None else str(end.code)}
    if end is not None:
        attributes["execDuration"] = str(end.duration_ns // _NS)
    return event(container, "exec_die", time if end is None else end.finished_at, attributes)
