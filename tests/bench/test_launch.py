"""`bench/launch.py` as people and CI call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and control groups need root"),
]

BENCH = Path(__file__).resolve().parents[2] / "bench" / "launch.py"


def bench(*options: str, program: Path = BENCH) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        [sys.executable, str(program), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            # Not SIGKILL, as subprocess.run() would: it is to end what it has started.
            process.terminate()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def residue() -> set[Path]:
    places = [*Path("/dev/shm").glob("ardock-bench-*"), *Path("/var/tmp").glob("ardock-bench-*")]
    return {*places, *Path("/sys/fs/cgroup").glob("*/ardock-bench-*")}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_way_to_run_is_measured_and_nothing_is_left() -> None:
    before = residue()
    done = bench(
        "--quick",
        "--slice",
        "0.05",
        "--json",
        "--systems",
        "floor,bare,run_many,run,run1,core,api_many,api,api8,api1,clid",
        "--scratch",
        "memory,disk",
        "--hold",
        "3",
    )
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    rows = result["results"]
    names = {row["system"] for row in rows}
    assert {"floor", "ardock run_many in-process", "ardock run, 32 in flight", "ardock _core.launch"} <= names
    assert {"ardock run_many, daemon", "ardock run, daemon, 8 clients", "ardock CLI, daemon"} <= names
    for row in rows:
        assert row["n"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["ratio_to_floor"] == pytest.approx(row["per_s"] / floor_of(rows, row), abs=0.01)
    sets = {(row["scratch"], row["captures"]) for row in rows}
    assert sets == {("memory", False), ("disk", False), ("memory", True), ("disk", True)}
    assert result["memory"].keys() == {"floor", "ardock"}
    assert result["memory"]["ardock"]["keeper_pss_kib"] > 0
    assert residue() - before == set()


def test_a_journalled_disk_is_measured_and_unmounted() -> None:
    before = residue()
    options = ("--quick", "--slice", "0.05", "--json", "--sets", "silent", "--scratch", "journal", "--hold", "0")
    done = bench(*options, "--systems", "floor,run1")
    if "left out" in done.stderr or "bench:" in done.stderr:
        pytest.skip(f"no journalled disk here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["results"]
    assert {row["scratch"] for row in rows} == {"journal"}
    assert all(row["n"] > 0 for row in rows)
    assert residue() - before == set()
    assert "ardock-bench-j" not in Path("/proc/self/mounts").read_text()


def floor_of(rows: list[dict[str, Any]], of: dict[str, Any]) -> float:
    same_set = [row for row in rows if (row["scratch"], row["captures"]) == (of["scratch"], of["captures"])]
    return float(next(row["per_s"] for row in same_set if row["system"] == "floor"))


def test_a_system_that_is_not_there_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin/nowhere")
    done = bench("--quick", "--scratch", "memory", "--sets", "silent", "--systems", "runc", "--hold", "0")
    assert done.returncode == 0
    assert "left out: runc: not installed: runc" in done.stderr


def test_an_unknown_system_is_refused() -> None:
    done = bench("--systems", "runc,rocket")
    assert done.returncode == 2
    assert "not known: rocket" in done.stderr
