"""Times, durations and sizes as Docker reads and prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.docker.filters import filters, parse_filter
from ardock.docker.times import (
    SECOND,
    human_duration,
    human_size,
    local_time,
    parse_duration,
    parse_time,
    rfc3339_nano,
)

NOW = 1_800_000_000 * SECOND


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time zone that is not UTC."""
    monkeypatch.setenv("TZ", "XST-05:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("10m", NOW - 600 * SECOND),
        ("1h30m", NOW - 5400 * SECOND),
        ("1.5s", NOW - 1_500_000_000),
        ("-10m", NOW + 600 * SECOND),
        ("100ms", NOW - 100_000_000),
        ("1\u00b5s", NOW - 1000),
        ("0", 0),
        ("0s", NOW),
        ("1136073600", 1136073600 * SECOND),
        ("1136073600.000000001", 1136073600 * SECOND + 1),
        ("1136073600.5", 1136073600 * SECOND + SECOND // 2),
        ("-1.5", -1_500_000_000),
        ("2006-01-01T00:00:00Z", 1136073600 * SECOND),
        ("2006-01-01T00:00:00.000000001Z", 1136073600 * SECOND + 1),
        ("2006-01-01T01:00:00+01:00", 1136073600 * SECOND),
        ("2005-12-31T18:30:00-05:30", 1136073600 * SECOND),
        ("2006-01-01T00:00Z", 1136073600 * SECOND),
        ("2006-01-01T00Z", 1136073600 * SECOND),
        ("2006-01-01Z", 1136073600 * SECOND),
        ("2000-02-29Z", 951782400 * SECOND),
        # Without a zone: the local one, which is 5:30 h before.
        ("2006-01-01T05:30:00", 1136073600 * SECOND),
        ("2006-01-01T05:30", 1136073600 * SECOND),
        ("2006-01-01", (1136073600 - 19800) * SECOND),
    ],
)
@pytest.mark.usefixtures("far_east")
def test_a_time_is_read_as_docker_reads_it(text: str, moment: int) -> None:
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "x", "10x", "m", "1h30", "2006-13-01", "2006-02-29Z", "2001-01-32", "2006-01-01T24:00:00Z", "2006-1-1",
     "2006-01-01 00:00:00", "1.1.1", "1e9", "\u0661m", "99999999999999", "2006-01-01T00:00:00z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give a time such as|there is no such time"):
        parse_time(text, NOW)


@given(st.integers(min_value=1, max_value=253402300799 * SECOND))
def test_a_printed_time_is_read_back(moment: int) -> None:
    assert parse_time(rfc3339_nano(moment), NOW) == moment


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "0001-01-01T00:00:00Z"),
        (SECOND, "1970-01-01T00:00:01Z"),
        (1136073600 * SECOND + 120_000_000, "2006-01-01T00:00:00.12Z"),
        (1136073600 * SECOND + 1, "2006-01-01T00:00:00.000000001Z"),
    ],
)
def test_a_time_is_printed_as_go_prints_it(moment: int, text: str) -> None:
    assert rfc3339_nano(moment) == text


@pytest.mark.usefixtures("far_east")
def test_a_local_time_has_its_zone() -> None:
    assert local_time(1136073600 * SECOND) == "2006-01-01 05:30:00 +0530 XST"


def test_a_duration_is_exact() -> None:
    assert parse_duration("0.1ns") == 0
    assert parse_duration("9007199254740993ns") == 9007199254740993
    assert parse_duration("2h3m4.5s") == (7200 + 184) * SECOND + SECOND // 2
    assert parse_duration("+1s") == SECOND
    assert parse_duration("1 s") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.999, "Less than a second"),
        (1.9, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * 60 + 59, "59 minutes"),
        (3600, "About an hour"),
        (90 * 60 - 1, "About an hour"),
        (90 * 60, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_a_duration_is_told_as_docker_tells_it(seconds: float, text: str) -> None:
    assert human_duration(int(seconds * SECOND)) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1984172, "1.98MB"), (123456789, "123MB"), (10**19, "10EB")],
)
def test_a_size_is_told_as_docker_tells_it(size: int, text: str) -> None:
    assert human_size(size) == text


def test_filters_are_collected_by_name() -> None:
    pairs = [parse_filter(text) for text in ("label=a=b", " Label = c ", "name=x", "name=")]
    assert filters(pairs) == {"label": ("a=b", "c"), "name": ("x", "")}
    with pytest.raises(ValueError, match="bad format of filter"):
        parse_filter("name")
