#!/usr/bin/env python3
"""Measures a daemon's events: how many subscribers get how many, how late, and what a stopped reader does to the others.

The events are real: a container is sent a signal that it ignores, over and over, and each is an event of the journal. 100
subscribers in a few processes check that none is missing and none comes twice. What is measured:

paced       so many events a second, and what the daemon takes for it: processor and memory
stopped     as fast as it goes, with and without a subscriber that has stopped reading, in turns
replay      all subscribers read the whole journal from its beginning at once
ps          a list of 5,000 containers through the API and by the command line
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import trio

import ardock
from ardock.client.blocking import Call, Client
from ardock.client.find import find_socket
from ardock.model.errors import ArdockError
from ardock.model.spec import ContainerSpec
from ardock.protocol.methods import (
    CREATE,
    CURSOR,
    REMOVE,
    SUBSCRIBE,
    Create,
    Method,
    NoParams,
    Params,
    Remove,
    Subscribe,
)
from bench import build, launch, peers
from bench.daemon import ARDOCK, Daemon
from bench.event_load import UNDER_WAY, Group, Source
from bench.systems import BrokenError, UnusableError

if TYPE_CHECKING:
    from collections.abc import Sequence

ResultT = TypeVar("ResultT")
PARTS = ("paced", "stopped", "replay", "ps")


def paced(daemon: Daemon, source: Source, group: Group, per_s: int, seconds: float) -> dict[str, float]:
    """Measure a steady rate."""
    before = group.until(source.pace(per_s, seconds / 4)[0])
    memory, cpu, began = daemon.rss_kib(), daemon.cpu_s(), time.perf_counter()
    last, rate = source.pace(per_s, seconds)
    found = group.until(last)
    wall = time.perf_counter() - began
    return {
        "events_per_s": rate,
        "deliveries_per_s": found["events"] / wall,
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "daemon_cpu": (daemon.cpu_s() - cpu) / wall,
        "subscribers_cpu": (found["cpu_s"] - before["cpu_s"]) / wall,
        "daemon_rss_kib": daemon.rss_kib(),
        "daemon_grew_kib": daemon.rss_kib() - memory,
    }


def stopped(daemon: Daemon, source: Source, group: Group, socket: str, options: argparse.Namespace) -> dict[str, float]:
    """Compare throughput with and without a reader that has stopped, in turns."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    memory: list[float] = []
    # The first two are not counted; there and back, so that neither always comes second.
    for number in range(-2, 2 * options.rounds):
        with_stopped = number % 4 in {1, 2}
        with ExitStack() as stack:
            if with_stopped:
                stack.enter_context(_stopped_reader(socket))
            began = time.perf_counter()
            found = group.until(source.send(options.count))
            if number >= 0:
                rates[with_stopped].append(found["events"] / (time.perf_counter() - began))
            memory.append(daemon.rss_kib())
    # Neighbours in time are compared: what else the machine does meets both.
    slowed = median(alone / beside for alone, beside in zip(rates[False], rates[True], strict=True))
    return {
        "deliveries_per_s": median(rates[False]),
        "deliveries_per_s_beside_a_stopped_reader": median(rates[True]),
        "slowed_percent": (slowed - 1) * 100,
        "daemon_rss_kib": median(memory[-options.rounds :]),
        # It goes up and down with what the allocator keeps: half of the rounds against the other half.
        "daemon_grew_kib": median(memory[-options.rounds :]) - median(memory[: options.rounds + 2]),
    }


def _stopped_reader(socket: str) -> Client:
    """A client that subscribes and then reads nothing any more."""
    client = Client.connect(socket)
    client.greet()
    client.begin(SUBSCRIBE, Subscribe())
    return client


def replay(socket: str, client: Client, count: int) -> dict[str, float]:
    """Let all subscribers read the journal from its beginning."""
    end = client.call(CURSOR, NoParams())
    group = Group(socket, count, f"{end.epoch}:0")
    try:
        found = group.until(end.seq)
    finally:
        group.end()
    return {"events": end.seq, "deliveries_per_s": found["events"] / found["wall_s"]}


def ps(daemon: Daemon, client: Client, rootfs: Path, count: int) -> dict[str, float]:
    """List many containers, through `ardock.connect` and by the command."""
    spec = ContainerSpec(argv=("/bin/true",), rootfs=str(rootfs))
    began = time.perf_counter()
    made = in_turn(client, CREATE, [Create(spec=spec) for _ in range(count)])
    per_s = count / (time.perf_counter() - began)
    through_api = trio.run(_list, daemon, count)
    command = [ARDOCK, *daemon.options, "ps", "--all"]
    by_command = []
    for _ in range(5):
        began = time.perf_counter()
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        by_command.append((time.perf_counter() - began) * 1000)
        if len(said.splitlines()) <= count:
            raise BrokenError(f"ps: {len(said.splitlines())} lines for {count} containers")
    began = time.perf_counter()
    in_turn(client, REMOVE, [Remove(ref=one.id) for one in made])
    removed_per_s = count / (time.perf_counter() - began)
    return {
        "containers": count,
        "created_per_s": per_s,
        "removed_per_s": removed_per_s,
        "api_p50_ms": median(through_api),
        "command_p50_ms": median(by_command),
    }


async def _list(daemon: Daemon, count: int) -> list[float]:
    found = []
    async with ardock.connect(root=daemon.root, run_dir=daemon.run_dir) as engine:
        for _ in range(20):
            began = time.perf_counter()
            listing = await engine.containers.list(all=True)
            found.append((time.perf_counter() - began) * 1000)
            if len(listing.containers) < count:
                raise BrokenError(f"list: {len(listing.containers)} of {count}")
    return found


def in_turn(client: Client, method: Method[ResultT], params: Sequence[Params]) -> list[ResultT]:
    """Make many calls, a bounded number of them under way."""
    calls: list[Call[ResultT]] = []
    for one in params:
        while len(client.calls) >= UNDER_WAY:
            client.pump()
        calls.append(client.begin(method, one))
    return [client.wait_for(call) for call in calls]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Start a daemon and measure what was asked for."""
    rootfs = build.rootfs(folder / "rootfs")
    daemon = Daemon(folder / "daemon")
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        socket = find_socket(root=str(daemon.root), run_dir=str(daemon.run_dir))
        client = stack.enter_context(Client.connect(socket))
        client.greet()
        if {"paced", "stopped", "replay"} & set(options.parts):
            source = Source(client, rootfs)
            stack.callback(lambda: client.call(REMOVE, Remove(ref=source.id, force=True)))
            group = Group(socket, options.subscribers)
            try:
                # Before any figure: what is allocated once, and the part of the journal that is in memory, which is bounded.
                group.until(source.send(options.warm))
                if "paced" in options.parts:
                    note(f"{options.subscribers} subscribers, {options.rate:,} events/s")
                    found["paced"] = paced(daemon, source, group, options.rate, options.seconds)
                if "stopped" in options.parts:
                    note("a reader that has stopped, and none, in turns")
                    found["stopped"] = stopped(daemon, source, group, socket, options)
            finally:
                group.end()
            if "replay" in options.parts:
                note("the whole journal again")
                found["replay"] = replay(socket, client, options.subscribers)
        if "ps" in options.parts:
            note(f"{options.containers:,} containers")
            found["ps"] = ps(daemon, client, rootfs, options.containers)
    return found


def note(text: str) -> None:
    """Say what goes on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the figures for a terminal."""
    lines = [launch.machine()]
    for part, figures in found.items():
        lines.append(f"\n{part}")
        lines += [f"  {name:<44}{value:>14,.1f}" for name, value in figures.items()]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quick", action="store_true", help="few of everything: shows that all works, no figures")
    parser.add_argument("--subscribers", type=int, help="default 100")
    parser.add_argument("--rate", type=int, help="events a second, default 2,000")
    parser.add_argument("--seconds", type=float, help="of the steady rate, default 10")
    parser.add_argument("--warm", type=int, help="events before all figures, default 30,000")
    parser.add_argument("--count", type=int, help="events of a round with a stopped reader or without, default 10,000")
    parser.add_argument("--rounds", type=int, help="of either, default 10")
    parser.add_argument("--containers", type=int, help="to be listed, default 5,000")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"out of {','.join(PARTS)}")
    options = parser.parse_args()
    whole = {
        "subscribers": 100, "rate": 2000, "seconds": 10.0, "warm": 30_000, "count": 10_000, "rounds": 10, "containers": 5000,
    }  # fmt: skip
    quick = {"subscribers": 10, "rate": 200, "seconds": 0.5, "warm": 200, "count": 200, "rounds": 1, "containers": 100}
    for name, value in (quick if options.quick else whole).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"--parts: not known: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Measure and report."""
    options = arguments()
    if os.geteuid() != 0:
        note("bench: containers need root")
        return 1
    # So that what was started is ended, too, when the bench is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # The journal goes where a daemon's goes: to the disk.
    folder = Path(tempfile.mkdtemp(prefix=f"{peers.GROUP}-", dir="/var/tmp"))
    try:
        found = measure(options, folder)
    except (BrokenError, UnusableError, build.BuildError, ArdockError) as error:
        note(f"bench: {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps({"machine": launch.machine(), "results": found}, indent=1))
    else:
        print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
