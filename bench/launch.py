#!/usr/bin/env python3
"""Measures launching: ardock beside the kernel's floor and other engines, interleaved in one run.

The same job for all: a static /bin/true in a fresh container with limits on memory, cpu and processes, from the call
to its collected exit. A floor in C makes the system calls of ardock's launch and nothing else (bench/floor); other
engines do as much of the job as they can (bench/peers.py says what they leave out). Each round gives each system a
slice of time; a figure is the median over the rounds, so that whatever else the machine does meets all of them.

Two sets, each with writes to the root kept in memory, on the disk and on an ext4 with a journal (on a loop device of its
own): the program says nothing, or its 100 bytes are collected and compared. At the end, the memory that running containers take.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import build, held, measure, ours, peers, plot
from bench.daemon import Daemon
from bench.journal import journalled
from bench.measure import Row, Slice
from bench.systems import BrokenError, Medium, Place, System, UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = Path(__file__).resolve().parent.parent / "docs"
SETTLE_S = 0.2
"""Between slices: the kernel takes namespaces and control groups down after their containers are gone."""

NAMES = {
    "floor": "floor",
    "bare": "floor, bare pieces",
    "run_many": "ardock run_many in-process",
    "run": "ardock run, 32 in flight",
    "run1": "ardock run, one at a time",
    "core": "ardock _core.launch",
    "api_many": "ardock run_many, daemon",
    "api": "ardock run, daemon, 32 in flight",
    "api8": "ardock run, daemon, 8 clients",
    "api1": "ardock run, daemon, one at a time",
    "cli": "ardock CLI",
    "cli1": "ardock CLI, one at a time",
    "clid": "ardock CLI, daemon",
    "clid1": "ardock CLI, daemon, one at a time",
    "bwrap": "bwrap",
    "bwrap1": "bwrap, one at a time",
    "crun": "crun",
    "crun1": "crun, one at a time",
    "runc": "runc",
    "runc1": "runc, one at a time",
    "docker": "docker",
    "docker1": "docker, one at a time",
}
"""Short names for --systems, and what the results call them. Other engines run 8 at a time: their best."""


def systems(place: Place, wanted: list[str]) -> list[System]:
    """Make the systems of one set."""
    dockerd = peers.Dockerd(place)
    daemon = Daemon(place.folder / "daemon")
    make: dict[str, Callable[[str], System]] = {
        "floor": lambda name: ours.Floor(name, place, peers.GROUP, bare=False),
        "bare": lambda name: ours.Floor(name, place, f"{peers.GROUP}-bare", bare=True),
        "run_many": lambda name: ours.Ardock(name, "run_many", place, in_flight=0),
        "run": lambda name: ours.Ardock(name, "run", place, in_flight=32),
        "run1": lambda name: ours.Ardock(name, "run", place, in_flight=1),
        "core": lambda name: ours.Ardock(name, "core", place, in_flight=1),
        "api_many": lambda name: ours.Ardock(name, "run_many", place, in_flight=0, daemon=daemon),
        "api": lambda name: ours.Ardock(name, "run", place, in_flight=32, daemon=daemon),
        "api8": lambda name: ours.ArdockClients(name, place, daemon, clients=8, in_flight=32),
        "api1": lambda name: ours.Ardock(name, "run", place, in_flight=1, daemon=daemon),
        "cli": lambda name: ours.ArdockCommand(name, place, in_flight=8),
        "cli1": lambda name: ours.ArdockCommand(name, place, in_flight=1),
        "clid": lambda name: ours.ArdockCommand(name, place, in_flight=8, daemon=daemon),
        "clid1": lambda name: ours.ArdockCommand(name, place, in_flight=1, daemon=daemon),
        "bwrap": lambda name: peers.Bwrap(name, place, in_flight=8),
        "bwrap1": lambda name: peers.Bwrap(name, place, in_flight=1),
        "crun": lambda name: peers.OciRuntime(name, "crun", place, in_flight=8),
        "crun1": lambda name: peers.OciRuntime(name, "crun", place, in_flight=1),
        "runc": lambda name: peers.OciRuntime(name, "runc", place, in_flight=8),
        "runc1": lambda name: peers.OciRuntime(name, "runc", place, in_flight=1),
        "docker": lambda name: peers.Docker(name, dockerd, place, in_flight=8),
        "docker1": lambda name: peers.Docker(name, dockerd, place, in_flight=1),
    }
    return [make[short](NAMES[short]) for short in wanted]


def run_set(place: Place, wanted: list[str], rounds: int, slice_s: float) -> list[Row]:
    """Measure one set."""
    with ExitStack() as stack:
        ready: list[System] = []
        for system in systems(place, wanted):
            stack.callback(system.stop)
            try:
                system.start()
            except UnusableError as reason:
                note(f"left out: {system.name}: {reason}")
                continue
            ready.append(system)
        return _rounds(ready, place, rounds, slice_s)


def warm_up(system: System, slice_s: float) -> int:
    """Run a system until it is at its speed, and return how many containers make a slice of it."""
    least = n = max(8, 2 * system.in_flight)
    while True:
        per_s = system.run(n).per_s
        # A short run is ramp-up and tail, and tells too little of the speed.
        if n / per_s >= slice_s / 4:
            break
        n *= 2
    if isinstance(system, ours.Floor):
        system.forget()
    return max(least, int(per_s * slice_s))


def _rounds(ready: list[System], place: Place, rounds: int, slice_s: float) -> list[Row]:
    note(f"scratch {place.medium}, {'100 bytes collected' if place.captures else 'no output'}: warm-up")
    sizes = {system.name: warm_up(system, slice_s) for system in ready}
    slices: dict[str, list[Slice]] = {system.name: [] for system in ready}
    for number in range(rounds):
        note(f"round {number + 1} of {rounds}")
        # There and back, so that no system always follows the same one.
        for system in ready if number % 2 == 0 else reversed(ready):
            time.sleep(SETTLE_S)
            slices[system.name].append(system.run(sizes[system.name]))
    found: list[tuple[str, int, Slice]] = []
    for system in ready:
        if isinstance(system, ours.Floor):
            in_flight, at_best = system.best()
            found += [(system.name, in_flight, at_best), (f"{system.name}, one at a time", 1, system.at(1))]
        else:
            found.append((system.name, system.in_flight, measure.over_rounds(slices[system.name])))
    floor = next((figures.per_s for name, _, figures in found if name == NAMES["floor"]), None)
    return [
        Row(
            system=name, per_s=round(figures.per_s, 1), p50_ms=round(figures.p50_ms, 3), p99_ms=round(figures.p99_ms, 3),
            n=figures.n, ratio_to_floor=round(figures.per_s / floor, 3) if floor else None, in_flight=in_flight,
            scratch=place.medium, captures=place.captures,
        )
        for name, in_flight, figures in found
    ]  # fmt: skip


@contextmanager
def place_for(medium: Medium, *, captures: bool, disk: Path) -> Iterator[Place]:
    """Make a folder for one set, on a tmpfs, on the disk or on a journalled one, and remove it with all that is in it."""
    with ExitStack() as stack:
        where, prefix = (Path("/dev/shm") if medium == "memory" else disk), f"{peers.GROUP}-"
        if medium == "journal":
            # Short: other engines have sockets in it, whose paths may have 104 characters.
            where, prefix = stack.enter_context(journalled(disk)), ""
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        try:
            yield Place(medium=medium, captures=captures, folder=folder, rootfs=build.rootfs(folder / "rootfs"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            peers.remove_groups()


def note(text: str) -> None:
    """Say what goes on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def table(rows: list[Row]) -> str:
    """Return the result for a terminal."""
    lines = []
    head = None
    for row in rows:
        if head != (row.scratch, row.captures):
            head = (row.scratch, row.captures)
            output = "100 bytes of output collected" if row.captures else "no output"
            lines.append(f"\nscratch={row.scratch}, {output}")
            lines.append(
                f"{'system':<36}{'in flight':>10}{'starts/s':>11}{'p50 ms':>10}{'p99 ms':>10}{'n':>8}{'of floor':>10}"
            )
        ratio = f"{row.ratio_to_floor:.1%}" if row.ratio_to_floor is not None else "-"
        flight = row.in_flight or "own"
        lines.append(
            f"{row.system:<36}{flight:>10}{row.per_s:>11,.1f}{row.p50_ms:>10.2f}{row.p99_ms:>10.2f}{row.n:>8,}{ratio:>10}"
        )
    return "\n".join(lines)


def markdown(rows: list[Row], memory: dict[str, dict[str, float]]) -> str:
    """Return the result as tables for docs/performance.md."""
    lines = [f"Measured on {machine()}."]
    for captures, scratch in dict.fromkeys((row.captures, row.scratch) for row in rows):
        output = "100 bytes of output collected" if captures else "no output"
        lines += [
            f"\nscratch={scratch}, {output}:\n",
            "| system | in flight | starts/s | p50 ms | p99 ms | of the floor |",
        ]
        lines.append("|---|---:|---:|---:|---:|---:|")
        for row in (row for row in rows if (row.captures, row.scratch) == (captures, scratch)):
            ratio = f"{row.ratio_to_floor:.0%}" if row.ratio_to_floor is not None else "-"
            figures = f"{row.per_s:,.1f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} | {ratio}"
            lines.append(f"| {row.system} | {row.in_flight or 'own'} | {figures} |")
    if memory:
        lines += ["\nMemory of a running container, KiB:\n", "| figure | " + " | ".join(memory) + " |"]
        lines.append("|---" + "|---:" * len(memory) + "|")
        for name in dict.fromkeys(name for figures in memory.values() for name in figures):
            values = [f"{figures[name]:,.0f}" if name in figures else "-" for figures in memory.values()]
            lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def machine() -> str:
    """Return the machine in a line."""
    model = next(
        (
            line.split(": ", 1)[1]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--markdown", type=Path, help="write the result to this file, as tables for the documents")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "--quick", action="store_true", help="short slices, one round: shows that all works, no figures"
    )
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--slice", type=float, help="seconds of each system in each round, default 1.5")
    parser.add_argument("--systems", default=",".join(NAMES), help=f"out of {','.join(NAMES)}")
    parser.add_argument("--scratch", default="memory,disk,journal", help="out of memory,disk,journal")
    parser.add_argument("--sets", default="silent,output", help="out of silent,output")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="a folder on the disk to be measured")
    parser.add_argument("--hold", type=int, help="containers for the memory figures, default 200; 0 leaves them out")
    parser.add_argument(
        "--svg", type=Path, help="where to draw the plot; docs/launch.svg unless --quick or a choice was given"
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.slice = options.slice or (0.2 if options.quick else 1.5)
    options.hold = (20 if options.quick else 200) if options.hold is None else options.hold
    for name, allowed in (
        ("systems", NAMES),
        ("scratch", ("memory", "disk", "journal")),
        ("sets", ("silent", "output")),
    ):
        chosen = getattr(options, name).split(",")
        if unknown := set(chosen) - set(allowed):
            parser.error(f"--{name}: not known: {', '.join(sorted(unknown))}")
        setattr(options, name, chosen)
    if options.svg is None and not options.quick and options.systems == list(NAMES) and len(options.sets) == 2:
        options.svg = DOCS / "launch.svg"
    return options


def main() -> int:
    """Measure and report."""
    options = arguments()
    if os.geteuid() != 0:
        note("bench: containers need root")
        return 1
    # So that what was started is ended, too, when the bench is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[Row] = []
    memory: dict[str, dict[str, float]] = {}
    try:
        for kind in options.sets:
            for scratch in options.scratch:
                with place_for(scratch, captures=kind == "output", disk=options.work) as place:
                    rows += run_set(place, options.systems, options.rounds, options.slice)
        if options.hold:
            with place_for("memory", captures=False, disk=options.work) as place:
                memory = held.measure(place, options.systems, options.hold, note)
    except (BrokenError, UnusableError, build.BuildError) as error:
        note(f"bench: {error}")
        return 1
    if options.svg:
        plot.write(rows, options.svg, machine())
    if options.markdown:
        options.markdown.write_text(markdown(rows, memory) + "\n")
    if options.json:
        print(json.dumps({"machine": machine(), "results": [asdict(row) for row in rows], "memory": memory}, indent=1))
    else:
        print(machine(), table(rows), held.table(memory), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
