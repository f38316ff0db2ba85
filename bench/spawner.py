"""Runs a command many times, some of them at once, and measures each run.

A process of its own, so that it can be started inside other namespaces and
so that its `waitpid(-1)` reaps nothing of anyone else's. Reads one JSON
object from standard input::

    {"argv": ["runc", "run", "-b", "bundle", "c{i}"], "n": 100, "in_flight": 8, "expect": "text-{i}"}

`{i}` is replaced by the run's number. With `expect`, standard output is
collected through a pipe and must be that text exactly; without it it is
/dev/null. Prints one JSON object: wall seconds, ms from before the spawn to
the collected exit for each run, and what went wrong.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

_MOST_ERRORS = 5


def main() -> int:
    """Do what standard input asks."""
    request = json.load(sys.stdin)
    argv: list[str] = request["argv"]
    count: int = request["n"]
    expect: str | None = request.get("expect")
    first: int = request.get("first", 0)
    running: dict[int, tuple[int, float, int | None]] = {}
    latencies: list[float] = []
    errors: list[str] = []
    environment = dict(os.environ)
    # All write at its end; read only where something went wrong.
    complaints = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 - until the process ends

    def start(number: int) -> None:
        began = time.perf_counter()
        words = [word.replace("{i}", str(number)) for word in argv]
        null = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
        quiet = (os.POSIX_SPAWN_DUP2, complaints.fileno(), 2)
        if expect is None:
            output = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
            pid = os.posix_spawnp(words[0], words, environment, file_actions=[null, output, quiet])
            running[pid] = (number, began, None)
            return
        reading, writing = os.pipe()
        duplicate = (os.POSIX_SPAWN_DUP2, writing, 1)
        pid = os.posix_spawnp(words[0], words, environment, file_actions=[null, duplicate, quiet])
        os.close(writing)
        running[pid] = (number, began, reading)

    def collect() -> None:
        pid, status = os.waitpid(-1, 0)
        number, began, reading = running.pop(pid)
        problem = "" if status == 0 else f"wait status {status}"
        if reading is not None:
            # Everything a finished command wrote is in the pipe: 100 bytes fit.
            output = os.read(reading, 65536).decode(errors="replace")
            os.close(reading)
            if output != (expect or "").replace("{i}", str(number)):
                problem = problem or f"wrote {output!r}"
        latencies.append((time.perf_counter() - began) * 1000)
        if problem and len(errors) < _MOST_ERRORS:
            complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - 500))
            errors.append(f"run {number}: {problem}: {complaints.read().decode(errors='replace').strip()}".rstrip(": "))

    began = time.perf_counter()
    for number in range(first, first + count):
        if len(running) >= request["in_flight"]:
            collect()
        start(number)
    while running:
        collect()
    wall = time.perf_counter() - began
    json.dump({"wall_s": wall, "latencies_ms": latencies, "errors": errors}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
