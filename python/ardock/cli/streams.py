"""Our own standard streams, read and written without ever waiting in them.

Descriptors 0 to 2 are shared with the shell and with the other programs of a pipeline, so they may not be made
non-blocking: the next `cat` would fail with EAGAIN. A pipe or a terminal is therefore opened a second time through
/proc/self/fd, which gives a file description (and flags) of our own; a socket has MSG_DONTWAIT; a regular file never
makes anybody wait for a reader, and cannot be waited for.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final, Protocol

CHUNK: Final = 65536  # A pipe's capacity, by default.

# POSIX: a pipe that poll(2) calls writable takes this many bytes without making the writer wait.
_PIPE_BUF: Final = select.PIPE_BUF

# A reader's right and no failure: a closed pipe or socket, a terminal that is gone.
_NOBODY_READS: Final = frozenset({errno.EPIPE, errno.EIO, errno.ECONNRESET})


class SinkClosed(Exception):  # noqa: N818 - no error: `| head` has what it wanted
    """Nobody reads the stream any more."""


class _Writer(Protocol):
    def __call__(self, data: memoryview, /) -> int: ...


class Output:
    """One of our output streams, with the bytes that it has not taken yet.

    Attributes:
        descriptor: What to poll for POLLOUT while `waiting`.
        waiting: There are bytes, and the stream did not take them.
    """

    def __init__(self, number: int) -> None:
        self._pending: list[memoryview] = []
        self.waiting = False
        self.descriptor, self._write, self._close = _writer(number)

    def close(self) -> None:
        """Close what was opened. Not to be used afterwards."""
        self._close()

    def put(self, data: bytes) -> None:
        """Add bytes; `flush` writes them."""
        if data:
            self._pending.append(memoryview(data))

    @property
    def empty(self) -> bool:
        """Nothing is left to be written."""
        return not self._pending

    @property
    def size(self) -> int:
        """Bytes that are left to be written."""
        return sum(map(len, self._pending))

    def flush(self) -> None:
        """Write what the stream takes now.

        Raises:
            SinkClosed: Nobody reads it any more; what is left is dropped.
            OSError: It cannot be written, such as on a full disk.
        """
        self.waiting = False
        try:
            while self._pending:
                data = self._pending[0]
                count = self._write(data)
                if count == len(data):
                    del self._pending[0]
                else:
                    self._pending[0] = data[count:]
        except BlockingIOError:
            self.waiting = True
        except OSError as error:
            self._pending.clear()
            if error.errno in _NOBODY_READS:
                raise SinkClosed from None
            raise


def _writer(number: int) -> tuple[int, _Writer, Callable[[], None]]:
    """The descriptor to wait for, how to write to it, and how to close what was opened."""
    mode = os.fstat(number).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(number))
        return connection.fileno(), lambda data: connection.send(data, socket.MSG_DONTWAIT), connection.close
    if stat.S_ISFIFO(mode) or os.isatty(number):
        own = _reopened(number, os.O_WRONLY)
        if own >= 0:
            return own, lambda data: os.write(own, data), lambda: os.close(own)
        return number, lambda data: _write_patiently(number, data), lambda: None
    return number, lambda data: os.write(number, data), lambda: None


def _write_patiently(number: int, data: memoryview) -> int:
    """Write so little that nobody waits (see _PIPE_BUF)."""
    poller = select.poll()
    poller.register(number, select.POLLOUT)
    if not poller.poll(0):
        raise BlockingIOError
    return os.write(number, data[:_PIPE_BUF])


def _reopened(number: int, flags: int) -> int:
    """The file behind a descriptor with a description of our own that is non-blocking; -1 where that is refused."""
    try:
        return os.open(f"/proc/self/fd/{number}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1  # No /proc, or a pipe of another user's.


class Input:
    """Standard input.

    Attributes:
        descriptor: What to poll for POLLIN.
        ended: It is at its end.
    """

    def __init__(self, number: int = 0) -> None:
        mode = os.fstat(number).st_mode
        own = _reopened(number, os.O_RDONLY) if stat.S_ISFIFO(mode) or os.isatty(number) else -1
        self._owned = own >= 0
        self.descriptor = own if self._owned else number
        self.ended = False

    def close(self) -> None:
        """Close what was opened."""
        if self._owned:
            os.close(self.descriptor)
            self._owned = False

    def read(self, most: int) -> bytes:
        """What is there, `most` bytes at most; empty where there is nothing after all, or at the end (see `ended`).

        Raises:
            OSError: It cannot be read, such as a directory.
        """
        try:
            data = os.read(self.descriptor, min(most, CHUNK))
        except BlockingIOError:
            return b""  # Somebody who shares it was faster.
        except OSError as error:
            # EIO: our terminal is gone, or we are in the background of a shell that is no more.
            if error.errno not in {errno.EIO, errno.ECONNRESET}:
                raise
            data = b""
        self.ended = not data
        return data


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however slowly the other side reads.

    Raises:
        SinkClosed: Nobody reads it any more.
        OSError: It cannot be written.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # A program before us left it so.
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            poller.poll()
        except OSError as error:
            if error.errno in _NOBODY_READS:
                raise SinkClosed from None
            raise


def write_line(descriptor: int, text: str) -> None:
    """Write a line for a person to a descriptor that nobody may read any more."""
    try:
        write_all(descriptor, text.encode("utf-8", "surrogateescape"))
    except SinkClosed:
        return
