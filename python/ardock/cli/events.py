"""`ardock events`: what happens, from now or from any point in the past, without a gap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ardock.cli import streams
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError, UsageError
from ardock.cli.flags import Flag, Many
from ardock.docker.events import event_line, event_object, event_struct
from ardock.docker.filters import filters, parse_filter
from ardock.docker.times import parse_time
from ardock.model.events import Cursor, Event, Gap

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.protocol.methods import Subscribe

READER_LEFT = 128 + 13  # 128 + SIGPIPE


def _since(value: str) -> Cursor | int | None:
    """A cursor such as ``3f2a9c1b:1042``, or a time."""
    if not value:
        return None
    cursor = Cursor.parse(value)
    if cursor is not None:
        return cursor
    try:
        return parse_time(value, time.time_ns())
    except ValueError as error:
        raise ValueError(f"{error}, or a cursor such as 3f2a9c1b:1042") from None


def _until(value: str) -> int | None:
    return parse_time(value, time.time_ns()) if value else None


def _format(value: str) -> Callable[[Event | Gap], str]:
    """How an event is printed. A gap has a line of its own in JSON alone: a program has to know of it."""
    if value in {"json", "{{json .}}"}:
        return event_object
    if not value:
        return event_line
    from ardock.cli.format.errors import TemplateError
    from ardock.cli.format.template import Template

    template = Template(value)

    def render(item: Event | Gap) -> str:
        try:
            return template.render(event_struct(item)) if isinstance(item, Event) else ""
        except TemplateError as error:
            raise CliError(f"--format: {error}", FAILED) from error

    return render


FILTER = Many("filter", parse_filter, "Filter output based on conditions provided", short="f", metavar="filter")
FORMAT = Flag("format", _format, "Format output: json, or a template such as '{{.Type}} {{.Action}}'")
SINCE = Flag("since", _since, "Show all events after a cursor (EPOCH:SEQ of an event), or since a timestamp")
UNTIL = Flag("until", _until, "Stream events until this timestamp")


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if arguments:
        raise UsageError(f"events accepts no arguments: {arguments[0]}")
    from ardock.cli.connection import connected
    from ardock.protocol.methods import CURSOR, NoParams, Subscribe

    printed = values.one(FORMAT) or event_line
    chosen = filters(values.many(FILTER))
    since = values.one(SINCE)
    with connected(settings) as engine:
        if since is None:
            # A place to resume from, before the first event has come.
            since = engine.call(CURSOR, NoParams())
        params = Subscribe(
            since=None if isinstance(since, int) else since,
            since_time=since if isinstance(since, int) else None,
            until=values.one(UNTIL),
            filters=chosen,
        )
        try:
            _follow(engine, params, printed)
        except streams.SinkClosed:
            return READER_LEFT
    return 0


def _follow(engine: Connection, params: Subscribe, printed: Callable[[Event | Gap], str]) -> None:
    """Print to the end, at the next owner too if this one ends before."""
    import msgspec

    from ardock.cli.following import records
    from ardock.model.errors import ConnectionLost
    from ardock.model.events import Heartbeat
    from ardock.protocol.methods import SUBSCRIBE

    while True:
        try:
            for batch in records(engine, SUBSCRIBE, params):
                lines = []
                for item in batch:
                    if isinstance(item, Event):
                        lines.append(printed(item))
                    elif isinstance(item, Gap):
                        streams.write_line(
                            2, f"ardock: events are missing after {item.after}: they are no longer kept\n"
                        )
                        lines += [told] if (told := printed(item)) else []
                    if isinstance(item, Event | Gap | Heartbeat):
                        params = msgspec.structs.replace(params, since=Cursor(item.epoch, item.seq), since_time=None)
                if lines:
                    streams.write_all(1, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
            return
        except ConnectionLost:
            engine.reconnect()


command = FlagCommand(
    "events",
    run,
    (FILTER, FORMAT, SINCE, UNTIL),
    usage="[OPTIONS]",
    help_text="Follow what happens, from now or from any point in the past",
    epilog="With --format json each line has seq and epoch: EPOCH:SEQ is what --since resumes after, and nothing is missed.",
    failure=FAILED,
    interspersed=True,
)
