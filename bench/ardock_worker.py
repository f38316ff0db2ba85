"""Runs containers through ardock's Python interface, as a program that embeds it would, or one that uses a daemon.

Started by the bench with a folder for the engine, and with `connect` where a
daemon has that. Reads a JSON object a line, answers with one a line; ends when
its input does.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import trio

import ardock
from bench import build, density
from bench.measure import Slice
from bench.systems import CPUS, MEMORY, PIDS, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Request(TypedDict):
    """What the harness asks."""

    way: str
    n: int
    in_flight: int
    single: NotRequired[bool]
    """Answer with every latency: the harness puts several workers' together."""


class WrongError(Exception):
    """A container did not do what it should."""


@dataclass
class Job:
    """One slice: what is asked, and what has been seen."""

    n: int
    in_flight: int
    place: Place
    started: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)

    @property
    def max_output(self) -> int:
        """Where nothing is to be captured, nothing is asked for."""
        return 1 << 20 if self.place.captures else 0

    def specs(self) -> Iterator[ardock.ContainerSpec]:
        """Yield the specs and note when each is asked for."""
        for number in range(self.n):
            text = self.place.text(f"{number:09}") if self.place.captures else ""
            self.texts.append(text.encode())
            self.started.append(time.perf_counter())
            yield ardock.ContainerSpec(
                argv=(build.PROGRAM, text) if text else ("/bin/true",),
                rootfs=str(self.place.rootfs), scratch=self.place.scratch,
                memory=MEMORY, cpus=CPUS, pids_limit=PIDS,
            )  # fmt: skip

    def collect(self, number: int, result: ardock.RunResult) -> None:
        """Check one result and note its latency."""
        self.latencies_ms.append((time.perf_counter() - self.started[number]) * 1000)
        if result.error:
            raise result.error
        if result.exit_code != 0 or result.stdout != self.texts[number] or result.truncated:
            raise WrongError(f"container {number}: exit code {result.exit_code}, stdout {result.stdout!r}")


async def run_many(engine: ardock.Engine, job: Job) -> None:
    """All by one call."""
    async for result in engine.containers.run_many(job.specs(), max_output=job.max_output):
        job.collect(result.index, result)


async def run(engine: ardock.Engine, job: Job) -> None:
    """A call each, `in_flight` of them at a time."""
    waiting = enumerate(job.specs())

    async def caller() -> None:
        for number, spec in waiting:
            job.collect(number, await engine.containers.run(spec, max_output=job.max_output))

    async with trio.open_nursery() as nursery:
        for _ in range(job.in_flight):
            nursery.start_soon(caller)


async def measure(engine: ardock.Engine, place: Place, request: Request) -> dict[str, object]:
    """Run one slice."""
    job = Job(n=request["n"], in_flight=request["in_flight"], place=place)
    began = time.perf_counter()
    if request["way"] == "run_many":
        await run_many(engine, job)
    else:
        await run(engine, job)
    wall = time.perf_counter() - began
    if len(job.latencies_ms) != job.n:
        raise WrongError(f"{len(job.latencies_ms)} results of {job.n}")
    if request.get("single"):
        return {"latencies_ms": job.latencies_ms}
    return asdict(Slice.of(wall, job.latencies_ms))


async def hold(engine: ardock.Engine, place: Place, count: int, others: set[int]) -> dict[str, float]:
    """Start containers that stay, and weigh them."""
    stay = ardock.ContainerSpec(
        argv=(build.PROGRAM, "-"), rootfs=str(place.rootfs), scratch=place.scratch, memory=MEMORY, cpus=CPUS,
        pids_limit=PIDS,
    )  # fmt: skip
    before = density.weigh(density.ours(others))
    async with trio.open_nursery() as nursery:
        ready = trio.Semaphore(0)
        done = trio.Event()
        limit = trio.CapacityLimiter(16)

        async def keep() -> None:
            async with limit:
                container = await engine.containers.spawn(stay)
            async with container:
                ready.release()
                await done.wait()

        for _ in range(count):
            nursery.start_soon(keep)
        for _ in range(count):
            await ready.acquire()
        after = density.weigh(density.ours(others))
        done.set()
    return density.difference(before, after, count)


async def requests() -> AsyncIterator[Request]:
    """Yield the requests of standard input."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        yield json.loads(line)


async def answer(engine: ardock.Engine, place: Place, request: Request, others: set[int]) -> dict[str, object]:
    """Do what a request asks; what goes wrong is the answer."""
    try:
        if request["way"] == "hold":
            return {**await hold(engine, place, request["n"], others)}
        return await measure(engine, place, request)
    except (ardock.ArdockError, WrongError) as error:
        return {"error": str(error)}
    except ExceptionGroup as group:
        return {"error": "; ".join(str(error) for error in group.exceptions)}


async def main() -> None:
    """Serve until standard input ends."""
    place = Place.from_json(json.loads(sys.argv[1]))
    others = density.keepers()
    try:
        opened = ardock.connect if sys.argv[2:] == ["connect"] else ardock.open_engine
        async with opened(root=place.folder / "root", run_dir=place.folder / "run") as engine:
            async for request in requests():
                print(json.dumps(await answer(engine, place, request, others)), flush=True)
    except ardock.ArdockError as error:
        print(json.dumps({"unusable": str(error)}), flush=True)


if __name__ == "__main__":
    trio.run(main)
