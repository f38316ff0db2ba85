"""`containers.spawn`, `containers.exec` and `containers.attach`: a program's streams over the connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio.abc import ReceiveStream, SendStream

from ardock.interface import Attachment
from ardock.protocol.methods import ATTACH, EXEC, SPAWN, Attach, Attached, Missed, Nothing, Spawn, Started
from ardock.protocol.methods import ExecCall as ExecParams
from ardock.protocol.session import CHUNK
from ardock.server.call import Incoming, TaskCall, encode
from ardock.server.served import Running

if TYPE_CHECKING:
    from ardock.server.connection import Connection

# Seconds without output after a program's end, past which it is taken that a process which it left behind holds the stream open.
_QUIET: Final = 0.1


class _Streams(TaskCall):
    """What all three have: standard input that comes, output that goes."""

    __slots__ = ("_input", "_over", "_reads")

    def __init__(self, connection: Connection, number: int, method: str, deadline: float | None) -> None:
        super().__init__(connection, number, method, deadline=deadline)
        self._input = Incoming(self)
        self._over = False
        self._reads: set[trio.CancelScope] = set()

    def on_bytes(self, channel: int, data: bytes) -> None:
        """Standard input; no other channel comes from a client."""
        if channel == 0:
            self._input.put(data)
        else:
            super().on_bytes(channel, data)

    def on_end(self, channel: int) -> None:
        """The end of standard input."""
        if channel == 0:
            self._input.end()

    async def feed(self, sink: SendStream, *, closes: bool) -> None:
        """Write what comes to the program; `closes`: the end of it, too."""
        try:
            while data := await self._input.take():
                await sink.send_all(data)
            if closes:
                await sink.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The program has closed its input, or ended: what still comes is lost, as in a pipe, and its writer is told.
            self.send_end(0)
        self._input.close()

    async def copy(self, channel: int, source: ReceiveStream, before: Callable[[], bytes | None] | None = None) -> None:
        """Send what the program writes, up to its end (or, once that is over, until nothing more is there).

        Args:
            channel: Where to.
            source: What it writes.
            before: Called after each read; a record that is to be sent before the bytes.
        """
        while data := await self._read(source):
            record = before() if before is not None else None
            if record is not None:
                await self.send_item(record)
            await self.send_bytes(channel, data)
        self.send_end(channel)

    async def _read(self, source: ReceiveStream) -> bytes | bytearray:
        with trio.CancelScope() as scope:
            self._reads.add(scope)
            if self._over:
                scope.deadline = trio.current_time() + _QUIET
            try:
                return await source.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""  # as good as ended
            finally:
                self._reads.discard(scope)
        return b""

    def ended(self) -> None:
        """The program is over: what it wrote is read, and nothing else waited for."""
        self._over = True
        for scope in self._reads:
            scope.deadline = trio.current_time() + _QUIET


class _Program(_Streams):
    """A program that this call starts and ends with."""

    __slots__ = ("_program",)

    def __init__(self, connection: Connection, number: int, method: str, deadline: float | None) -> None:
        super().__init__(connection, number, method, deadline)
        self._program: Running | None = None

    async def begin(self) -> Running:
        """Start it."""
        raise NotImplementedError

    def last_word(self) -> bytes | None:
        """How it ended, where it has."""
        end = None if self._program is None else self._program.exit
        return None if end is None else encode(end)

    async def work(self) -> bytes:
        """Start it, carry its streams, and answer how it ended; killed where it is cancelled."""
        program = self._program = await self.begin()
        try:
            await self._carry(program)
            return encode(await program.wait())
        finally:
            if self.connection.server.closing:
                program.release()
            else:
                # It kills, so it is over soon.
                with trio.CancelScope(shield=True):
                    await program.aclose()

    async def _carry(self, program: Running) -> None:
        started = Started(
            id=program.id,
            exec_id=program.exec_id,
            pid=program.pid,
            started_at=program.started_at,
            timings=program.timings,
        )
        await self.send_item(encode(started))
        terminal = program.terminal
        async with trio.open_nursery() as feeding:
            sink: SendStream | None = terminal if terminal is not None else program.stdin
            if sink is None:
                self._input.close()
            else:
                feeding.start_soon(partial(self.feed, sink, closes=terminal is None))
            async with trio.open_nursery() as outputs:
                for channel, source in ((1, terminal or program.stdout), (2, program.stderr)):
                    if source is not None:
                        outputs.start_soon(self.copy, channel, source)
                await program.wait()
                self.ended()
            feeding.cancel_scope.cancel()


class SpawnCall(_Program):
    """`containers.spawn`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: Spawn) -> None:
        """Taken."""
        super().__init__(connection, number, SPAWN.name, params.deadline)
        self._params = params

    async def begin(self) -> Running:
        """A throw-away container."""
        return await self.connection.server.engine.containers.spawn_as(self._params.spec, bound=False)


class ExecCall(_Program):
    """`containers.exec`."""

    __slots__ = ("_params",)

    def __init__(self, connection: Connection, number: int, params: ExecParams) -> None:
        """Taken."""
        super().__init__(connection, number, EXEC.name, params.deadline)
        self._params = params

    async def begin(self) -> Running:
        """A program in a container that runs."""
        return await self.connection.server.engine.containers.exec(self._params.ref, self._params.spec)


class AttachCall(_Streams):
    """`containers.attach`."""

    __slots__ = ("_missed", "_params")

    def __init__(self, connection: Connection, number: int, params: Attach) -> None:
        """Taken."""
        super().__init__(connection, number, ATTACH.name, params.deadline)
        self._params = params
        self._missed = 0

    async def work(self) -> bytes:
        """Attach, carry the streams until the output has ended (or the input, where no output is wanted), detach."""
        params = self._params
        attachment = await self.connection.server.engine.containers.attach(
            params.ref, stdin=params.stdin, stdout=params.stdout, stderr=params.stderr
        )
        try:
            await self._carry(attachment)
        finally:
            with trio.CancelScope(shield=True):
                await attachment.aclose()
        return encode(Nothing())

    async def _carry(self, attachment: Attachment) -> None:
        terminal = attachment.terminal
        await self.send_item(encode(Attached(tty=terminal is not None)))
        sink: SendStream | None = None
        if self._params.stdin:
            sink = terminal if terminal is not None else attachment.stdin
        sources: list[tuple[int, ReceiveStream]] = []
        output = terminal if terminal is not None else attachment.stdout
        if self._params.stdout and output is not None:
            sources.append((1, output))
        if attachment.stderr is not None:
            sources.append((2, attachment.stderr))
        if sink is None:
            self._input.close()
        async with trio.open_nursery() as feeding:
            if sink is not None:
                feeding.start_soon(partial(self.feed, sink, closes=terminal is None))
            async with trio.open_nursery() as outputs:
                for channel, source in sources:
                    outputs.start_soon(self.copy, channel, source, partial(self._told, attachment))
            if sources:
                feeding.cancel_scope.cancel()

    def _told(self, attachment: Attachment) -> bytes | None:
        """What was missed since it was told last."""
        if attachment.missed == self._missed:
            return None
        self._missed = attachment.missed
        return encode(Missed(total=self._missed))
