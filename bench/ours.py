"""The floor and ardock as benched systems."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

from bench import build, measure
from bench.daemon import ARDOCK, Daemon
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
    """A way to run containers from Python, in a process of its own that stays through the rounds.

    Without a daemon the engine is in that process.
    """

    def __init__(self, name: str, way: str, place: Place, *, in_flight: int, daemon: Daemon | None = None) -> None:
        self.name = name
        self.in_flight = in_flight
        self._way = way
        self._daemon = daemon
        home = daemon.folder if daemon else place.folder / f"ardock-{way}-{in_flight}"
        self._place = Place(place.medium, place.captures, home, place.rootfs)
        self._worker: Worker | None = None

    def start(self) -> None:
        """Open the engine and try one container."""
        if self._daemon:
            self._daemon.start()
        else:
            self._place.folder.mkdir()
        self._worker = worker(self._place, self._way, self.name, connected=self._daemon is not None)
        try:
            self.run(1)
        except BrokenError as error:
            raise UnusableError(str(error)) from error

    def run(self, n: int) -> Slice:
        """Run `n` containers to their collected exits."""
        assert self._worker
        return Slice.from_json(self._worker.ask(way=self._way, n=n, in_flight=self.in_flight))

    def stop(self) -> None:
        """Close the engine, or the connection and then the daemon; the first of its systems to stop does."""
        if self._worker:
            self._worker.end()
        if self._daemon:
            self._daemon.stop()


class ArdockClients:
    """Several programs that use one daemon at once; the containers in flight are shared out among them."""

    def __init__(self, name: str, place: Place, daemon: Daemon, *, clients: int, in_flight: int) -> None:
        self.name = name
        self.in_flight = in_flight
        self._clients = clients
        self._daemon = daemon
        self._place = Place(place.medium, place.captures, daemon.folder, place.rootfs)
        self._workers: list[Worker] = []

    def start(self) -> None:
        """Connect all and try a container each."""
        self._daemon.start()
        for number in range(self._clients):
            self._workers.append(worker(self._place, "run", f"{self.name}, client {number}", connected=True))
        try:
            self.run(self._clients)
        except BrokenError as error:
            raise UnusableError(str(error)) from error

    def run(self, n: int) -> Slice:
        """Run `n` containers, from the first one's call to the last one's exit."""
        each = max(1, n // self._clients)
        began = time.perf_counter()
        for one in self._workers:
            one.send(way="run", n=each, in_flight=self.in_flight // self._clients, single=True)
        latencies = [ms for one in self._workers for ms in cast("list[float]", one.answer()["latencies_ms"])]
        return Slice.of(time.perf_counter() - began, latencies)

    def stop(self) -> None:
        """Close the connections and the daemon."""
        for one in self._workers:
            one.end()
        self._daemon.stop()


def worker(place: Place, way: str, name: str, *, connected: bool) -> Worker:
    """Start a process that runs containers."""
    script = Path(__file__).with_name("core_worker.py" if way == "core" else "ardock_worker.py")
    how = ["connect"] if connected else []
    return Worker([sys.executable, str(script), json.dumps(place.to_json()), *how], name)


class ArdockCommand(CommandSystem):
    """The command line, a process a container; without a daemon each one is the engine's owner or finds one who is."""

    def __init__(self, name: str, place: Place, *, in_flight: int, daemon: Daemon | None = None) -> None:
        program = [build.PROGRAM, place.text()] if place.captures else ["/bin/true"]
        self._daemon = daemon
        self._home = daemon.folder if daemon else place.folder / f"ardock-cli-{in_flight}"
        argv = [
            ARDOCK, "--root", str(self._home / "root"), "--run-dir", str(self._home / "run"), "run", "--rm", "--rootfs", str(place.rootfs),
            "--scratch", place.scratch, "--memory", str(MEMORY), "--cpus", str(CPUS), "--pids-limit", str(PIDS), *program,
        ]  # fmt: skip
        super().__init__(name, place, argv, in_flight=in_flight)

    def start(self) -> None:
        """Try it once."""
        if self._daemon:
            self._daemon.start()
        else:
            self._home.mkdir()
        super().start()

    def stop(self) -> None:
        """End the daemon."""
        if self._daemon:
            self._daemon.stop()


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
