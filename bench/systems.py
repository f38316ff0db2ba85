"""What every benched system offers to the harness, and the kinds of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

from bench.measure import Slice

Scratch = Literal["memory", "disk"]
Medium = Literal["memory", "disk", "journal"]
"""What a set's folder lies on: a tmpfs, this machine's disk, or an ext4 with a journal."""

MEMORY = 64 << 20
CPUS = 1
PIDS = 128
"""The limits of every container, of the kinds that a system knows."""

TEXT_LENGTH = 100


class UnusableError(Exception):
    """A system cannot run here; the message says why. It is left out, visibly."""


class BrokenError(Exception):
    """A system was usable and then gave a wrong result: the bench fails."""


class System(Protocol):
    """One line of the table."""

    @property
    def name(self) -> str:
        """Name in the results."""

    @property
    def in_flight(self) -> int:
        """Containers at once."""

    def start(self) -> None:
        """Get ready, off the clock; raise `UnusableError` where that cannot be."""

    def run(self, n: int) -> Slice:
        """Start `n` containers and collect the exit of each."""

    def stop(self) -> None:
        """Remove everything that `start` made. Called after a failed `start` too."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the systems of one set work."""

    medium: Medium
    captures: bool
    folder: Path
    """On what `medium` says."""
    rootfs: Path

    @property
    def scratch(self) -> Scratch:
        """Where a container's writes go."""
        return "memory" if self.medium == "memory" else "disk"

    def to_json(self) -> dict[str, object]:
        """Return what a worker needs to make it again."""
        return {
            "medium": self.medium,
            "captures": self.captures,
            "folder": str(self.folder),
            "rootfs": str(self.rootfs),
        }

    @classmethod
    def from_json(cls, record: dict[str, object]) -> Place:
        """Make it from what a worker was given."""
        medium = next(one for one in get_args(Medium) if one == record["medium"])
        return cls(medium, bool(record["captures"]), Path(str(record["folder"])), Path(str(record["rootfs"])))

    def text(self, number: str = "{i}") -> str:
        """Return the 100 bytes that container `number` prints: distinct, so that a mix-up shows."""
        head = f"container {number} "
        # `{i}` grows when it is replaced by a number of up to nine digits, padded to exactly nine.
        width = len(head) - len(number) + 9
        return head + "." * (TEXT_LENGTH - width)


class CommandSystem:
    """A command line that runs one container, many times."""

    def __init__(
        self, name: str, place: Place, argv: list[str], *, in_flight: int, prefix: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.in_flight = in_flight
        self._place = place
        self._argv = argv
        self._prefix = prefix
        self._done = 100_000_000  # nine digits throughout

    def start(self) -> None:
        """Run it once and show what it says if that fails."""
        words = [word.replace("{i}", str(self._next(1))) for word in self._argv]
        try:
            done = subprocess.run([*self._prefix, *words], capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError as error:
            raise UnusableError(f"not installed: {error.filename}") from error
        if done.returncode:
            raise UnusableError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")

    def run(self, n: int) -> Slice:
        """Start `n` of them through a spawner of their own."""
        request: dict[str, object] = {"argv": self._argv, "n": n, "in_flight": self.in_flight, "first": self._next(n)}
        if self._place.captures:
            request["expect"] = self.expected()
        spawner = Path(__file__).with_name("spawner.py")
        done = subprocess.run(
            [*self._prefix, sys.executable, "-S", "-E", str(spawner)],
            input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        if answer["errors"]:
            raise BrokenError(f"{self.name}: {'; '.join(answer['errors'])}")
        return Slice.of(answer["wall_s"], answer["latencies_ms"])

    def stop(self) -> None:
        """Leave nothing: each command removes what it made."""

    def expected(self) -> str:
        """Return what each container prints, `{i}` standing for its number."""
        return self._place.text()

    def _next(self, n: int) -> int:
        first = self._done
        self._done += n
        return first


class Worker:
    """A process that serves slices: a JSON object a line in, one a line out."""

    def __init__(self, argv: list[str], name: str) -> None:
        self._name = name
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def ask(self, **request: object) -> dict[str, float]:
        """Send one request and wait for its answer."""
        self.send(**request)
        return cast("dict[str, float]", self.answer())

    def send(self, **request: object) -> None:
        """Send one request."""
        assert self._process.stdin is not None
        # Where it is gone, the answer is missing.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, object]:
        """Wait for the answer to the request before."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenError(f"{self._name}: its process ended with {self._process.wait()}")
        answer: dict[str, object] = json.loads(line)
        if "unusable" in answer:
            raise UnusableError(str(answer["unusable"]))
        if "error" in answer:
            raise BrokenError(f"{self._name}: {answer['error']}")
        return answer

    def end(self) -> None:
        """Close its input, which ends it, and wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
