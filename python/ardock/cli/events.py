"""`ardock events`: what happens, from now or from any point in the past, without a gap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ardock.cli import streams
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, UsageError
from ardock.cli.flags import Flag, Many
from ardock.cli.values import text
from ardock.docker.filters import filters, parse_filter
from ardock.docker.times import parse_time

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.model.events import Cursor, Event, Gap
    from ardock.protocol.methods import Subscribe

READER_LEFT = 128 + 13  # 128 + SIGPIPE


def _since(value: str) -> Cursor | int | None:
    """A cursor such as ``3f2a9c1b:1042``, or a time."""
    from ardock.model.events import Cursor

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


FILTER = Many("filter", parse_filter, "Filter output based on conditions provided", short="f", metavar="filter")
FORMAT = Flag("format", text, "Format output: json, or a template such as '{{.Type}} {{.Action}}'")
SINCE = Flag("since", _since, "Show all events after a cursor (EPOCH:SEQ of an event), or since a timestamp")
UNTIL = Flag("until", _until, "Stream events until this timestamp")


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if arguments:
        raise UsageError(f"events accepts no arguments: {arguments[0]}")
    from ardock.cli.connection import connected
    from ardock.protocol.methods import CURSOR, NoParams, Subscribe

    line, gap_line = _printers(values.one(FORMAT) or "")
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
            _follow(engine, params, line, gap_line)
        except streams.SinkClosed:
            return READER_LEFT
    return 0


def _printers(form: str) -> tuple[Callable[[Event], str], Callable[[Gap], str]]:
    from ardock.docker.events import event_json, event_line, gap_json

    if form in {"json", "{{json .}}"}:
        import json

        def dump(shape: object) -> str:
            return json.dumps(shape, ensure_ascii=False, separators=(",", ":"))

        return lambda event: dump(event_json(event)), lambda gap: dump(gap_json(gap))
    if form:
        from ardock.cli.format import Template

        template = Template(form)
        return lambda event: template.render(event_json(event)), lambda _: ""
    return event_line, lambda _: ""


def _follow(
    engine: Connection, params: Subscribe, line: Callable[[Event], str], gap_line: Callable[[Gap], str]
) -> None:
    """Print to the end, at the next owner too if this one ends before."""
    import msgspec

    from ardock.cli.following import records
    from ardock.model.errors import ConnectionLost
    from ardock.model.events import Cursor, Event, Gap, Heartbeat
    from ardock.protocol.methods import SUBSCRIBE

    while True:
        try:
            for batch in records(engine, SUBSCRIBE, params):
                lines = []
                for item in batch:
                    if isinstance(item, Event):
                        lines.append(line(item))
                    elif isinstance(item, Gap):
                        streams.write_line(
                            2, f"ardock: events are missing after {item.after}: they are no longer kept\n"
                        )
                        lines += [told] if (told := gap_line(item)) else []
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
)
