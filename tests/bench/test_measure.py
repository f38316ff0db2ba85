"""What the bench makes of its measurements."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import measure, plot
from bench.measure import Row, Slice
from bench.systems import TEXT_LENGTH, Place


def test_a_slice_counts_wall_time_and_ranks_latencies() -> None:
    found = Slice.of(2.0, [float(n) for n in range(100, 0, -1)])
    assert found == Slice(n=100, per_s=50.0, p50_ms=50.0, p99_ms=99.0)


def test_one_disturbed_round_does_not_move_the_result() -> None:
    calm = [Slice(100, 1000.0, 1.0, 2.0)] * 4
    disturbed = Slice(100, 10.0, 90.0, 400.0)
    assert measure.over_rounds([*calm, disturbed]) == Slice(500, 1000.0, 1.0, 2.0)


def test_the_floor_is_its_best_number_in_flight() -> None:
    found = measure.best({1: Slice(1, 500.0, 1, 1), 8: Slice(1, 900.0, 8, 9), 16: Slice(1, 880.0, 16, 20)})
    assert found[0] == 8


@pytest.mark.parametrize("number", ["000000000", "123456789"])
def test_each_container_prints_100_bytes_of_its_own(number: str) -> None:
    place = Place("memory", True, Path(), Path())
    text = place.text(number)
    assert len(text) == TEXT_LENGTH
    assert number in text
    assert place.text().replace("{i}", number) == text


def test_the_plot_is_well_formed_and_holds_every_system(tmp_path: Path) -> None:
    names = ["floor", "ardock run, 32 in flight", "a <peer> & co"]
    rows = [
        Row(name, 100.0, 1.0, 2.0, 10, 1.0, in_flight=8, scratch=scratch, captures=False)
        for name in names
        for scratch in ("memory", "disk")
    ]
    plot.write(rows, tmp_path / "plot.svg", "2 cores <x> & y")
    texts = [element.text for element in ET.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}text")]
    for name in names:
        assert texts.count(name) == 2
