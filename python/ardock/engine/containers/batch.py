"""`RunMany`: the async iterator of `Containers.run_many`.

There is no task for a container, nor one for the batch: the keeper's answers are handled where they arrive, and each freed
launch slot takes the next spec. All that was decided in one scheduler tick goes down in one packet, so many containers
cross each boundary together.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from ardock.engine.containers.deadline import kill_after
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.results import complete, run_result, whole
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.pool import KeeperPool
from ardock.engine.keepers.program import Program
from ardock.model.errors import ArdockError, EngineClosed
from ardock.model.records import RunResult
from ardock.model.spec import ContainerSpec

# Results that wait for a slow consumer; no more containers are launched meanwhile.
_MOST_WAITING: Final = 1024


class RunMany:
    """Results of many containers in the order in which they end; an async iterator and context manager."""

    def __init__(
        self,
        pool: KeeperPool,
        launcher: Launcher,
        nursery: trio.Nursery,
        specs: Iterable[ContainerSpec],
        *,
        max_output: int,
        in_flight: int | None,
    ) -> None:
        """Made by `Containers.run_many` alone; nothing is launched before the first result is asked for."""
        self._pool = pool
        self._launcher = launcher
        self._nursery = nursery
        self._specs = iter(specs)
        self._next: ContainerSpec | None = None
        self._exhausted = False
        self._index = 0
        self._max_output = max_output
        self._in_flight = in_flight
        self._running: dict[Program, int] = {}
        self._ready: deque[tuple[Program, int] | RunResult] = deque()
        self._consumer: Task | None = None
        self._queued_on: Connection | None = None
        self._granted: Callable[[], None] = _weak_granted(self)
        self._full = False

    def __repr__(self) -> str:
        """What it has done."""
        return f"<RunMany {self._index} launched, {len(self._running)} running, {len(self._ready)} ready>"

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> RunResult:
        """The next container that has ended. Cancelled, it kills the rest and awaits their end.

        Raises:
            EngineClosed: The engine is closed.
            CapacityExceeded: Not one container fits any more.
            KeeperUnavailable: A keeper was needed and could not be started.
        """
        try:
            while not self._ready:
                self._pump()
                if self._ready:
                    break
                if self._full:
                    await self._pool.get()
                elif self._exhausted and not self._running:
                    await checkpoint()
                    raise StopAsyncIteration
                else:
                    await self._wait()
            else:
                await checkpoint_if_cancelled()
            return await self._take()
        except trio.Cancelled:
            await self.aclose()
            raise

    async def _take(self) -> RunResult:
        ready = self._ready.popleft()
        if isinstance(ready, RunResult):
            return ready
        program, index = ready
        end = program.exit
        if end is None:
            error = program.error
            assert error is not None, "over without an exit"
            return RunResult(id=program.id, index=index, exit_code=error.exit_code, error=error)
        stdout, stderr = end.stdout, end.stderr
        if not whole(end, self._max_output):
            stdout, stderr = await complete(program, end, self._max_output)
        program.connection.ack(program.id, None)
        return run_result(program, end, self._max_output, stdout=stdout, stderr=stderr, index=index)

    async def _wait(self) -> None:
        def abort(_: object) -> Abort:
            self._consumer = None
            return Abort.SUCCEEDED

        self._consumer = current_task()
        await wait_task_rescheduled(abort)

    def _wake(self) -> None:
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            reschedule(consumer)

    # --- launching: synchronous, called by the consumer and by the connection ---

    def _pump(self) -> None:
        """Launch as many as there is room for; queue for a slot where there is more to launch."""
        self._full = False
        while self._queued_on is None and self._peek():
            if self._pool.closed:
                raise EngineClosed("the engine is closed")
            connection = self._pool.pick()
            if connection is None:
                # Starting a keeper takes the consumer's task.
                self._full = True
                self._wake()
                return
            if not connection.try_slot():
                self._queued_on = connection
                connection.when_slot(self._granted)
                return
            self._launch(connection)

    def _peek(self) -> bool:
        """There is a spec to be launched now."""
        if self._exhausted or len(self._ready) >= _MOST_WAITING:
            return False
        if self._in_flight is not None and len(self._running) >= self._in_flight:
            return False
        if self._next is None:
            self._next = next(self._specs, None)
            self._exhausted = self._next is None
        return not self._exhausted

    def slot_granted(self) -> None:
        """A launch slot is ours: called by the connection that we queue on."""
        connection, self._queued_on = self._queued_on, None
        if connection is None:
            return
        if not connection.lost and self._peek():
            self._launch(connection)
        else:
            connection.release_slot()
        if connection.lost:
            self._wake()
        else:
            self._pump()

    def _launch(self, connection: Connection) -> None:
        spec = self._next
        assert spec is not None, "peeked"
        index = self._index
        self._next = None
        self._index += 1
        try:
            program = self._launcher.launch(connection, spec, capture=self._max_output)
        except ArdockError as error:
            self._ready.append(RunResult(id="", index=index, exit_code=error.exit_code, error=error))
            self._wake()
            return
        self._running[program] = index
        program.on_end = _weak_ended(self)
        if spec.timeout is not None:
            self._nursery.start_soon(kill_after, program, spec.timeout)

    def ended(self, program: Program) -> None:
        """One of our programs is over: called by its connection."""
        index = self._running.pop(program, None)
        if index is not None:
            self._ready.append((program, index))
            self._wake()
            if self._in_flight is not None and self._queued_on is None and not self._pool.closed:
                self._pump()

    # --- ending ---

    async def aclose(self) -> None:
        """Kill what still runs and await its end; results not taken are dropped."""
        self._stop()
        rest = list(self._running)
        self._running.clear()
        await _end(rest)
        self._drop_ready()

    def _stop(self) -> None:
        self._exhausted = True
        self._next = None
        if self._queued_on is not None:
            if not self._queued_on.lost:
                self._queued_on.drop_waiting(self._granted)
            self._queued_on = None

    def _drop_ready(self) -> None:
        while self._ready:
            ready = self._ready.popleft()
            if not isinstance(ready, RunResult) and ready[0].exit is not None:
                ready[0].connection.ack(ready[0].id, None)

    def __del__(self) -> None:
        """The loop was left: kill what still runs, in the background."""
        if self._pool.closed or not (self._running or self._ready or self._queued_on):
            return
        self._stop()
        self._drop_ready()
        if self._running:
            self._nursery.start_soon(_end, list(self._running))

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`aclose`."""
        await self.aclose()


async def _end(programs: list[Program]) -> None:
    """Kill, await and acknowledge all of them, also when cancelled."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for program in programs:
                nursery.start_soon(program.kill)
    for program in programs:
        if program.exit is not None:
            program.connection.ack(program.id, None)


# What a connection keeps must not keep a batch alive whose loop was left: `__del__` would never come.


def _weak_granted(batch: RunMany) -> Callable[[], None]:
    reference = weakref.ref(batch)

    def granted() -> None:
        alive = reference()
        if alive is not None:
            alive.slot_granted()

    return granted


def _weak_ended(batch: RunMany) -> Callable[[Program], None]:
    reference = weakref.ref(batch)

    def ended(program: Program) -> None:
        alive = reference()
        if alive is not None:
            alive.ended(program)

    return ended
