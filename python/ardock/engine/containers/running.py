"""Running programs: a container's first one, and those that exec joins to it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ardock.engine.containers.streams import InputStream, OutputStream, TerminalStream
from ardock.model import ExecSpec, ExitRecord, Timings


class RunningProgram:
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
        exit: How it ended; None while it runs.
    """

    id: str
    exec_id: str | None
    pid: int
    started_at: int
    timings: Timings
    stdin: InputStream | None
    stdout: OutputStream | None
    stderr: OutputStream | None
    terminal: TerminalStream | None
    exit: ExitRecord | None

    async def wait(self) -> ExitRecord:
        """Wait for its end; any number of tasks may, also afterwards.

        The end is told when the program has ended, even where a process that it left behind holds its output open: read
        `stdout` to the end only if that should be waited for, too.

        Raises:
            KeeperLost: The keeper died; the record would be ``lost``.
        """
        raise NotImplementedError

    async def kill(self, signal: int | str = "SIGKILL") -> None:
        """Send a signal to it, by pidfd.

        Raises:
            NotRunning: It has ended.
            InvalidArgument: There is no such signal.
        """
        raise NotImplementedError

    async def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size (the kernel tells its foreground processes by SIGWINCH).

        Raises:
            NotRunning: It has ended.
            InvalidArgument: It has no terminal.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Kill it if it still runs, await its end, close its streams. Safe to call again, and when cancelled."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`aclose`."""
        await self.aclose()


class RunningContainer(RunningProgram):
    """A container that was started."""

    async def stop(self, timeout: float | None = None) -> ExitRecord:
        """Send its stop signal, wait, then SIGKILL.

        Args:
            timeout: Seconds between the two; None is the spec's `stop_timeout`.
        """
        raise NotImplementedError

    async def exec(self, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to it.

        Raises:
            NotRunning: The container has ended.
            As `Containers.run` for the rest.
        """
        raise NotImplementedError
