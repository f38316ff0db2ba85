"""`Containers`: the methods that run containers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Unpack

import trio
from msgspec import structs

from ardock.engine.containers.batch import RunMany
from ardock.engine.containers.deadline import kill_after
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.results import complete, run_result, whole
from ardock.engine.containers.running import ExecPlanner, RunningContainer
from ardock.engine.containers.values import convert
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.pool import KeeperPool
from ardock.engine.keepers.program import Program
from ardock.model import ContainerOptions, ContainerSpec, InvalidArgument, RunResult

DEFAULT_MAX_OUTPUT: Final = 1 << 20
_MOST_OUTPUT: Final = 1 << 30


class Containers:
    """Throw-away containers of one engine."""

    def __init__(self, pool: KeeperPool, launcher: Launcher, exec_planner: ExecPlanner, nursery: trio.Nursery) -> None:
        """Made by `open_engine` alone."""
        self._pool = pool
        self._launcher = launcher
        self._exec_planner = exec_planner
        self._nursery = nursery

    async def run(
        self,
        argv: Sequence[str] | ContainerSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - subprocess.run's name for it
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
            CommandNotFound: The program is not in the container.
            CommandNotExecutable: It is there and cannot be executed.
            LaunchFailed: The kernel refused a step.
            KeeperLost: The keeper died.
        """
        spec = make_spec(argv, options)
        check_max_output(max_output)
        program = await self._launch(spec, capture=max_output, input_data=input)
        try:
            await program.until_over()
            end = program.exit
            if end is None:
                assert program.error is not None, "over without an exit"
                raise program.error
            stdout, stderr = end.stdout, end.stderr
            if not whole(end, max_output):
                stdout, stderr = await complete(program, end, max_output)
            return run_result(program, end, max_output, stdout=stdout, stderr=stderr)
        finally:
            # Cancelled on the way, the program is still there.
            if not program.over:
                await program.kill()
            if program.exit is not None:
                program.connection.ack(program.id, None)

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

            async for result in engine.containers.run_many(specs):
                ...
            async with engine.containers.run_many(specs) as results:  # awaits the end of what is left, too
                async for result in results:
                    ...

        Args:
            specs: What to run; taken lazily, as there is room.
            max_output: Bytes kept of each stream.
            in_flight: Most at a time; None is what the keeper takes.

        Raises:
            InvalidArgument: `in_flight` is not positive, or `max_output` out of range.
        """
        check_max_output(max_output)
        if in_flight is not None and in_flight < 1:
            raise InvalidArgument(f"in_flight: must be at least 1, not {in_flight}", field="in_flight")
        return RunMany(self._pool, self._launcher, self._nursery, specs, max_output=max_output, in_flight=in_flight)

    async def start(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start a container and return it running, with its streams.

        Use it as an async context manager (leaving it kills the container and awaits its end) or call `aclose`.

        Raises:
            As `run`.
        """
        spec = make_spec(argv, options)
        program = await self._launch(spec, capture=None)
        await program.until_answered_or_end()
        if program.start is None:
            assert program.error is not None, "answered without a start"
            raise program.error
        return RunningContainer(program, spec, self._exec_planner)

    async def _launch(self, spec: ContainerSpec, *, capture: int | None, input_data: bytes | None = None) -> Program:
        connection = await self._slot()
        # No checkpoint from here to the caller's try: what is launched is awaited.
        program = self._launcher.launch(connection, spec, capture=capture, input_data=input_data)
        if spec.timeout is not None:
            self._nursery.start_soon(kill_after, program, spec.timeout)
        return program

    async def _slot(self) -> Connection:
        """A launch slot of a keeper with room."""
        while True:
            connection = None if self._pool.closed else self._pool.pick()
            if connection is None:
                connection = await self._pool.get()
            await connection.slot()
            # Others that waited, too, may have filled it up meanwhile.
            if connection.lost or connection.room > 0:
                return connection
            connection.release_slot()


def make_spec(argv: Sequence[str] | ContainerSpec, options: ContainerOptions) -> ContainerSpec:
    """A spec from keyword arguments.

    Raises:
        InvalidArgument: An unknown option, or a value of the wrong type.
    """
    if isinstance(argv, ContainerSpec):
        # Its values are checked when its shape is planned.
        return structs.replace(argv, **options) if options else argv
    if isinstance(argv, str | bytes):
        raise InvalidArgument('argv: a list of words is expected, such as ["echo", "hi"]', field="argv")
    return convert({"argv": argv, **options})


def check_max_output(max_output: int) -> None:
    """Refuse what cannot be kept.

    Raises:
        InvalidArgument: It is negative or more than 1 GiB.
    """
    if not 0 <= max_output <= _MOST_OUTPUT:
        raise InvalidArgument(f"max_output: must be 0 to {_MOST_OUTPUT} bytes, not {max_output}", field="max_output")
