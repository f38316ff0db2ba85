"""Running programs: a container's first one, and those that exec joins to it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ardock.engine.containers.container import Container
from ardock.engine.containers.results import exit_record
from ardock.engine.containers.streams import InputStream, PipeOutput, TerminalStream
from ardock.engine.keepers.program import Program
from ardock.interface import Closing
from ardock.model.errors import InvalidArgument, KeeperLost, NotRunning
from ardock.model.records import ExitRecord, Timings
from ardock.model.sizes import parse_signal
from ardock.model.spec import ContainerSpec, ExecSpec

if TYPE_CHECKING:
    from ardock.engine.containers.service import Containers


class RunningProgram(Closing):
    """A program that was started, with its streams; an async context manager that kills it when left.

    Attributes:
        id: The container's id.
        exec_id: The exec's id; None for the container's first program.
        pid: Process id on the host.
        started_at: Wall clock, ns since 1970.
        timings: Where the launch's time went.
        stdin: Where `stdin_open` (and no terminal): its standard input. `aclose` it to end the input.
        stdout: Without a terminal: its standard output. Ends when nobody can write to it any more.
        stderr: Without a terminal: its standard error.
        terminal: With `tty`: the terminal, for both directions; reading gives b"" once the program has closed it.
    """

    def __init__(self, program: Program, container_id: str, *, tty: bool, stdin_open: bool, tapped: bool) -> None:
        """Made by `Containers` alone; `tapped`: output comes through pipes of the keeper's, not from the program's own."""
        start = program.start
        assert start is not None, "it was started"
        self._program = program
        self.id: str = container_id
        self.exec_id: str | None = program.exec_id
        self.pid: int = start.pid
        self.started_at: int = start.started_at
        self.timings: Timings = start.timings
        self.stdin: InputStream | None = None
        self.stdout: PipeOutput | None = None
        self.stderr: PipeOutput | None = None
        self.terminal: TerminalStream | None = None
        self._lost_at = 0
        fds, program.fds = program.fds, []
        if tty:
            if fds:
                terminal = fds.pop(0)
                self.terminal = TerminalStream(terminal, output=fds.pop(0) if tapped and fds else None)
        else:
            if stdin_open and fds:
                self.stdin = InputStream(fds.pop(0), lambda: program.connection.close_stdin(program))
            self.stdout = PipeOutput(fds.pop(0)) if fds else None
            self.stderr = PipeOutput(fds.pop(0)) if fds else None
        for fd in fds:
            os.close(fd)

    def __repr__(self) -> str:
        """Its name and state."""
        name = self.id[:12] if self.exec_id is None else f"{self.id[:12]}/{self.exec_id[:12]}"
        if self._program.over:
            end = self.exit
            return (
                f"<{type(self).__name__} {name} exited ({end.exit_code})>"
                if end
                else f"<{type(self).__name__} {name} lost>"
            )
        return f"<{type(self).__name__} {name} running as pid {self.pid}>"

    @property
    def exit(self) -> ExitRecord | None:
        """How it ended; None while it runs. Reason ``lost`` where its keeper died."""
        program = self._program
        if program.exit is not None:
            return exit_record(self.id, self.exec_id, program.start, program.exit)
        if isinstance(program.error, KeeperLost):
            self._lost_at = self._lost_at or time.time_ns()
            return ExitRecord(
                id=self.id,
                exec_id=self.exec_id,
                exit_code=255,
                reason="lost",
                started_at=self.started_at,
                finished_at=self._lost_at,
            )
        return None

    @property
    def timed_out(self) -> bool:
        """Its `timeout` passed and it was killed."""
        return self._program.timed_out

    async def wait(self) -> ExitRecord:
        """Wait for its end; any number of tasks may, also afterwards.

        The end is told when the program has ended, even where a process that it left behind holds its output open: read
        `stdout` to the end only if that should be waited for, too.

        Raises:
            KeeperLost: The keeper died, and the program with it; `exit` then has reason ``lost``.
        """
        await self._program.until_over()
        if self._program.error is not None:
            raise self._program.error
        record = self.exit
        assert record is not None, "over, and not failed"
        return record

    async def kill(self, signal: int | str = "SIGKILL") -> None:
        """Send a signal to it, by pidfd.

        Raises:
            NotRunning: It has ended.
            InvalidArgument: There is no such signal.
        """
        number = parse_signal(signal)
        if self._program.over or not await self._program.connection.signal(self._program, number):
            raise NotRunning(f"container {self.id[:12]} is not running")

    async def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size (the kernel tells its foreground processes by SIGWINCH).

        Raises:
            NotRunning: It has ended.
            InvalidArgument: It has no terminal, or the size is not one.
        """
        if self.terminal is None:
            raise InvalidArgument(f"container {self.id[:12]} has no terminal", field="tty")
        if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise InvalidArgument(f"invalid terminal size {rows}x{columns}", field="tty_size")
        if self._program.over:
            raise NotRunning(f"container {self.id[:12]} is not running")
        await self._program.connection.resize(self._program, rows, columns)

    async def aclose(self) -> None:
        """Kill it if it still runs, await its end, close its streams. Safe to call again, and when cancelled."""
        try:
            await self._program.kill()
        finally:
            self.release()

    def release(self) -> None:
        """Close its streams and let it go on by itself. Safe to call again."""
        for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
            if stream is not None:
                stream.close()


class RunningContainer(RunningProgram):
    """A throw-away container that was started."""

    def __init__(self, container: Container, program: Program, containers: Containers, *, tapped: bool) -> None:
        """Made by `Containers.spawn` alone."""
        spec = container.spec
        super().__init__(program, container.id, tty=spec.tty, stdin_open=spec.stdin_open, tapped=tapped)
        self.spec: ContainerSpec = spec
        self._container = container
        self._containers = containers

    async def stop(self, timeout: float | None = None) -> ExitRecord:
        """Send its stop signal, wait, then SIGKILL.

        Args:
            timeout: Seconds between the two; None is the spec's `stop_timeout`.

        Raises:
            KeeperLost: The keeper died.
        """
        await self._containers.stop_container(self._container, timeout=timeout)
        return await self.wait()

    async def exec(self, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to it.

        Raises:
            NotRunning: The container has ended.
            As `Containers.run` for the rest.
        """
        return await self._containers.exec_in(self._container, argv)
