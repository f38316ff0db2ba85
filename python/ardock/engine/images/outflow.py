"""Bytes that a thread writes, as a stream: archives that are made while they are read."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Self

import trio

from ardock import _core
from ardock.engine.images.core import in_thread
from ardock.model.errors import ArdockError

_PIECE: Final = 1 << 20


@asynccontextmanager
async def outflow(write: Callable[[int, _core.CancelFlag], None]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What `write` writes to the descriptor that it is given, as it is read; left before its end, the writing ends, too.

    `write` blocks, and runs in a thread. Its error is raised where the bytes are read, after those that were written.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    # Each piece costs a wake-up of both sides. Where the user's pipes are over the kernel's soft limit it stays as it is.
    with contextlib.suppress(OSError):
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIECE)
    os.set_blocking(reader, False)
    flag = _core.CancelFlag()
    errors: list[ArdockError] = []
    left = False

    async def run() -> None:
        try:
            await in_thread(lambda: write(writer, flag), own=True)
        except (ArdockError, BrokenPipeError) as error:
            # Nobody reads it: whoever left does not ask why.
            if not left:
                if isinstance(error, BrokenPipeError):
                    raise
                errors.append(error)
        finally:
            os.close(writer)

    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield _Reading(reader, errors)
        except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
            failure = error
        left = True
        flag.set()
        trio.lowlevel.notify_closing(reader)
        os.close(reader)
    try:
        if failure is not None:
            raise failure
    finally:
        del failure


class _Reading:
    """Reads the pipe. No generator: one that is left before its end would have to be closed by whoever has it."""

    def __init__(self, reader: int, errors: list[ArdockError]) -> None:
        self._reader = reader
        self._errors = errors

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._reader)
            try:
                data = os.read(self._reader, _PIECE)
            except BlockingIOError:
                continue
            if data:
                return data
            if self._errors:
                raise self._errors[0]
            raise StopAsyncIteration
