"""What loads a daemon with events: a source of real ones, and the processes that subscribe to them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from ardock.client.blocking import Call, Client
from ardock.model.spec import ContainerSpec
from ardock.protocol.methods import CREATE, CURSOR, KILL, START, Create, Kill, NoParams, Nothing, Ref
from bench import build
from bench.measure import quantile
from bench.systems import BrokenError

PROCESSES = 4
"""That the subscribers share: one alone could not take what the daemon gives."""
TICK_S = 0.005
UNDER_WAY = 64
"""Signals that are sent and not answered: enough that the daemon never waits for them."""


class Group:
    """The subscribers, in processes of their own."""

    def __init__(self, socket: str, count: int, since: str = "") -> None:
        """Start them and wait until each is accepted."""
        script = str(Path(__file__).with_name("subscribers.py"))
        shares = [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, script, socket, str(share), since],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for share in shares
            if share
        ]
        for process in self._processes:
            if (line := self._line(process)) != "ready":
                self.end()
                raise BrokenError(f"subscribers: {json.loads(line)['error']}")

    def until(self, seq: int) -> dict[str, float]:
        """Wait until all have seen the event of this number; what came since the last time."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{seq}\n")
            process.stdin.flush()
        answers = [json.loads(self._line(process)) for process in self._processes]
        for answer in answers:
            if "error" in answer:
                raise BrokenError(f"subscribers: {answer['error']}")
        late = sorted(ms for answer in answers for ms in answer["late_ms"])
        found: dict[str, float] = {
            name: sum(a[name] for a in answers) for name in ("events", "lost", "doubled", "cpu_s")
        }
        found["wall_s"] = max(answer["wall_s"] for answer in answers)
        if late:
            found |= {"p50_ms": quantile(late, 0.5), "p99_ms": quantile(late, 0.99)}
        if found["lost"] or found["doubled"]:
            raise BrokenError(f"{found['lost']:.0f} events were lost and {found['doubled']:.0f} came twice")
        return found

    def end(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=30)
            assert process.stdout
            process.stdout.close()

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise BrokenError(f"a process of subscribers ended with {process.wait()}")
        return line.strip()


class Source:
    """Makes events: a container is sent a signal that it ignores, and each time is an event of the journal."""

    def __init__(self, client: Client, rootfs: Path) -> None:
        """Start it."""
        self._client = client
        self._calls: list[Call[Nothing]] = []
        spec = ContainerSpec(argv=(build.PROGRAM, "-"), rootfs=str(rootfs), scratch="memory", log="none")
        self.id = client.call(CREATE, Create(spec=spec)).id
        client.call(START, Ref(ref=self.id))

    def send(self, count: int) -> int:
        """Make so many events as fast as it goes; the number of the last one."""
        sent = 0
        while sent < count:
            sent += self._begin(count - sent)
            self._client.pump()
        return self._last()

    def pace(self, per_s: int, seconds: float) -> tuple[int, float]:
        """Make so many events a second; the number of the last one, and how many a second it really were."""
        began = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - began) < seconds:
            sent += self._begin(int(per_s * passed) - sent)
            self._client.pump(TICK_S)
        rate = sent / (time.perf_counter() - began)
        return self._last(), rate

    def _begin(self, count: int) -> int:
        count = max(0, min(count, UNDER_WAY - len(self._client.calls)))
        params = Kill(ref=self.id, signal="SIGWINCH")
        self._calls += [self._client.begin(KILL, params) for _ in range(count)]
        return count

    def _last(self) -> int:
        calls, self._calls = self._calls, []
        for call in calls:
            self._client.wait_for(call)  # which raises what went wrong
        return self._client.call(CURSOR, NoParams()).seq
