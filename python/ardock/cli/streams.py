"""Bytes between our own standard streams and the container's, exactly and at the reader's pace.

Each direction is one thread that copies descriptor to descriptor. Not an event
loop: descriptors 0 to 2 are shared with the shell and with the other programs
of a pipeline, so they may not be made non-blocking (the next `cat` would fail
with EAGAIN), and regular files cannot be waited for by epoll at all. A thread
costs nothing while it sleeps, and no hop between threads is paid for a chunk.
The container's ends may well be non-blocking; both kinds are handled.
"""

from __future__ import annotations

import enum
import errno
import os
import select

CHUNK = 65536  # A pipe's capacity, by default.


class Ended(enum.Enum):
    """Why a copy ended."""

    SOURCE = "the source is at its end"
    SINK = "nobody reads the sink any more"
    WOKEN = "it was asked to end"


def copy(source: int, sink: int, wake: int, *, drain: bool) -> Ended:
    """Copy until the source ends, the sink is closed, or `wake` becomes readable.

    Blocking; to be run in a thread.

    Args:
        source: Descriptor to read.
        sink: Descriptor to write.
        wake: Descriptor (a pipe whose write end the caller closes) that ends the copy.
        drain: When woken, first copy what the source still holds. What a program
            wrote before its exit is in the pipe (or terminal) when the exit is
            known, so this loses nothing and waits for nobody: not for a process
            left behind that holds the pipe open.
    """
    poller = select.poll()
    poller.register(source, select.POLLIN)
    poller.register(wake, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if wake in ready and not (drain and source in ready):
            return Ended.WOKEN
        chunk = _read(source)
        if chunk is None:
            continue
        if not chunk:
            return Ended.SOURCE
        ended = _write(sink, chunk, None if drain else wake)
        if ended is not None:
            return ended


def _read(source: int) -> bytes | None:
    """A chunk; empty at the end; None where there is nothing after all."""
    try:
        return os.read(source, CHUNK)
    except BlockingIOError:
        return None  # Somebody who shares the descriptor was faster.
    except OSError as error:
        # EIO: a terminal whose other side is closed. Or our own terminal is gone,
        # or we are in the background of a shell that is no more.
        if error.errno in {errno.EIO, errno.ECONNRESET}:
            return b""
        raise


def _write(sink: int, chunk: bytes, wake: int | None) -> Ended | None:
    """Write all of it, however slowly the other side reads; None when that is done."""
    rest = memoryview(chunk)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:
            # It is non-blocking: the container's end, or one that a program before us left so.
            poller = select.poll()
            poller.register(sink, select.POLLOUT)
            if wake is not None:
                poller.register(wake, select.POLLIN)
            if any(descriptor == wake for descriptor, _ in poller.poll()):
                return Ended.WOKEN
        except OSError as error:
            # EPIPE is a reader's right and no failure; EIO a terminal that is gone.
            if error.errno in {errno.EPIPE, errno.EIO, errno.ECONNRESET}:
                return Ended.SINK
            raise
    return None


def write_line(descriptor: int, text: str) -> None:
    """Write a line for a person to a descriptor that may be closed by now."""
    _write(descriptor, text.encode("utf-8", "surrogateescape"), None)
