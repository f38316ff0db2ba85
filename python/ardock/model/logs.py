"""What a container's log gives."""

from __future__ import annotations

from typing import Literal

import msgspec

LogStream = Literal["stdout", "stderr"]


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="record"):
    """Bytes that the container wrote at once.

    Attributes:
        time: Wall clock when the keeper read them, ns since 1970.
        stream: Which stream; a terminal's is ``"stdout"``.
        data: The bytes; not cut at line ends.
        cursor: Bytes of the whole log (both streams) up to and with these: where to resume.
    """

    time: int
    stream: LogStream
    data: bytes
    cursor: int


class LogGap(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gap"):
    """Output is missing here.

    Attributes:
        missed: Bytes.
        reason: ``"rotated"``: rotation passed the reader by; ``"lost"``: it could not be written (the disk was full).
        cursor: Where it goes on.
    """

    missed: int
    reason: Literal["rotated", "lost"]
    cursor: int


LogItem = LogRecord | LogGap


class LogQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which part of a log is asked for.

    Attributes:
        follow: Go on with what is written, until the container has ended and its log is read.
        tail: Only the last so many lines (of the chosen streams) of what is there; None is all.
        since: Only what was written at this wall clock or later, ns since 1970; 0 is all.
        until: Only what was written before this wall clock, ns since 1970; 0 is all.
        stdout: With standard output.
        stderr: With standard error.
        cursor: Resume after so many bytes of the whole log (`LogRecord.cursor`); excludes `tail`.
    """

    follow: bool = False
    tail: int | None = None
    since: int = 0
    until: int = 0
    stdout: bool = True
    stderr: bool = True
    cursor: int = 0
