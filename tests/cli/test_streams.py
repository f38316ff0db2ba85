"""Our standard streams: exact, never waited for, and their flags left alone."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ardock.cli import streams
from ardock.cli.streams import Input, Output, SinkClosed, write_all, write_line


@contextmanager
def closing(*descriptors: int) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def kinds() -> Iterator[tuple[str, int, int]]:
    """Name, our end, the other end."""
    out, into = os.pipe()
    yield "pipe", into, out
    ours, theirs = socket.socketpair()
    yield "socket", ours.detach(), theirs.detach()
    outer, inner = pty.openpty()
    tty.setraw(inner, termios.TCSANOW)
    yield "terminal", inner, outer


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_a_reader_that_stops_makes_nobody_wait_and_loses_nothing(kind: str) -> None:
    for name, ours, theirs in kinds():
        with closing(ours, theirs):
            if name != kind:
                continue
            before = fcntl.fcntl(ours, fcntl.F_GETFL)
            output = Output(ours)
            data = os.urandom(1_000_000)
            output.put(data)
            output.flush()
            assert output.waiting
            assert output.size > 0
            assert fcntl.fcntl(ours, fcntl.F_GETFL) == before, "others share the descriptor"
            received = b""
            poller = select.poll()
            poller.register(output.descriptor, select.POLLOUT)
            while len(received) < len(data):
                received += os.read(theirs, 65536)
                if poller.poll(0):
                    output.flush()
            assert received == data
            output.flush()
            assert output.size == 0
            output.close()


def test_a_pipe_that_may_not_be_opened_again_makes_nobody_wait_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_reopened", lambda number, flags: -1)
    out, into = os.pipe()
    with closing(out, into):
        output = Output(into)
        data = os.urandom(200_000)
        output.put(data)
        received = b""
        while len(received) < len(data):
            output.flush()
            received += os.read(out, 65536)
        assert received == data
        output.close()


def test_a_reader_that_has_left_is_told_apart_from_a_disk_that_is_full() -> None:
    out, into = os.pipe()
    with closing(into):
        output = Output(into)
        os.close(out)
        output.put(b"x")
        with pytest.raises(SinkClosed):
            output.flush()
        assert output.empty
        output.close()
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno())
        output.put(b"x")
        with pytest.raises(OSError, match="No space left"):
            output.flush()
        output.close()
        with pytest.raises(OSError, match="No space left"):
            write_all(full.fileno(), b"x")


def test_a_file_is_written_where_its_shared_offset_is(tmp_path: Path) -> None:
    """Opened again it would have an offset of its own, and `(a; b) > file` would lose what a wrote."""
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        output = Output(file.fileno())
        output.put(b"ours ")
        output.flush()
        output.close()
        file.write(b"after")
    assert path.read_bytes() == b"before ours after"


def test_input_of_every_kind_is_read_to_its_end() -> None:
    for name, ours, theirs in kinds():
        with closing(ours, theirs):
            # Of a pipe, the end to be read is the other one.
            source, sink = (theirs, ours) if name == "pipe" else (ours, theirs)
            given = Input(source)
            reached = []
            before = fcntl.fcntl(source, fcntl.F_GETFL)
            os.write(sink, b"some words")
            assert given.read(4) == b"some"
            assert given.read(100) == b" words"
            reached.append(given.ended)
            assert fcntl.fcntl(source, fcntl.F_GETFL) == before
            os.close(sink)
            assert given.read(100) == b""
            reached.append(given.ended)
            assert reached == [False, True], name
            given.close()


def test_input_that_another_process_took_is_no_end() -> None:
    out, into = os.pipe()
    with closing(out, into):
        given = Input(out)
        assert given.read(100) == b""
        assert not given.ended
        given.close()


def test_a_directory_is_no_input(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with closing(folder):
        with pytest.raises(IsADirectoryError):
            Input(folder).read(100)


def test_a_line_for_a_person_who_has_left_is_no_error() -> None:
    out, into = os.pipe()
    with closing(into):
        os.close(out)
        write_line(into, "hello\n")


def test_all_is_written_to_a_descriptor_that_somebody_made_non_blocking() -> None:
    out, into = os.pipe()
    with closing(out, into):
        os.set_blocking(into, False)
        data = os.urandom(300_000)
        pid = os.fork()
        if pid == 0:
            os.close(out)
            write_all(into, data)
            os._exit(0)
        os.close(into)
        with open(out, "rb", closefd=False) as reader:
            assert reader.read() == data
        assert os.waitpid(pid, 0)[1] == 0
