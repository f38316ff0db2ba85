"""`Containers`: the methods that run containers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Unpack

from ardock.engine.containers.batch import RunMany
from ardock.engine.containers.running import RunningContainer
from ardock.model import ContainerOptions, ContainerSpec, RunResult

DEFAULT_MAX_OUTPUT = 1 << 20


class Containers:
    """Throw-away containers of one engine."""

    async def run(
        self,
        argv: Sequence[str] | ContainerSpec,
        *,
        input: bytes | None = None,
        max_output: int = DEFAULT_MAX_OUTPUT,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Run a container to its end and return its exit code and output.

        Cancelled, it kills the container, awaits its end and leaves nothing behind.

        Args:
            argv: Program and arguments; or a whole `ContainerSpec`, which `options` then change.
            input: What the program reads from standard input, followed by its end; None is /dev/null.
            max_output: Bytes kept of each stream; more sets `RunResult.truncated`.
            options: The fields of `ContainerSpec`.

        Raises:
            InvalidArgument: A value is malformed, out of range or contradicts another.
            NotFound: The root file system, a bind source or a user is not there.
            CommandNotFound, CommandNotExecutable: The program is not there, or cannot be executed.
            LaunchFailed: The kernel refused a step.
            KeeperLost: The keeper died.
        """
        raise NotImplementedError

    def run_many(
        self,
        specs: Iterable[ContainerSpec],
        *,
        max_output: int = DEFAULT_MAX_OUTPUT,
        in_flight: int | None = None,
    ) -> RunMany:
        """Run many containers; an async iterator of `RunResult` in the order in which they end.

        One that cannot be started is a result with `error` set and the others go on. What is not awaited (the loop was
        left, or cancelled) is killed::

            async for result in engine.containers.run_many(specs): ...
            async with engine.containers.run_many(specs) as results:  # awaits the end of what is left, too
                async for result in results: ...

        Args:
            specs: What to run; taken lazily, as there is room.
            max_output: Bytes kept of each stream.
            in_flight: Most at a time; None is what the keeper takes.
        """
        raise NotImplementedError

    async def start(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start a container and return it running, with its streams.

        Use it as an async context manager (leaving it kills the container and awaits its end) or call `aclose`.

        Raises:
            As `run`.
        """
        raise NotImplementedError
