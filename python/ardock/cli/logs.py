"""`ardock logs`: what a container wrote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ardock.cli import streams, values
from ardock.cli.command import FlagCommand
from ardock.cli.errors import FAILED, CliError, UsageError
from ardock.cli.flags import Flag, Switch
from ardock.docker.times import parse_time, rfc3339_nano

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.cli.flags import Values
    from ardock.model.logs import LogGap, LogQuery, LogRecord

READER_LEFT = 128 + 13  # 128 + SIGPIPE


def _tail(value: str) -> int | None:
    """A number of lines; docker takes anything that is none as `all`, which hides typing errors."""
    if value in {"all", "", "-1"}:
        return None
    return values.integer(low=0)(value)


def _moment(value: str) -> int:
    return parse_time(value, time.time_ns()) if value else 0


DETAILS = Switch("details", "Show extra details provided to logs")
FOLLOW = Switch("follow", "Follow log output", short="f")
SINCE = Flag("since", _moment, 'Show logs since timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")')
TAIL = Flag("tail", _tail, "Number of lines to show from the end of the logs", short="n")
TIMESTAMPS = Switch("timestamps", "Show timestamps", short="t")
UNTIL = Flag("until", _moment, 'Show logs before a timestamp (e.g. "2026-01-02T13:23:37Z") or relative (e.g. "42m")')


def run(settings: Settings, values: Values, arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    if len(arguments) != 1:
        raise UsageError("logs requires 1 argument: ardock logs [OPTIONS] CONTAINER")
    from ardock.cli.connection import connected
    from ardock.model.logs import LogQuery

    query = LogQuery(
        follow=values.on(FOLLOW), tail=values.one(TAIL), since=values.one(SINCE) or 0, until=values.one(UNTIL) or 0
    )
    printer = Printer(timestamps=values.on(TIMESTAMPS), details=values.on(DETAILS))
    with connected(settings) as engine:
        try:
            _follow(engine, arguments[0], query, printer)
        except streams.SinkClosed:
            return READER_LEFT
        except OSError as error:  # A full disk, for example.
            raise CliError(f"cannot write the log: {error.strerror}") from error
    return 0


def _follow(engine: Connection, ref: str, query: LogQuery, printer: Printer) -> None:
    """Print to the end, at the next owner too if this one ends before."""
    import msgspec

    from ardock.cli.following import records
    from ardock.model.errors import ConnectionLost
    from ardock.model.logs import LogGap, LogRecord
    from ardock.protocol.methods import INSPECT, LOGS, Logs, Ref

    # By its id from here on: at the next owner the name may be another's.
    ref = engine.call(INSPECT, Ref(ref=ref)).id
    while True:
        try:
            for batch in records(engine, LOGS, Logs(ref=ref, query=query)):
                for record in batch:
                    if isinstance(record, LogRecord):
                        printer.record(record)
                    elif isinstance(record, LogGap):
                        printer.gap(record)
                printer.flush()
                if printer.cursor:
                    query = msgspec.structs.replace(query, cursor=printer.cursor, tail=None)
            printer.end()
            return
        except ConnectionLost:
            engine.reconnect()


class Printer:
    """Writes records to our two outputs.

    With time stamps (or details) by lines, as Docker does: a line has the time of its first byte's record, and the lines of
    the two streams are not mixed.

    Attributes:
        cursor: The place after what was handed to it.
    """

    def __init__(self, *, timestamps: bool, details: bool) -> None:
        self.cursor = 0
        self._timestamps = timestamps
        self._details = details
        self._lines: dict[int, tuple[bytes, bytes]] = {}  # Stream: a begun line's prefix, and itself.
        self._out: list[tuple[int, bytes]] = []

    def record(self, record: LogRecord) -> None:
        """Add a record."""
        self.cursor = record.cursor
        number = 1 if record.stream == "stdout" else 2
        if not (self._timestamps or self._details):
            self._put(number, record.data)
            return
        prefix, begun = self._lines.pop(number, (b"", b""))
        for line in record.data.splitlines(keepends=True) if b"\r" not in record.data else _lines(record.data):
            whole = begun + line
            prefix = prefix if begun else self._prefix(record)
            if line.endswith(b"\n"):
                self._put(number, prefix + whole)
                begun = b""
            else:
                begun = whole
        if begun:
            self._lines[number] = prefix, begun

    def _prefix(self, record: LogRecord) -> bytes:
        # Docker pads the fraction to nine digits here, and here alone: time stamps stand one under the other.
        stamp = f"{_padded(record.time)} " if self._timestamps else ""
        # Docker's details are log options that ask for labels and variables; ardock has none, so there is the space after them.
        return (stamp + (" " if self._details else "")).encode()

    def gap(self, gap: LogGap) -> None:
        """Say that something is missing."""
        self.cursor = gap.cursor
        reason = "the log was rotated before it was read" if gap.reason == "rotated" else "it could not be written"
        self._put(2, f"ardock: {gap.missed} bytes of output are missing here: {reason}\n".encode())

    def end(self) -> None:
        """Write last lines that have no end."""
        for number, (prefix, begun) in sorted(self._lines.items()):
            self._put(number, prefix + begun)
        self._lines.clear()
        self.flush()

    def _put(self, number: int, data: bytes) -> None:
        self._out.append((number, data))

    def flush(self) -> None:
        """Write what was added, in its order.

        Raises:
            SinkClosed: Nobody reads.
            OSError: It cannot be written.
        """
        out, self._out = self._out, []
        run: list[bytes] = []
        for index, (number, data) in enumerate(out):
            run.append(data)
            if index + 1 == len(out) or out[index + 1][0] != number:
                streams.write_all(number, b"".join(run))
                run.clear()


def _lines(data: bytes) -> list[bytes]:
    """Lines end with a line feed alone; `bytes.splitlines` takes carriage returns too."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + [rest for rest in data.split(b"\n")[-1:] if rest]


def _padded(moment: int) -> str:
    return f"{rfc3339_nano(moment - moment % 1_000_000_000)[:-1]}.{moment % 1_000_000_000:09d}Z"


command = FlagCommand(
    "logs",
    run,
    (DETAILS, FOLLOW, SINCE, TAIL, TIMESTAMPS, UNTIL),
    usage="[OPTIONS] CONTAINER",
    help_text="Fetch the logs of a container",
    failure=FAILED,
    interspersed=True,
)
