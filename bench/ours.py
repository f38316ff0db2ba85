"""The floor and ardock as benched systems."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench import build, measure
from bench.measure import Slice
from bench.systems import CPUS, MEMORY, PIDS, BrokenError, CommandSystem, Place, UnusableError, Worker

FLOOR_IN_FLIGHT = (1, 2, 4, 8, 16, 32)


class Floor:
    """The floor program at its best number in flight.

    Each slice tries all numbers, so that the best is found under the conditions in which the others are measured; a
    start waits in the kernel as much as it computes, and a fixed number would leave part of the machine idle.
    """

    def __init__(self, name: str, place: Place, group: str, *, bare: bool) -> None:
        self.name = name
        self.in_flight = 0
        self.by_in_flight: dict[int, list[Slice]] = {number: [] for number in FLOOR_IN_FLIGHT}
        self._command = ["--rootfs", str(place.rootfs), "--scratch", place.scratch, "--group", group]
        if place.captures:
            self._command.append("--capture")
        if place.scratch == "disk":
            # As the engine's own: what goes at exit need not be synced.
            self._command.append("--volatile")
        self._bare = bare
        self._work = place.folder / f"floor-{group}"

    def start(self) -> None:
        """Build it and try one container."""
        try:
            self._command.insert(0, str(build.floor()))
        except build.BuildError as error:
            raise UnusableError(str(error)) from error
        self._work.mkdir()
        self._command += ["--work", str(self._work)]
        self._command += ["--bare"] if self._bare else seccomp_program(self._work.parent)
        try:
            self._run(1, [1])
        except BrokenError as error:
            raise UnusableError(str(error)) from error

    def run(self, n: int) -> Slice:
        """Start half of `n` containers at each number in flight."""
        found = self._run(max(16, n // 2), list(FLOOR_IN_FLIGHT))
        for number, one in found.items():
            self.by_in_flight[number].append(one)
        self.in_flight, _ = self.best()
        return found[self.in_flight]

    def forget(self) -> None:
        """Drop what was measured so far (the warm-up)."""
        for slices in self.by_in_flight.values():
            slices.clear()

    def best(self) -> tuple[int, Slice]:
        """Return the best number in flight over all rounds, and its medians."""
        return measure.best({number: self.at(number) for number in self.by_in_flight})

    def at(self, in_flight: int) -> Slice:
        """Return the medians over the rounds at one number in flight."""
        return measure.over_rounds(self.by_in_flight[in_flight])

    def stop(self) -> None:
        """Leave its folder to the harness, which removes the whole place."""

    def _run(self, n: int, in_flight: list[int]) -> dict[int, Slice]:
        command = [*self._command, "-n", str(n), "-j", ",".join(map(str, in_flight))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokenError(f"{self.name}: {done.stderr.strip()}")
        records = [json.loads(line) for line in done.stdout.splitlines()]
        return {int(record["in_flight"]): Slice.from_json(record) for record in records}


class Ardock:
    """A way to run containers from Python, in a process of its own that stays through the rounds."""

    def __init__(self, name: str, way: str, place: Place, *, in_flight: int) -> None:
        self.name = name
        self.in_flight = in_flight
        self._way = way
        home = place.folder / f"ardock-{way}-{in_flight}"
        self._place = Place(place.scratch, place.captures, home, place.rootfs)
        self._worker: Worker | None = None

    def start(self) -> None:
        """Open the engine and try one container."""
        self._place.folder.mkdir()
        script = Path(__file__).with_name("core_worker.py" if self._way == "core" else "ardock_worker.py")
        self._worker = Worker([sys.executable, str(script), json.dumps(self._place.to_json())], self.name)
        try:
            self.run(1)
        except BrokenError as error:
            raise UnusableError(str(error)) from error

    def run(self, n: int) -> Slice:
        """Run `n` containers to their collected exits."""
        assert self._worker
        return Slice.from_json(self._worker.ask(way=self._way, n=n, in_flight=self.in_flight))

    def stop(self) -> None:
        """Close the engine."""
        if self._worker:
            self._worker.end()


class ArdockCommand(CommandSystem):
    """The command line, a process a container."""

    def __init__(self, name: str, place: Place, *, in_flight: int) -> None:
        program = [build.PROGRAM, place.text()] if place.captures else ["/bin/true"]
        self._home = place.folder / f"ardock-cli-{in_flight}"
        argv = [
            str(Path(sys.executable).with_name("ardock")), "--root", str(self._home / "root"),
            "--run-dir", str(self._home / "run"), "run", "--rm", "--rootfs", str(place.rootfs),
            "--scratch", place.scratch, "--memory", str(MEMORY), "--cpus", str(CPUS), "--pids-limit", str(PIDS), *program,
        ]  # fmt: skip
        super().__init__(name, place, argv, in_flight=in_flight)

    def start(self) -> None:
        """Try it once."""
        self._home.mkdir()
        super().start()


def seccomp_program(folder: Path) -> list[str]:
    """Return the floor's options for the policy that ardock gives its containers, compiled by ardock itself."""
    try:
        # Not at the top: without a build, the bench still measures the others.
        from ardock import _core  # noqa: PLC0415
        from ardock.engine.containers import defaults  # noqa: PLC0415
    except ImportError as error:
        raise UnusableError(f"ardock is not built: {error}") from error
    _, code = _core.seccomp_compile(None, defaults.DEFAULT_CAPABILITIES, no_new_privileges=False, joining=False)
    file = folder / "seccomp.bpf"
    file.write_bytes(code)
    return ["--seccomp", str(file)]
