"""A program's standard streams as trio streams, on the pipes' (or the terminal's) own descriptors: nothing in between."""

from __future__ import annotations

import errno
from collections.abc import Callable

import trio
from trio.abc import SendStream

from ardock.interface import OutputStream


class PipeOutput(OutputStream):
    """Standard output or error: b"" once nobody holds its other end."""

    def __init__(self, fd: int) -> None:
        """Own `fd`."""
        self._stream = trio.lowlevel.FdStream(fd)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" at the end."""
        return await self._stream.receive_some(max_bytes)

    def fileno(self) -> int:
        """The descriptor, which is non-blocking; owned by this stream. -1 when closed."""
        return self._stream.fileno()

    def close(self) -> None:
        """Close it at once: a program that goes on writing gets SIGPIPE once nobody else reads."""
        self._stream.close()

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        await self._stream.aclose()


class InputStream(SendStream):
    """Standard input. `aclose` ends the input, which takes a word with the keeper: it holds a copy of the descriptor."""

    def __init__(self, fd: int, closed: Callable[[], None]) -> None:
        """Own `fd`; `closed` is called once when this end is closed, and tells the keeper."""
        self._stream = trio.lowlevel.FdStream(fd)
        self._closed: Callable[[], None] | None = closed

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, at the program's pace.

        Raises:
            trio.BrokenResourceError: The program has closed its input (or ended).
        """
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._stream.wait_send_all_might_not_block()

    def fileno(self) -> int:
        """The descriptor, which is non-blocking; owned by this stream. -1 when closed."""
        return self._stream.fileno()

    def close(self) -> None:
        """End the input at once."""
        self._stream.close()
        if self._closed is not None:
            closed, self._closed = self._closed, None
            closed()

    def detach(self) -> None:
        """Close this end at once, and leave the input open: the keeper holds another."""
        self._closed = None
        self._stream.close()

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


class TerminalStream(trio.abc.Stream):
    """The outer side of a program's terminal, for both directions."""

    def __init__(self, fd: int, output: int | None = None) -> None:
        """Own `fd`, and the pipe `output` from which what the terminal shows is read instead."""
        self._stream = trio.lowlevel.FdStream(fd)
        self._output = None if output is None else trio.lowlevel.FdStream(output)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" once no process has the terminal open any more."""
        if self._output is not None:
            return await self._output.receive_some(max_bytes)
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            # A terminal whose other side is closed gives EIO, not an end of file.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                return b""
            raise

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type `data`."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._stream.wait_send_all_might_not_block()

    def fileno(self) -> int:
        """The descriptor, which is non-blocking; owned by this stream. -1 when closed."""
        return self._stream.fileno()

    def close(self) -> None:
        """Close this side at once (the keeper holds another copy: the program sees no hang-up)."""
        self._stream.close()
        if self._output is not None:
            self._output.close()

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()
