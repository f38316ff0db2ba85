"""What `ardock logs` prints of records that are not cut at line ends."""

from __future__ import annotations

import pytest

from ardock.cli import streams
from ardock.cli.logs import Printer
from ardock.model.logs import LogGap, LogRecord

SECOND = 1_000_000_000
T1, T2 = "2023-11-14T22:13:20.000000000Z ", "2023-11-14T22:13:21.500000000Z "


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    calls: list[tuple[int, bytes]] = []
    monkeypatch.setattr(streams, "write_all", lambda number, data: calls.append((number, data)))
    return calls


def records(*parts: tuple[int, str, bytes]) -> list[LogRecord]:
    """`LogRecord`s of (tenths of a second, stream, data)."""
    result, cursor = [], 0
    for tenths, stream, data in parts:
        cursor += len(data)
        time = 1_700_000_000 * SECOND + tenths * SECOND // 10
        result.append(
            LogRecord(time=time, stream="stdout" if stream == "stdout" else "stderr", data=data, cursor=cursor)
        )
    return result


def printed(written: list[tuple[int, bytes]], printer: Printer, *parts: tuple[int, str, bytes]) -> bytes:
    for record in records(*parts):
        printer.record(record)
    printer.end()
    return b"".join(data for _, data in written)


def test_bytes_go_to_their_own_streams_as_they_are(written: list[tuple[int, bytes]]) -> None:
    printer = Printer(timestamps=False, details=False)
    printed(
        written, printer, (0, "stdout", b"a\r\nb"), (0, "stdout", b"\xff"), (0, "stderr", b"e"), (0, "stdout", b"c")
    )
    assert written == [(1, b"a\r\nb\xff"), (2, b"e"), (1, b"c")]
    assert printer.cursor == 7


def test_a_line_has_the_time_of_its_first_byte(written: list[tuple[int, bytes]]) -> None:
    text = printed(
        written,
        Printer(timestamps=True, details=False),
        (0, "stdout", b"one\ntw"),
        (15, "stdout", b"o\nthree\r\n\n"),
        (15, "stdout", b"no end"),
    )
    assert text.decode() == f"{T1}one\n{T1}two\n{T2}three\r\n{T2}\n{T2}no end"


def test_lines_of_two_streams_are_not_mixed(written: list[tuple[int, bytes]]) -> None:
    printed(
        written,
        Printer(timestamps=True, details=False),
        (0, "stdout", b"out"),
        (0, "stderr", b"err\n"),
        (15, "stdout", b"put\n"),
    )
    assert written == [(2, f"{T1}err\n".encode()), (1, f"{T1}output\n".encode())]


def test_details_are_a_blank_where_there_are_none(written: list[tuple[int, bytes]]) -> None:
    assert printed(written, Printer(timestamps=False, details=True), (0, "stdout", b"a\nb\n")) == b" a\n b\n"


def test_a_gap_is_told_and_moves_the_cursor(written: list[tuple[int, bytes]]) -> None:
    printer = Printer(timestamps=False, details=False)
    printer.gap(LogGap(missed=7, reason="rotated", cursor=107))
    printer.flush()
    assert printer.cursor == 107
    assert written == [(2, b"ardock: 7 bytes of output are missing here: the log was rotated before it was read\n")]
