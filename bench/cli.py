#!/usr/bin/env python3
"""Measures the command line: whole commands, from before the process starts to its collected exit, beside docker's.

`run --rm` of a static /bin/true with limits, with a daemon and without one, one at a time and 8 at a time; then commands that
only ask. Each is a new process, so the start of the program is in every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import build, launch, peers
from bench.daemon import ARDOCK, Daemon
from bench.measure import Row
from bench.systems import BrokenError, Place, UnusableError

RUNS = ["clid1", "clid", "cli1", "cli", "docker1", "docker"]
PYTHON = "python -c pass"


def asking(place: Place, times: int) -> dict[str, float]:
    """Run the commands that only ask, in turns; each one's median, ms."""
    daemon = Daemon(place.folder / "daemon")
    dockerd = peers.Dockerd(place)
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        stack.callback(dockerd.stop)
        daemon.start()
        ardock = [ARDOCK, *daemon.options]
        name = "kept"
        root = ["--rootfs", str(place.rootfs)]
        _check([*ardock, "run", "-d", "--name", name, *root, build.PROGRAM, "-"])
        stack.callback(lambda: _check([*ardock, "rm", "--force", name]))
        # What any Python program takes before its first line.
        commands = {PYTHON: [sys.executable, "-c", "pass"]}
        for words in (["version"], ["ps"], ["inspect", name], ["exec", name, "/bin/true"]):
            commands[f"ardock {words[0]}"] = [*ardock, *words]
        try:
            dockerd.start()
            docker = ["docker", "-H", dockerd.socket]
            _check([*docker, "run", "-d", "--name", name, "--net", "none", "bench", build.PROGRAM, "-"])
            stack.callback(lambda: _check([*docker, "rm", "--force", name]))
            for words in (["version"], ["ps"], ["inspect", name], ["exec", name, "/bin/true"]):
                commands[f"docker {words[0]}"] = [*docker, *words]
        except UnusableError as reason:
            launch.note(f"left out: docker: {reason}")
        taken: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(times):
            for label, argv in commands.items():
                began = time.perf_counter()
                _check(argv)
                taken[label].append((time.perf_counter() - began) * 1000)
        return {label: median(ms) for label, ms in taken.items()}


def _check(argv: list[str]) -> None:
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BrokenError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()}")


def ratio(rows: list[Row]) -> float | None:
    """How many times as fast as docker's one `ardock run --rm` with a daemon is; None without docker."""
    found = {row.system: row.p50_ms for row in rows}
    ardock, docker = (found.get(launch.NAMES[short]) for short in ("clid1", "docker1"))
    return docker / ardock if ardock and docker else None


def table(rows: list[Row], asked: dict[str, float]) -> str:
    """Return the figures for a terminal."""
    lines = [launch.machine(), launch.table(rows)]
    if times := ratio(rows):
        lines.append(f"\nrun --rm, one at a time, with a daemon: {times:.1f} times as fast as docker")
    lines.append("\nwhole commands, p50 ms")
    lines += [f"  {label:<28}{ms:>10.1f}" for label, ms in asked.items()]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quick", action="store_true", help="each once or so: shows that all works, no figures")
    parser.add_argument("--systems", default=",".join(RUNS), help=f"out of {','.join(RUNS)}")
    options = parser.parse_args()
    options.systems = options.systems.split(",")
    if unknown := set(options.systems) - set(RUNS):
        parser.error(f"--systems: not known: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Measure and report."""
    options = arguments()
    if os.geteuid() != 0:
        launch.note("bench: containers need root")
        return 1
    # So that what was started is ended, too, when the bench is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds, slice_s, times = (1, 0.1, 2) if options.quick else (5, 1.5, 30)
    try:
        with launch.place_for("memory", captures=False, disk=Path("/var/tmp")) as place:
            rows = launch.run_set(place, options.systems, rounds, slice_s)
        with launch.place_for("memory", captures=False, disk=Path("/var/tmp")) as place:
            asked = asking(place, times)
    except (BrokenError, UnusableError, build.BuildError) as error:
        launch.note(f"bench: {error}")
        return 1
    if options.json:
        result = {
            "machine": launch.machine(),
            "run": [asdict(row) for row in rows],
            "ratio": ratio(rows),
            "p50_ms": asked,
        }
        print(json.dumps(result, indent=1))
    else:
        print(table(rows, asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
