"""Streams of a container for somebody who does not own it.

Attached before the start, output comes by a pipe that the keeper fills from the first byte on, at the reader's pace. Attached
to a running container it comes from its log, from the start: the reader's pace is then nobody's, and where rotation passes the
reader by, the bytes that it missed are counted.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

import trio
from trio.abc import ReceiveStream, SendStream, Stream

from ardock.engine.containers.container import Container
from ardock.engine.containers.streams import InputStream, PipeOutput
from ardock.engine.keepers.program import Program
from ardock.interface import Closing, OutputStream
from ardock.model.errors import ArdockError
from ardock.model.logs import LogItem, LogRecord

_CHUNK: Final = 1 << 16

LogReading = AbstractAsyncContextManager[AsyncIterator[LogItem]]


class LateOutput(OutputStream):
    """Output of a program that may not have been started yet."""

    def __init__(self) -> None:
        """Nothing is there."""
        self._ready = trio.Event()
        self._stream: PipeOutput | None = None

    def give(self, fd: int | None) -> None:
        """The pipe, owned; or None: there will be nothing."""
        if self._ready.is_set():
            if fd is not None:
                os.close(fd)
            return
        if fd is not None:
            self._stream = PipeOutput(fd)
        self._ready.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" at the end, also where the program could not be started."""
        await self._ready.wait()
        return b"" if self._stream is None else await self._stream.receive_some(max_bytes)

    def close(self) -> None:
        """Close it at once."""
        self._ready.set()
        if self._stream is not None:
            self._stream.close()

    async def aclose(self) -> None:
        """As `close`, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()


class LateInput(SendStream):
    """Input of a program that may not have been started yet."""

    def __init__(self) -> None:
        """Nothing is there."""
        self._ready = trio.Event()
        self._stream: InputStream | trio.lowlevel.FdStream | None = None
        self._ended = False

    def give(self, stream: InputStream | trio.lowlevel.FdStream | None) -> None:
        """The stream; or None: nobody will read."""
        if self._ready.is_set() and not self._ended:
            return
        self._stream = stream
        self._ready.set()
        if self._ended:
            self._end()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, at the program's pace.

        Raises:
            trio.BrokenResourceError: The program has closed its input, ended, or could not be started.
        """
        await self._ready.wait()
        if self._stream is None:
            raise trio.BrokenResourceError("the container takes no input")
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._ready.wait()
        if self._stream is not None:
            await self._stream.wait_send_all_might_not_block()

    def _end(self) -> None:
        if isinstance(self._stream, InputStream):
            self._stream.close()

    def detach(self) -> None:
        """Close our end and leave the input open for others."""
        self._ready.set()
        stream, self._stream = self._stream, None
        if isinstance(stream, InputStream):
            stream.detach()
        elif stream is not None:
            stream.close()

    async def aclose(self) -> None:
        """End the input (of a terminal, which has no end, nothing happens)."""
        self._ended = True
        self._end()
        await trio.lowlevel.checkpoint()


class LateTerminal(Stream):
    """A terminal of a container, both directions."""

    def __init__(self, output: ReceiveStream, source: LateInput) -> None:
        """Read from `output`, type into `source`."""
        self._output = output
        self._input = source

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes, at least one; b"" at the end."""
        return await self._output.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type `data`."""
        await self._input.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._input.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close this side."""
        self._input.detach()
        await self._output.aclose()


class Attachment(Closing):
    """What `Containers.attach` gives, see `ardock.interface.Attachment`."""

    def __init__(self, container: Container, *, stdin: bool, stdout: bool, stderr: bool) -> None:
        """Streams without anything behind them."""
        spec = container.spec
        self.id: str = container.id
        self.missed = 0
        self.tty: bool = spec.tty
        self._scope = trio.CancelScope()
        self._input = LateInput() if stdin and (spec.tty or spec.stdin_open) else None
        self._outputs: tuple[OutputStream | None, OutputStream | None] = (None, None)
        self._container = container
        self._tap: Callable[[Program | ArdockError], None] | None = None
        self._wanted = (stdout, stderr and not spec.tty)

    @property
    def stdin(self) -> SendStream | None:
        """Where it was asked for and there is no terminal: standard input."""
        return None if self.tty else self._input

    @property
    def stdout(self) -> OutputStream | None:
        """Where it was asked for: standard output; with a terminal, `terminal` is it."""
        return None if self.tty else self._outputs[0]

    @property
    def stderr(self) -> OutputStream | None:
        """Where it was asked for: standard error."""
        return self._outputs[1]

    @property
    def terminal(self) -> Stream | None:
        """With a terminal: both directions."""
        output = self._outputs[0]
        if not self.tty:
            return None
        if output is None:
            output = LateOutput()
            output.give(None)
        source = self._input
        if source is None:
            source = LateInput()
            source.give(None)
        return LateTerminal(output, source)

    # --- before the start ---

    def wait_for_start(self) -> None:
        """Take the streams of the next run."""
        stdout, stderr = (LateOutput() if wanted else None for wanted in self._wanted)
        self._outputs = (stdout, stderr)

        def started(program: Program | ArdockError) -> None:
            self._given(program, stdout, stderr)

        self._tap = started
        self._container.taps.append(started)

    def _given(self, program: Program | ArdockError, stdout: LateOutput | None, stderr: LateOutput | None) -> None:
        fds: list[int] = []
        if isinstance(program, Program):
            fds, program.fds = program.fds, []
        spec = self._container.spec
        if isinstance(program, Program) and fds and (spec.tty or spec.stdin_open):
            self._give_input(program, fds.pop(0), tty=spec.tty)
        elif self._input is not None:
            self._input.give(None)
        for output in (stdout, stderr):
            fd = fds.pop(0) if fds else None
            if output is not None:
                output.give(fd)
            elif fd is not None:
                os.close(fd)
        for fd in fds:
            os.close(fd)

    def _give_input(self, program: Program, fd: int, *, tty: bool) -> None:
        if self._input is None:
            os.close(fd)
        elif tty:
            self._input.give(trio.lowlevel.FdStream(fd))
        else:
            self._input.give(InputStream(fd, lambda: program.connection.close_stdin(program)))

    # --- of a running container ---

    async def take_input(self, program: Program) -> None:
        """Get at the standard input (or the terminal) of a running program."""
        if self._input is None:
            return
        streams, fds = await program.connection.attach(program)
        if streams & 1 and fds:
            self._give_input(program, fds.pop(0), tty=self.tty)
        else:
            self._input.give(None)
        for fd in fds:
            os.close(fd)

    def follow(self, nursery: trio.Nursery, items: Callable[[], LogReading]) -> None:
        """Read output from the log, which `items` opens."""
        channels = [trio.open_memory_channel[bytes](4) if wanted else None for wanted in self._wanted]
        stdout, stderr = (None if channel is None else ChannelOutput(channel[1]) for channel in channels)
        self._outputs = (stdout, stderr)
        sinks = {
            name: None if channel is None else channel[0]
            for name, channel in zip(("stdout", "stderr"), channels, strict=True)
        }
        nursery.start_soon(self._copy, items, sinks)

    async def _copy(
        self, items: Callable[[], LogReading], sinks: dict[str, trio.MemorySendChannel[bytes] | None]
    ) -> None:
        with self._scope:
            try:
                async with items() as reading:
                    async for item in reading:
                        if isinstance(item, LogRecord):
                            sink = sinks[item.stream]
                            if sink is not None:
                                try:
                                    await sink.send(item.data)
                                except trio.BrokenResourceError:
                                    sinks[item.stream] = None
                        else:
                            self.missed += item.missed
            finally:
                for sink in sinks.values():
                    if sink is not None:
                        sink.close()

    async def aclose(self) -> None:
        """Detach; the container goes on, and its input stays open."""
        self._scope.cancel()
        if self._tap is not None and self._tap in self._container.taps:
            self._container.taps.remove(self._tap)
        if self._input is not None:
            self._input.detach()
        for output in self._outputs:
            if output is not None:
                await output.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`aclose`, also when cancelled."""
        with trio.CancelScope(shield=True):
            await self.aclose()


class ChannelOutput(OutputStream):
    """A stream of pieces."""

    def __init__(self, channel: trio.MemoryReceiveChannel[bytes]) -> None:
        """Read from `channel`."""
        self._channel = channel
        self._rest = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Some bytes, at least one; b"" at the end."""
        if not self._rest:
            try:
                self._rest = await self._channel.receive()
            except trio.EndOfChannel:
                return b""
        size = max_bytes or _CHUNK
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    async def aclose(self) -> None:
        """Close it."""
        await self._channel.aclose()
