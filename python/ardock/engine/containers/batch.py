"""`RunMany`: the async iterator of `Containers.run_many`.

There is no task for a container, nor one for the batch: the keeper's answers are handled where they arrive, and each freed
launch slot takes the next spec. All that was decided in one scheduler tick goes down in one packet, so many containers
cross each boundary together.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, Self

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

from ardock.engine.containers.container import Container
from ardock.engine.containers.results import complete, run_result, whole
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.pool import KeeperPool
from ardock.interface import Closing
from ardock.model.errors import ArdockError, EngineClosed
from ardock.model.records import RunResult
from ardock.model.spec import ContainerSpec

# Results that wait for a slow consumer; no more containers are launched meanwhile.
_MOST_WAITING: Final = 1024


# Containers whose volumes and roots are being made at a time.
_MOST_PREPARED: Final = 64


class Ways(NamedTuple):
    """How containers are launched, with so many bytes captured.

    Attributes:
        whole: A spec with what its image says.
        begin: On a connection of which a slot is held; it is given back where this raises.
        begin_later: One that takes time before it can be, with whatever that is.
        takes_time: Which those are.
    """

    whole: Callable[[ContainerSpec], ContainerSpec]
    begin: Callable[[Connection, ContainerSpec, int], Container]
    begin_later: Callable[[ContainerSpec, int], Awaitable[Container]]
    takes_time: Callable[[ContainerSpec], bool]


class RunMany(Closing):
    """Results of many containers in the order in which they end; an async iterator and context manager."""

    def __init__(
        self,
        pool: KeeperPool,
        ways: Ways,
        nursery: trio.Nursery,
        specs: Iterable[ContainerSpec],
        *,
        max_output: int,
        in_flight: int | None,
    ) -> None:
        """Made by `Containers.run_many` alone; nothing is launched before the first result is asked for."""
        self._pool = pool
        self._ways = ways
        self._nursery = nursery
        self._specs = iter(specs)
        self._next: ContainerSpec | None = None
        self._exhausted = False
        self._index = 0
        self._max_output = max_output
        self._in_flight = in_flight
        self._running: dict[Container, int] = {}
        self._ready: deque[tuple[Container, int] | RunResult] = deque()
        self._consumer: Task | None = None
        self._queued_on: Connection | None = None
        self._granted: Callable[[], None] = _weak_granted(self)
        self._full = False
        # Those whose volumes are being made, and what is told when there is none any more.
        self._preparing = 0
        self._prepared = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

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
                elif self._exhausted and not self._running and not self._preparing:
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
        container, index = ready
        program = container.program
        assert program is not None, "it was launched"
        end = program.exit
        if end is None:
            error = program.error
            assert error is not None, "over without an exit"
            return RunResult(id=container.id, index=index, exit_code=error.exit_code, error=error)
        output = None
        if not whole(end, self._max_output):
            output = await complete(program, end, self._max_output)
            program.let_go()
        return run_result(program, container.id, end, self._max_output, output=output, index=index)

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
        if self._in_flight is not None and len(self._running) + self._preparing >= self._in_flight:
            return False
        if self._preparing >= _MOST_PREPARED:
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
            spec = self._ways.whole(spec)
            later = self._ways.takes_time(spec)
        except ArdockError as error:
            connection.release_slot()
            self._failed(index, error)
            return
        if later:
            connection.release_slot()
            self._preparing += 1
            self._nursery.start_soon(self._launch_later, spec, index)
            return
        try:
            container = self._ways.begin(connection, spec, self._max_output)
        except ArdockError as error:
            self._failed(index, error)
            return
        self._launched(container, index)

    async def _launch_later(self, spec: ContainerSpec, index: int) -> None:
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    self._launched(await self._ways.begin_later(spec, self._max_output), index)
                except ArdockError as error:
                    self._failed(index, error)
                finally:
                    self._scopes.discard(scope)
        finally:
            self._preparing -= 1
            if not self._preparing:
                self._prepared.set()
                self._prepared = trio.Event()
        if not self._pool.closed:
            self._pump()
        self._wake()

    def _launched(self, container: Container, index: int) -> None:
        self._running[container] = index
        container.on_ended.append(_weak_ended(self))

    def _failed(self, index: int, error: ArdockError) -> None:
        self._ready.append(RunResult(id="", index=index, exit_code=error.exit_code, error=error))
        self._wake()

    def ended(self, container: Container) -> None:
        """One of our containers is over: called where that is known."""
        index = self._running.pop(container, None)
        if index is not None:
            program = container.program
            if program is not None and program.exit is not None and not whole(program.exit, self._max_output):
                # The keeper must not forget it before its output is fetched.
                program.holds += 1
            self._ready.append((container, index))
            self._wake()
            if self._in_flight is not None and self._queued_on is None and not self._pool.closed:
                self._pump()

    # --- ending ---

    async def aclose(self) -> None:
        """Kill what still runs and await its end; results not taken are dropped."""
        self._stop()
        with trio.CancelScope(shield=True):
            while self._preparing:
                await self._prepared.wait()
        rest = list(self._running)
        self._running.clear()
        await _end(rest)
        self._drop_ready()

    def _stop(self) -> None:
        self._exhausted = True
        self._next = None
        for scope in self._scopes:
            scope.cancel()
        if self._queued_on is not None:
            if not self._queued_on.lost:
                self._queued_on.drop_waiting(self._granted)
            self._queued_on = None

    def _drop_ready(self) -> None:
        while self._ready:
            ready = self._ready.popleft()
            if isinstance(ready, RunResult):
                continue
            program = ready[0].program
            if program is not None and program.exit is not None and not whole(program.exit, self._max_output):
                program.let_go()

    def __del__(self) -> None:
        """The loop was left: kill what still runs, in the background."""
        if self._pool.closed or not (self._running or self._ready or self._queued_on):
            return
        self._stop()
        self._drop_ready()
        if self._running:
            self._nursery.start_soon(_end, list(self._running))


async def _end(containers: list[Container]) -> None:
    """Kill and await all of them, also when cancelled."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for container in containers:
                if container.program is not None:
                    nursery.start_soon(container.program.kill)


# What a connection or container keeps must not keep a batch alive whose loop was left: `__del__` would never come.


def _weak_granted(batch: RunMany) -> Callable[[], None]:
    reference = weakref.ref(batch)

    def granted() -> None:
        alive = reference()
        if alive is not None:
            alive.slot_granted()

    return granted


def _weak_ended(batch: RunMany) -> Callable[[Container], None]:
    reference = weakref.ref(batch)

    def ended(container: Container) -> None:
        alive = reference()
        if alive is not None:
            alive.ended(container)

    return ended
