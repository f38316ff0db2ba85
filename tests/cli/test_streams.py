"""Copying descriptor to descriptor: exact, patient, and ended from either side."""

from __future__ import annotations

import os
import pty
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from ardock.cli.streams import Ended, copy


class Copying:
    """A copy in a thread."""

    def __init__(self, source: int, sink: int, *, drain: bool) -> None:
        self.waken, self.wake = os.pipe()
        self.ended: Ended | None = None
        self._thread = threading.Thread(target=self._run, args=(source, sink, drain), daemon=True)
        self._thread.start()

    def _run(self, source: int, sink: int, drain: bool) -> None:
        self.ended = copy(source, sink, self.waken, drain=drain)

    def awaken(self) -> None:
        os.close(self.wake)
        self.wake = -1

    def join(self) -> Ended | None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        if self.wake >= 0:
            os.close(self.wake)
        os.close(self.waken)
        return self.ended


@contextmanager
def pipes(count: int) -> Iterator[list[tuple[int, int]]]:
    made = [os.pipe() for _ in range(count)]
    yield made
    for pair in made:
        for descriptor in pair:
            with suppress(OSError):
                os.close(descriptor)


@pytest.mark.parametrize("blocking", [True, False])
def test_bytes_arrive_exactly(blocking: bool) -> None:
    data = os.urandom(3_000_000)
    with pipes(2) as ((source, into), (out, sink)):
        for descriptor in (source, sink):
            os.set_blocking(descriptor, blocking)
        copying = Copying(source, sink, drain=False)
        writer = threading.Thread(target=_write, args=(into, data))
        writer.start()
        received = b""
        while len(received) < len(data):
            received += os.read(out, 1000 if len(received) < 10_000 else 1 << 20)
        writer.join()
        assert received == data
        assert copying.join() is Ended.SOURCE


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.close(descriptor)


def test_a_closed_sink_ends_it_without_an_error() -> None:
    with pipes(2) as ((source, into), (out, sink)):
        copying = Copying(source, sink, drain=True)
        os.close(out)
        os.write(into, b"x")
        assert copying.join() is Ended.SINK


def test_an_input_that_is_silent_can_be_ended() -> None:
    with pipes(2) as ((source, _), (_, sink)):
        copying = Copying(source, sink, drain=False)
        time.sleep(0.05)
        copying.awaken()
        assert copying.join() is Ended.WOKEN


def test_an_input_whose_sink_is_full_can_be_ended() -> None:
    """The container reads nothing and has ended; the keeper still holds its pipe."""
    with pipes(2) as ((source, into), (_, sink)):
        os.set_blocking(sink, False)
        copying = Copying(source, sink, drain=False)
        for _ in range(2):
            os.write(into, bytes(60_000))
            time.sleep(0.05)
        copying.awaken()
        assert copying.join() is Ended.WOKEN


def test_output_that_was_written_before_the_wake_is_copied_though_the_pipe_stays_open() -> None:
    with pipes(2) as ((source, into), (out, sink)):
        os.write(into, b"a" * 60_000)
        copying = Copying(source, sink, drain=True)
        copying.awaken()
        assert copying.join() is Ended.WOKEN
        assert os.read(out, 1 << 20) == b"a" * 60_000


def test_a_terminal_whose_other_side_is_closed_is_at_its_end() -> None:
    outer, inner = pty.openpty()
    with pipes(1) as ((out, sink),):
        os.write(inner, b"last words")
        os.close(inner)
        copying = Copying(outer, sink, drain=True)
        assert copying.join() is Ended.SOURCE
        assert os.read(out, 100) == b"last words"
    os.close(outer)


def test_sockets_and_files_are_streams_too(tmp_path: object) -> None:
    ours, theirs = socket.socketpair()
    with pipes(1) as ((out, sink),), ours, theirs:
        copying = Copying(ours.fileno(), sink, drain=False)
        theirs.sendall(b"from a socket")
        theirs.shutdown(socket.SHUT_WR)
        assert copying.join() is Ended.SOURCE
        assert os.read(out, 100) == b"from a socket"
        with open(__file__, "rb") as file:
            copying = Copying(file.fileno(), sink, drain=False)
            assert copying.join() is Ended.SOURCE
            file.seek(0)
            assert os.read(out, 1 << 20) == file.read()
