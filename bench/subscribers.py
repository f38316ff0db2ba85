"""Subscribers of a daemon's events, many in one process: what comes is counted and checked, and credit given back.

Started by `bench/events.py` with a socket, a number of subscribers and a cursor to begin at (or nothing: from now on). Prints a
line when all of them are accepted. Then, for each number that it reads from standard input, it prints one JSON object when
every subscriber has seen the event of that number: what came since the last time, and how late (each process's first
subscriber looks at the clock). Ends when its input does.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import msgspec

from ardock.client.find import address
from ardock.model.events import Cursor
from ardock.protocol.methods import SUBSCRIBE, Subscribe
from ardock.protocol.session import ClientSession, Failed, Items, Reply

_READ = 256 << 10


class _Item(msgspec.Struct):
    """As much of an event, gap or heartbeat as is looked at."""

    kind: str
    seq: int
    time: int = 0


class Subscriber:
    """One connection with one subscription."""

    def __init__(self, path: str, since: Cursor | None) -> None:
        """Connect and ask."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with address(path) as name:
            self.socket.connect(name)
        self._session = ClientSession()
        params = Subscribe(since=since, heartbeat=60.0)
        self._call = self._session.request(SUBSCRIBE.name, msgspec.msgpack.encode(params))
        self.socket.sendall(self._session.outgoing())
        self._decode = msgspec.msgpack.Decoder(_Item).decode
        self.accepted = False
        self.seq: int | None = since.seq if since else None
        self.events = 0
        self.lost = 0
        self.doubled = 0
        self.late_ms: list[float] | None = None

    def read(self) -> None:
        """Take what is there.

        Raises:
            RuntimeError: The subscription has ended.
        """
        for message in self._session.feed(self.socket.recv(_READ) or self._ended("its connection was closed")):
            if isinstance(message, Items):
                self.accepted = True
                size = 0
                for raw in message.items:
                    size += len(raw)
                    self._see(self._decode(raw))
                if self._session.consumed(self._call, size):
                    self.socket.sendall(self._session.outgoing())
            elif isinstance(message, Failed | Reply):
                self._ended(str(message.error))

    def _see(self, item: _Item) -> None:
        if item.kind == "heartbeat":
            return
        if item.kind == "gap":
            self._ended("a gap: the journal's retention is too small for this bench")
        if self.seq is not None:
            self.lost += max(0, item.seq - self.seq - 1)
            self.doubled += item.seq <= self.seq
        self.seq = item.seq
        self.events += 1
        if self.late_ms is not None:
            self.late_ms.append((time.time_ns() - item.time) / 1e6)

    def _ended(self, why: str) -> bytes:
        raise RuntimeError(f"a subscription has ended: {why}")


class Subscribers:
    """All of this process."""

    def __init__(self, path: str, count: int, since: Cursor | None) -> None:
        """Subscribe them all."""
        self._began = time.perf_counter()
        self._selector = selectors.DefaultSelector()
        self._all = [Subscriber(path, since) for _ in range(count)]
        for subscriber in self._all:
            self._selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)
        self._all[0].late_ms = []
        self._commands = b""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._input_ended = False

    def until_accepted(self) -> None:
        """Read until each has been let in."""
        while not all(subscriber.accepted for subscriber in self._all):
            self._turn()

    def serve(self) -> None:
        """Answer the numbers of standard input."""
        while True:
            while b"\n" not in self._commands:
                if self._input_ended:
                    return
                self._turn()
            line, self._commands = self._commands.split(b"\n", 1)
            target = int(line)
            while not all((subscriber.seq or 0) >= target for subscriber in self._all):
                self._turn()
            print(json.dumps(self._sum_up()), flush=True)

    def _turn(self) -> None:
        for key, _ in self._selector.select():
            if isinstance(key.data, Subscriber):
                key.data.read()
                continue
            words = os.read(key.fd, 4096)
            self._commands += words
            if not words:
                self._input_ended = True
                self._selector.unregister(key.fileobj)

    def _sum_up(self) -> dict[str, object]:
        late = self._all[0].late_ms
        found: dict[str, object] = {
            "events": sum(subscriber.events for subscriber in self._all),
            "lost": sum(subscriber.lost for subscriber in self._all),
            "doubled": sum(subscriber.doubled for subscriber in self._all),
            "late_ms": late,
            "wall_s": time.perf_counter() - self._began,
            "cpu_s": time.process_time(),
        }
        for subscriber in self._all:
            subscriber.events = subscriber.lost = subscriber.doubled = 0
        self._all[0].late_ms = []
        self._began = time.perf_counter()
        return found


def main() -> int:
    """Subscribe and serve."""
    path, count, since = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""
    try:
        subscribers = Subscribers(path, count, Cursor.parse(since))
        subscribers.until_accepted()
        print("ready", flush=True)
        subscribers.serve()
    except (OSError, RuntimeError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
