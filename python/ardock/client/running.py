"""Programs that run in another process's engine, and attachments to them."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

import trio

from ardock.client.remote import Remote
from ardock.client.streams import STDERR, STDOUT, ChannelCall, InputStream, OutputStream, TerminalStream
from ardock.interface import Closing
from ardock.model.errors import ArdockError, Cancelled, ConnectionLost, InvalidArgument, NotRunning, ProtocolViolation
from ardock.model.records import ExitRecord, Timings
from ardock.model.sizes import parse_signal
from ardock.model.spec import ContainerSpec, ExecSpec
from ardock.protocol.methods import KILL, RESIZE, SPAWN, STOP, WAIT, Kill, Resize, Stop, Wait


class RunningProgram(Closing):
    """A program that was started, with its streams; an async context manager that kills it when left.

    The attributes are those of `ardock.interface.RunningProgram`.
    """

    def __init__(self, remote: Remote, call: ChannelCall, *, tty: bool, stdin_open: bool) -> None:
        """Made by `Containers.spawn` and `exec` alone, once its `Started` came."""
        start = call.started
        if start is None:
            raise ProtocolViolation(f"{call.method.name}: the engine did not say what it started")
        self._remote = remote
        self._call = call
        self._exit: ExitRecord | None = None
        self.id: str = start.id
        self.exec_id: str | None = start.exec_id
        self.pid: int = start.pid
        self.started_at: int = start.started_at
        self.timings: Timings = start.timings or Timings()
        self.terminal: TerminalStream | None = TerminalStream(call) if tty else None
        self.stdin: InputStream | None = InputStream(call) if stdin_open and not tty else None
        self.stdout: OutputStream | None = None if tty else OutputStream(call, STDOUT)
        self.stderr: OutputStream | None = None if tty else OutputStream(call, STDERR)

    def __repr__(self) -> str:
        """Its name and state."""
        name = self.id[:12] if self.exec_id is None else f"{self.id[:12]}/{self.exec_id[:12]}"
        end = self.exit
        state = f"exited ({end.exit_code})" if end else "lost" if self._call.done else f"running as pid {self.pid}"
        return f"<{type(self).__name__} {name} {state}>"

    @property
    def exit(self) -> ExitRecord | None:
        """How it ended; None while it runs, or where the connection was lost and `wait` not called since."""
        if self._exit is None and self._call.done and self._call.error is None:
            self._exit = self._remote.decode(SPAWN, self._call.result)
        return self._exit

    async def wait(self) -> ExitRecord:
        """Wait for its end; any number of tasks may, also afterwards.

        Raises:
            KeeperLost: The keeper died, and the program with it.
            ConnectionLost: The connection to the engine was lost, and with it this exec (a container's end is asked for on
                the next connection).
        """
        await trio.lowlevel.checkpoint()
        await self._call.until_done()
        if self.exit is None:
            error = self._call.error
            assert error is not None, "done without an exit"
            if self.exec_id is not None or not isinstance(error, ConnectionLost | Cancelled):
                raise error
            self._exit = await self._remote.call(WAIT, Wait(ref=self.id))
        record = self.exit
        assert record is not None, "it was just set"
        return record

    async def kill(self, signal: int | str = "SIGKILL") -> None:
        """Send a signal to it.

        Raises:
            NotRunning: It has ended.
            InvalidArgument: There is no such signal.
        """
        parse_signal(signal)
        if self.exit is not None:
            raise NotRunning(f"container {self.id[:12]} is not running")
        await self._remote.change(KILL, Kill(ref=self.id, signal=signal, exec_id=self.exec_id))

    async def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size.

        Raises:
            NotRunning: It has ended.
            InvalidArgument: It has no terminal, or the size is not one.
        """
        if self.terminal is None:
            raise InvalidArgument(f"container {self.id[:12]} has no terminal", field="tty")
        if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise InvalidArgument(f"invalid terminal size {rows}x{columns}", field="tty_size")
        if self.exit is not None:
            raise NotRunning(f"container {self.id[:12]} is not running")
        await self._remote.change(RESIZE, Resize(ref=self.id, rows=rows, columns=columns, exec_id=self.exec_id))

    async def aclose(self) -> None:
        """Kill it if it still runs, await its end, close its streams. Safe to call again, and when cancelled.

        Where the connection was lost and none can be had in time, a container's fate is not known: `exit` stays None.
        """
        for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
            if stream is not None:
                stream.close()
        await self._call.end()
        if self.exec_id is None and self.exit is None and isinstance(self._call.error, ConnectionLost):
            await self._end_elsewhere()

    async def _end_elsewhere(self) -> None:
        """The connection was lost, and what became of the container is not known: see that it has ended."""
        with trio.move_on_after(self._remote.line.patience, shield=True):
            # It has ended, or nobody is there to be asked, which asking for its end tells.
            with contextlib.suppress(ArdockError):
                await self._remote.change(KILL, Kill(ref=self.id))
            with contextlib.suppress(ArdockError):
                self._exit = await self._remote.call(WAIT, Wait(ref=self.id))


class RunningContainer(RunningProgram):
    """A throw-away container that was started."""

    def __init__(
        self,
        remote: Remote,
        call: ChannelCall,
        spec: ContainerSpec,
        join: Callable[[str, Sequence[str] | ExecSpec], Awaitable[RunningProgram]],
    ) -> None:
        """Made by `Containers.spawn` alone; `join` is `Containers.exec`."""
        super().__init__(remote, call, tty=spec.tty, stdin_open=spec.stdin_open)
        self.spec = spec
        self._join = join

    async def stop(self, timeout: float | None = None) -> ExitRecord:
        """Send its stop signal, wait `timeout` seconds (None: the spec's `stop_timeout`), then SIGKILL.

        Raises:
            KeeperLost: The keeper died.
        """
        if self.exit is None:
            await self._remote.change(STOP, Stop(ref=self.id, timeout=timeout))
        return await self.wait()

    async def exec(self, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to it.

        Raises:
            NotRunning: The container has ended.
        """
        if self.exit is not None:
            raise NotRunning(f"container {self.id[:12]} is not running")
        return await self._join(self.id, argv)


class Attachment(Closing):
    """A container's streams; leaving it detaches, and the container goes on. As `ardock.interface.Attachment`."""

    def __init__(self, call: ChannelCall, *, stdin: bool, stdout: bool, stderr: bool) -> None:
        """Made by `Containers.attach` alone, once its `Attached` came."""
        self._call = call
        self.stdin: InputStream | None = InputStream(call) if stdin else None
        self.stdout: OutputStream | None = OutputStream(call, STDOUT) if stdout else None
        self.stderr: OutputStream | None = OutputStream(call, STDERR) if stderr else None
        self.terminal: TerminalStream | None = None

    @property
    def missed(self) -> int:
        """Bytes of output that it has not got, as rotation passed it by."""
        return self._call.missed

    async def aclose(self) -> None:
        """Detach."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        await self._call.end()
