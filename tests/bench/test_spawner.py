"""The spawner runs commands as told, and never takes a wrong result for a right one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SPAWNER = Path(__file__).resolve().parents[2] / "bench" / "spawner.py"


def spawn(**request: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(SPAWNER)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_each_run_has_a_latency_of_its_own() -> None:
    answer = spawn(argv=["true"], n=7, in_flight=3)
    assert len(answer["latencies_ms"]) == 7
    assert answer["errors"] == []
    assert answer["wall_s"] > 0


def test_no_more_run_at_once_than_asked() -> None:
    # Four naps of 50 ms by two at a time cannot take less than 100 ms.
    assert spawn(argv=["sleep", "0.05"], n=4, in_flight=2)["wall_s"] >= 0.1


def test_the_output_of_each_is_compared_with_its_own_text() -> None:
    assert spawn(argv=["printf", "text %s", "{i}"], n=4, in_flight=2, expect="text {i}", first=10)["errors"] == []
    wrong = spawn(argv=["printf", "text 11"], n=2, in_flight=1, expect="text {i}", first=10)["errors"]
    assert wrong == ["run 10: wrote 'text 11'"]


def test_a_failed_command_is_told() -> None:
    assert spawn(argv=["sh", "-c", "exit 3"], n=2, in_flight=1)["errors"] == [
        "run 0: wait status 768",
        "run 1: wait status 768",
    ]
