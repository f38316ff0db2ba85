"""Sizes, CPU counts, sets and signals as Docker writes them."""

from __future__ import annotations

import contextlib
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.model.errors import InvalidArgument
from ardock.model.sizes import format_size, parse_cpus, parse_cpuset, parse_signal, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        # docker/go-units size_test.go, TestRAMInBytes
        ("32", 32), ("32b", 32), ("32B", 32), ("32k", 32 << 10), ("32K", 32 << 10), ("32kb", 32 << 10), ("32Kb", 32 << 10),
        ("32Mb", 32 << 20), ("32Gb", 32 << 30), ("32Tb", 32 << 40), ("32Pb", 32 << 50), ("32 MB", 32 << 20),
        ("32.5 kB", 33280), ("0.3 K", 307), ("32 KiB", 32 << 10), (".3kB".replace(".", "0."), 307), (64, 64), (0, 0),
    ],
)  # fmt: skip
def test_sizes_are_dockers(text: int | str, size: int) -> None:
    assert parse_size(text, "memory") == size


@pytest.mark.parametrize(
    "text", ["", "hello", "-32", "32b.", " . ", "32 mm", "32mbm", "1e3", "0x10", "1 2", "٣", "9p9"]
)
def test_what_is_no_size_is_an_error_that_names_the_field(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^memory: ") as caught:
        parse_size(text, "memory")
    assert caught.value.field == "memory"


@pytest.mark.parametrize("size", [-1, 1 << 63, "9000p", True])
def test_sizes_out_of_range_are_refused(size: int | str) -> None:
    with pytest.raises(InvalidArgument):
        parse_size(size, "memory")


@given(st.integers(0, (1 << 63) - 1))
def test_a_formatted_size_is_read_as_itself(size: int) -> None:
    assert parse_size(format_size(size), "memory") == size


@given(st.text())
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert parse_size(text, "memory") >= 0


@pytest.mark.parametrize(
    ("cpus", "quota"), [(1, 100_000), (0.5, 50_000), ("1.5", 150_000), (0.01, 1_000), (2, 200_000)]
)
def test_cpus_are_a_quota(cpus: float | str, quota: int) -> None:
    assert parse_cpus(cpus, available=2) == quota


@pytest.mark.parametrize("cpus", [0, 0.001, -1, 2.01, "x", "nan", "inf"])
def test_cpus_outside_the_machine_are_refused(cpus: float | str) -> None:
    with pytest.raises(InvalidArgument, match=r"^cpus: "):
        parse_cpus(cpus, available=2)


def test_too_many_cpus_name_how_many_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"from 0\.01 to 2\.00, as there are only 2 CPUs available"):
        parse_cpus(3, available=2)


@pytest.mark.parametrize(("text", "found"), [("0", "0"), ("0-1", "0-1"), ("0, 1", "0,1")])
def test_cpu_sets(text: str, found: str) -> None:
    assert parse_cpuset(text, frozenset({0, 1}), "cpuset_cpus") == found


@pytest.mark.parametrize("text", ["", "x", "2", "0-2", "1-0", "0,", "0-99999999999", "-1"])
def test_cpu_sets_outside_the_machine_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_cpuset(text, frozenset({0, 1}), "cpuset_cpus")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (9, 9),
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", 63),
    ],
)
def test_signals(value: int | str, number: int) -> None:
    assert parse_signal(value) == number


@pytest.mark.parametrize("value", [0, -1, 65, "NOPE", "", "SIG", "RTMIN+99", "SIG_BLOCK", "_BLOCK"])
def test_what_is_no_signal_is_refused(value: int | str) -> None:
    with pytest.raises(InvalidArgument):
        parse_signal(value)
