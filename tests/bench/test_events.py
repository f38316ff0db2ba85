"""`bench/events.py` and `bench/cli.py` as people and CI call them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from bench.events import PARTS
from tests.bench.test_launch import BENCH, bench, residue

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and control groups need root"),
]


def measured(program: str, *options: str) -> dict[str, Any]:
    done = bench("--quick", "--json", *options, program=BENCH.with_name(program))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(120)
def test_events_are_measured_in_all_ways_and_nothing_is_left() -> None:
    before = residue()
    result = measured("events.py")
    found = result["results"]
    assert found.keys() == set(PARTS)
    # The bench itself fails where an event is missing or comes twice.
    assert found["paced"]["deliveries_per_s"] > found["paced"]["events_per_s"] > 0
    assert found["stopped"]["deliveries_per_s_beside_a_stopped_reader"] > 0
    assert found["replay"]["events"] >= 600
    assert found["ps"]["containers"] == 100
    assert residue() - before == set()


@pytest.mark.timeout(120)
def test_whole_commands_are_measured_with_a_daemon_and_nothing_is_left() -> None:
    before = residue()
    result = measured("cli.py", "--systems", "clid1,cli1")
    assert {row["system"] for row in result["run"]} == {
        "ardock CLI, daemon, one at a time",
        "ardock CLI, one at a time",
    }
    assert {"ardock version", "ardock ps", "ardock inspect", "ardock exec"} <= result["p50_ms"].keys()
    assert residue() - before == set()
