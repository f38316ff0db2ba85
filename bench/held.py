"""The memory of containers that run: the kernel's part by the floor, and what ardock adds to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import build, density, ours, peers
from bench.systems import BrokenError, Place, UnusableError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable


def measure(place: Place, wanted: list[str], count: int, note: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Start `count` containers that stay, by the floor and by ardock, and weigh them."""
    found: dict[str, dict[str, float]] = {}
    ways = {"floor": _floor, "run": _ardock}
    names = {"floor": "floor", "run": "ardock"}
    for short in [short for short in ways if short in wanted]:
        note(f"memory of {count} running containers: {names[short]}")
        try:
            found[names[short]] = ways[short](place, count)
        except (UnusableError, BrokenError) as reason:
            note(f"left out: memory of {names[short]}: {reason}")
    return found


def _floor(place: Place, count: int) -> dict[str, float]:
    options = ["--rootfs", str(place.rootfs), "--group", f"{peers.GROUP}-held", *ours.seccomp_program(place.folder)]
    before = density.weigh({})
    process = subprocess.Popen(
        [str(build.floor()), *options, "-n", str(count), "--keep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise BrokenError("the floor program failed")
        after = density.weigh({})
    finally:
        process.stdin.close()
        process.wait()
    return density.difference(before, after, count)


def _ardock(place: Place, count: int) -> dict[str, float]:
    own = Place(place.medium, place.captures, place.folder / "held", place.rootfs)
    own.folder.mkdir()
    script = Path(__file__).with_name("ardock_worker.py")
    worker = Worker([sys.executable, str(script), json.dumps(own.to_json())], "ardock")
    try:
        return worker.ask(way="hold", n=count)
    finally:
        worker.end()


def table(memory: dict[str, dict[str, float]]) -> str:
    """Return the figures for a terminal."""
    lines = []
    for system, figures in memory.items():
        lines.append(f"\nmemory of a running container, {system}, of {figures['n']:.0f}")
        lines += [f"  {name:<28}{value:>10,.0f}" for name, value in figures.items() if name != "n"]
    return "\n".join(lines)
