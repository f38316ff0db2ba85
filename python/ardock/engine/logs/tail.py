"""Where the last lines of a log begin.

A line belongs to a stream: what the other one wrote in between is not part of it. Lines are in the order of their last bytes;
the last one of a stream is one too where its end is still to come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ardock.engine.logs import format as log_format
from ardock.engine.logs.files import LogFile


class Start(NamedTuple):
    """Where the wanted lines begin.

    Attributes:
        number: Of the file to begin with.
        cuts: For each stream the cursor up to which it is not wanted.
    """

    number: int
    cuts: dict[int, int]


class _Last(NamedTuple):
    """The last byte of a stream: where it is, and whether it ends a line."""

    cursor: int
    ends_line: bool


def find(files: Sequence[LogFile], streams: Collection[int], lines: int) -> Start:
    """Find the last `lines` lines of `streams`.

    Args:
        files: All files, the youngest first; each is read up to the size that it had when it was opened.
        streams: The wanted ones.
        lines: 0 or more.
    """
    total = index = 0
    last: dict[int, _Last] = {}
    for index, file in enumerate(files):  # noqa: B007 - the last one is where the lines begin
        total += _count(file, streams, last)
        if total >= lines:
            break
    if total < lines:
        return Start(index, {})
    # Fewer lines than wanted end in the younger files: what is to be passed over is all in this one.
    cut, begins = _pass_over(files[index], total - lines, last)
    # A stream that has nothing there ended its last line before.
    cuts = dict.fromkeys((log_format.LOSS, *streams), cut)
    start = index
    for stream in streams:
        if stream in begins:
            cuts[stream] = begins[stream]
        elif stream in last:
            # Its first wanted line began in an elder file.
            elder, cuts[stream] = _line_begin(files, index + 1, stream)
            start = max(start, elder)
    return Start(start, cuts)


def _count(file: LogFile, streams: Collection[int], last: dict[int, _Last]) -> int:
    """Lines whose last byte is in this file; `last` has the streams of the younger ones, and is added to."""
    lines = 0
    here: dict[int, _Last] = {}
    cursor = file.offset
    for buffer in file.pieces(file.size):
        for record in log_format.records(buffer):
            cursor += log_format.extent(buffer, record)
            if record.stream in streams:
                lines += buffer.count(b"\n", record.begin, record.end)
                here[record.stream] = _Last(cursor, buffer.endswith(b"\n", record.begin, record.end))
    for stream, end in here.items():
        if stream not in last:
            last[stream] = end
            lines += not end.ends_line
    return lines


def _pass_over(file: LogFile, lines: int, last: dict[int, _Last]) -> tuple[int, dict[int, int]]:
    """Pass over the first lines that end in this file.

    Returns:
        The cursor there, and for the streams of which a line was passed over where their next line begins.
    """
    begins: dict[int, int] = {}
    cursor = file.offset
    if lines == 0:
        return cursor, begins
    for buffer in file.pieces(file.size):
        for stream, begin, end in ((r.stream, r.begin, r.end) for r in log_format.records(buffer)):
            if stream == log_format.LOSS:
                cursor += log_format.lost_bytes(buffer, log_format.Record(0, stream, begin, end))
                continue
            before, cursor = cursor, cursor + end - begin
            if stream not in last:
                continue  # not wanted
            at = begin
            if 0 < (whole := buffer.count(b"\n", begin, end)) < lines:
                at = buffer.rindex(b"\n", begin, end) + 1
                begins[stream] = before + at - begin
                lines -= whole
            while lines > 0 and (newline := buffer.find(b"\n", at, end)) >= 0:
                at = newline + 1
                begins[stream] = before + at - begin
                lines -= 1
            if lines > 0 and last[stream] == (cursor, False):
                begins[stream] = cursor
                lines -= 1
            if lines == 0:
                return max(begins.values()), begins
    raise AssertionError("the file has had so many lines before")


def _line_begin(files: Sequence[LogFile], index: int, stream: int) -> tuple[int, int]:
    """The file and the cursor at which the stream's line began that is not over at the end of ``files[index]``."""
    for number in range(index, len(files)):
        found = None
        cursor = files[number].offset
        for buffer in files[number].pieces(files[number].size):
            for record in log_format.records(buffer):
                before, cursor = cursor, cursor + log_format.extent(buffer, record)
                if record.stream == stream and (at := buffer.rfind(b"\n", record.begin, record.end)) >= 0:
                    found = before + at + 1 - record.begin
        if found is not None:
            return number, found
    return len(files) - 1, 0
