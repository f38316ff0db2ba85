"""The keeper's log format (``rust/keeper/src/log/``). Without I/O.

A log is a file and its rotated elders ``name.1``, ``name.2`` and so on. Each begins with `MAGIC` and the number of output
bytes that came before it; then come records: ``time i64, length u32, stream u8, zero u8 x 3, bytes``, little endian. Stream 1
is standard output or the terminal, 2 standard error; 0 says that output was lost, its 8 bytes being how many.

A cursor is a number of output bytes, those lost counted: a file's offset and the bytes of its records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MAGIC: Final = b"ARDLOG\x00\x01"
FILE_HEADER: Final = 16
RECORD_HEADER: Final = 16
# Of one log, as the keeper bounds them (MAX_FILES there).
MAX_FILES: Final = 100

LOSS: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

_FILE: Final = struct.Struct("<8sQ")
_RECORD: Final = struct.Struct("<qIB3s")
_COUNT: Final = struct.Struct("<Q")
_ZERO: Final = b"\0\0\0"


class Record(NamedTuple):
    """One record: its data is ``buffer[begin:end]``.

    Attributes:
        time: Wall clock, ns since 1970.
        stream: `STDOUT`, `STDERR` or `LOSS`.
        begin: Where its data begins in the buffer.
        end: Where it ends, and the next record begins.
    """

    time: int
    stream: int
    begin: int
    end: int


def offset_of(header: bytes) -> int | None:
    """The output bytes before the file with this header; None where it is not (yet) a whole header of ours."""
    if len(header) < FILE_HEADER:
        return None
    magic, offset = _FILE.unpack_from(header)
    return int(offset) if magic == MAGIC else None


def file_header(offset: int) -> bytes:
    """What a file begins with."""
    return _FILE.pack(MAGIC, offset)


def record_header(time: int, stream: int, length: int) -> bytes:
    """What a record begins with."""
    return _RECORD.pack(time, length, stream, _ZERO)


def records(buffer: bytes) -> Iterator[Record]:
    """The whole records that `buffer` begins with; it ends before one that is torn or no record at all."""
    at, size = 0, len(buffer)
    unpack = _RECORD.unpack_from
    while at + RECORD_HEADER <= size:
        time, length, stream, zero = unpack(buffer, at)
        begin = at + RECORD_HEADER
        at = begin + length
        # Zeros (a file whose end the disk never got) are no record either: no record is empty.
        if at > size or length == 0 or stream > STDERR or zero != _ZERO or (stream == LOSS and length != _COUNT.size):
            return
        yield Record(time, stream, begin, at)


def size_of_first(buffer: bytes) -> int:
    """Bytes that the first record takes by its header; 0 where even that is torn."""
    if len(buffer) < RECORD_HEADER:
        return 0
    length: int = _RECORD.unpack_from(buffer)[1]
    return RECORD_HEADER + length


def lost_bytes(buffer: bytes, record: Record) -> int:
    """How many bytes a `LOSS` record says were lost."""
    count: int = _COUNT.unpack_from(buffer, record.begin)[0]
    return count


def extent(buffer: bytes, record: Record) -> int:
    """By how much a record moves the cursor."""
    return record.end - record.begin if record.stream != LOSS else lost_bytes(buffer, record)
