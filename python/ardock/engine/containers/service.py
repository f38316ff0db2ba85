"""`Containers`: the methods of `ardock.interface.Containers`, on the keepers of one engine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, Unpack

import msgspec
import trio
from msgspec import structs

from ardock.engine import clock
from ardock.engine.containers import execs, lifecycle
from ardock.engine.containers.attachments import Attachment, LogReading
from ardock.engine.containers.batch import RunMany
from ardock.engine.containers.container import SHORT_ID, Container, Kind
from ardock.engine.containers.deadline import kill_after
from ardock.engine.containers.execs import Execs
from ardock.engine.containers.files import Files
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.ledger import Ledger
from ardock.engine.containers.oneshot import Done, OneShot, Waiter
from ardock.engine.containers.plan import log_path
from ardock.engine.containers.queries import matcher, shows_ended
from ardock.engine.containers.resolved import OutputKind
from ardock.engine.containers.running import RunningContainer, RunningProgram
from ardock.engine.containers.table import Table
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.pool import KeeperPool
from ardock.engine.keepers.program import Program
from ardock.engine.logs import LogWatcher, open_log
from ardock.engine.requests import Requests, exec_key, run_key
from ardock.engine.state import State
from ardock.interface import DEFAULT_MAX_OUTPUT
from ardock.model.container import ContainerInfo, Created, Filters, Listing, WaitCondition
from ardock.model.errors import ArdockError, Cancelled, Conflict, EngineClosed, InvalidArgument, NotFound, NotRunning
from ardock.model.logs import LogItem, LogQuery
from ardock.model.making import check_max_output, make_exec_spec, make_spec
from ardock.model.records import ExitRecord, RunResult
from ardock.model.sizes import parse_signal
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec, LogOptions

_encode: Final = msgspec.msgpack.Encoder().encode
_SIGKILL: Final = 9
# Seconds for a commit that an answer waits for: past them (a disk that hangs or is full) it is given all the same. What it tells
# of has happened, the keeper still has the record of it, and the commit is tried until it is in.
_PATIENCE: Final = 2.0


class ImageStore(Protocol):
    """What containers need of the engine's images."""

    def id_of(self, ref: str) -> str:
        """An image's id, by name or by (a prefix of) its id. NotFound: there is none."""

    def layers_of(self, ref: str) -> tuple[str, ...]:
        """Its directories, topmost first."""


class Containers:
    """The containers of one engine."""

    def __init__(
        self,
        *,
        pool: KeeperPool,
        launcher: Launcher,
        execs: Execs,
        table: Table,
        ledger: Ledger,
        requests: Requests,
        state: State,
        images: ImageStore,
        files: Files,
        root: Path,
        watcher: LogWatcher | None,
        nursery: trio.Nursery,
    ) -> None:
        """Made by `open_engine` alone."""
        self._pool = pool
        self._launcher = launcher
        self._execs = execs
        self._table = table
        self._ledger = ledger
        self._requests = requests
        self._state = state
        self._images = images
        self._files = files
        self._root = root
        self._watcher = watcher
        self._nursery = nursery
        # Runs and execs under way that somebody may come back for, by the key of their request.
        self._calls: dict[str, OneShot] = {}

    # --- thrown away when they end ---

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
        waiter = Waiter()
        call = self.run_nowait(spec, input=input, max_output=max_output, done=waiter.done, bound=True)
        return await waiter.result(call)

    def run_nowait(
        self,
        spec: ContainerSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = DEFAULT_MAX_OUTPUT,
        request_id: str | None = None,
        done: Done,
        launched: Callable[[], None] | None = None,
        bound: bool = False,
    ) -> OneShot:
        """As `run`, without waiting: `done` is called once with the result or the error, now or later.

        Args:
            spec: What to run.
            input: Contents of standard input.
            max_output: Bytes kept of each stream.
            request_id: The caller's name for the call: repeated with it, it is not run again.
            done: Called in the engine's thread.
            launched: Called once when it is handed to a keeper, if it is.
            bound: It is killed when the engine closes.
        """

        def launch(call: OneShot, connection: Connection) -> None:
            if call.cancelled:
                connection.release_slot()
                call.finish(Cancelled("the call was cancelled"))
            elif connection.lost or connection.room <= 0:
                if not connection.lost:
                    connection.release_slot()
                self._queue(call)
            else:
                try:
                    container = self._begin(
                        connection,
                        spec,
                        "run",
                        output="capture",
                        max_output=max_output,
                        input_data=input,
                        request_id=request_id,
                        bound=bound,
                    )
                except ArdockError as error:
                    call.finish(error)
                    return
                call.program = container.program
                container.on_ended.append(lambda container: call.over(container.id))
                if launched is not None:
                    launched()

        try:
            check_max_output(max_output)
            self._requests.check(request_id)
        except ArdockError as error:
            return self._answered(error, done)
        call = OneShot(self._nursery, launch, max_output, done)
        if request_id is not None:
            earlier = self._earlier(run_key(request_id), done)
            if earlier is not None:
                return earlier
            self._remember(run_key(request_id), call)
        self._queue(call)
        return call

    def _remember(self, key: str, call: OneShot) -> None:
        self._calls[key] = call

        def forget(_: RunResult | ArdockError) -> None:
            self._calls.pop(key, None)

        call.when_answered(forget)

    def _queue(self, call: OneShot) -> None:
        """Launch it on a keeper with room, as soon as that has a slot."""
        if self._pool.closed:
            call.finish(EngineClosed("the engine is closed"))
            return
        connection = self._pool.pick()
        if connection is not None:
            call.queue(connection)
        else:
            self._nursery.start_soon(self._queue_later, call)

    async def _queue_later(self, call: OneShot) -> None:
        try:
            connection = await self._pool.get()
        except ArdockError as error:
            call.finish(error)
        else:
            call.queue(connection)

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

        def begin(connection: Connection, spec: ContainerSpec, max_output: int) -> Container:
            return self._begin(connection, spec, "run", output="capture", max_output=max_output, bound=True)

        return RunMany(self._pool, begin, self._nursery, specs, max_output=max_output, in_flight=in_flight)

    async def spawn(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start a throw-away container and return it running, with its streams.

        Use it as an async context manager (leaving it kills the container and awaits its end) or call `aclose`.

        Raises:
            As `run`.
        """
        return await self.spawn_as(make_spec(argv, options), bound=True)

    async def spawn_as(self, spec: ContainerSpec, *, bound: bool) -> RunningContainer:
        """As `spawn`; `bound`: it is killed when the engine closes."""
        # With a log, the keeper reads the output and we get a copy.
        tapped = isinstance(spec.log, LogOptions)
        connection = await self._slot()
        # No checkpoint from here to where the program's end is awaited.
        container = self._begin(connection, spec, "spawn", output="tap" if tapped else "direct", bound=bound)
        program = container.program
        assert program is not None, "it was launched"
        await program.until_answered_or_end()
        if program.start is None:
            assert program.error is not None, "answered without a start"
            raise program.error
        return RunningContainer(container, program, self, tapped=tapped)

    def _begin(
        self,
        connection: Connection,
        spec: ContainerSpec,
        kind: Kind,
        *,
        output: OutputKind,
        max_output: int = 0,
        input_data: bytes | None = None,
        request_id: str | None = None,
        bound: bool = False,
    ) -> Container:
        """Launch a throw-away container on `connection`, of which a slot is held; given back where this raises."""
        try:
            name = self._table.free_name(spec.name)
            image_id = "" if spec.image is None else self._images.id_of(spec.image)
        except ArdockError:
            connection.release_slot()
            raise
        container = Container(os.urandom(32).hex(), name, spec, kind=kind, remove=True, created_at=clock.now())
        container.image_id = image_id
        container.request_id = request_id
        container.max_output = max_output
        container.bound = bound
        container.log = log_path(container.id) if isinstance(spec.log, LogOptions) else ""
        self._launch(connection, container, output, capture=max_output if kind == "run" else None, data=input_data)
        self._table.add(container)
        return container

    def _launch(
        self,
        connection: Connection,
        container: Container,
        output: OutputKind,
        *,
        capture: int | None = None,
        data: bytes | None = None,
    ) -> None:
        container.run += 1
        container.ooms = 0
        try:
            if container.status != "starting":
                container.move("start")
            program = self._launcher.launch(
                connection,
                container,
                output=output,
                capture=capture,
                input_data=data,
                image_layers=self._layers(container),
            )
        except ArdockError:
            container.run -= 1
            raise
        self._ledger.watch(container, program)
        if container.spec.timeout is not None:
            self._nursery.start_soon(kill_after, program, container.spec.timeout)

    def _layers(self, container: Container) -> tuple[str, ...]:
        return self._images.layers_of(container.image_id) if container.image_id else ()

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

    # --- kept until they are removed ---

    async def create(
        self, argv: Sequence[str] | ContainerSpec, *, remove: bool = False, **options: Unpack[ContainerOptions]
    ) -> Created:
        """Make a container without starting it; see `ardock.interface.Containers.create`.

        Raises:
            InvalidArgument: A value is malformed, out of range or contradicts another.
            Conflict: The name is taken.
            NotFound: The root file system, a bind source or a user is not there.
            DiskFull: It cannot be written down.
        """
        spec = make_spec(argv, options)
        if spec.log is None:
            spec = structs.replace(spec, log=LogOptions())
        name = self._table.free_name(spec.name)
        container = Container(os.urandom(32).hex(), name, spec, kind="kept", remove=remove, created_at=clock.now())
        container.image_id = "" if spec.image is None else self._images.id_of(spec.image)
        container.log = log_path(container.id) if isinstance(spec.log, LogOptions) else ""
        self._launcher.check(container, self._layers(container))
        created = Created(id=container.id, name=name)
        # The name is taken from now on.
        self._table.add(container)
        if remove:
            return created
        try:
            changes = self._ledger.creation(container, _encode(created))
            with trio.CancelScope(shield=True):
                await self._state.commit_and_wait(changes)
        except BaseException:
            self._table.remove(container)
            raise
        return created

    async def start(self, ref: str) -> None:
        """Start a created or ended container; see `ardock.interface.Containers.start`.

        Raises:
            NotFound: There is no such container.
            Conflict: It runs, or is being removed.
            LaunchFailed: The kernel refused a step; the container is as before.
        """
        container = self._table.find(ref)
        await self._start(container)

    async def _start(self, container: Container) -> None:
        if container.alive:
            raise Conflict(f"container {container.id[:SHORT_ID]} is {container.status} already")
        if container.status not in ("created", "exited"):
            raise Conflict(f"container {container.id[:SHORT_ID]} is {container.status} and cannot be started")
        container.move("start")
        container.error = ""
        container.failure = None
        try:
            connection = await self._slot()
            # No checkpoint from here on.
            container.start_request = self._requests.current
            self._launch(connection, container, "tap" if container.taps else "log")
        except ArdockError as error:
            container.run += 1
            self._ledger.failed(container, error)
            raise
        except BaseException:
            container.run += 1
            self._ledger.failed(container, Cancelled("the start was cancelled"))
            raise
        program = container.program
        assert program is not None, "it was launched"
        # Cancelled here, it starts all the same.
        await program.until_answered()
        if program.start is None and program.error is not None:
            raise program.error
        await self._written()

    async def stop(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """Send its stop signal, wait, then SIGKILL; see `ardock.interface.Containers.stop`.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: There is no such signal, or the time is negative.
        """
        await self.stop_container(self._table.find(ref), timeout=timeout, signal=signal)

    async def stop_container(
        self, container: Container, *, timeout: float | None = None, signal: int | str | None = None
    ) -> None:
        """`stop` of a container that is at hand."""
        spec = container.spec
        number = parse_signal(spec.stop_signal if signal is None else signal, "signal")
        patience = spec.stop_timeout if timeout is None else timeout
        await container.until_answered()
        program = container.program
        if not container.alive or program is None:
            return
        await self._signal(container, number)
        # A negative time waits for ever, as Docker's does.
        with trio.move_on_after(patience if patience >= 0 else float("inf")):
            await program.until_over()
        if not program.over:
            await self._signal(container, _SIGKILL)
            await program.until_over()
        self._ledger.tell(container, "stop")
        await self._written()

    async def restart(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """`stop`, then `start`.

        Raises:
            As those two. Conflict also: it is removed when it ends.
        """
        container = self._table.find(ref)
        if container.remove:
            raise Conflict(f"container {container.id[:SHORT_ID]} is removed when it ends: it cannot be restarted")
        await self.stop_container(container, timeout=timeout, signal=signal)
        await self._start(container)
        container.restarts += 1
        container.touch()
        self._ledger.tell(container, "restart")
        await self._written()

    async def kill(self, ref: str, signal: int | str = "SIGKILL", *, exec_id: str | None = None) -> None:
        """Send a signal to its first program, or to that of one of its execs.

        Raises:
            NotFound: There is no such container or exec.
            NotRunning: It has ended.
            InvalidArgument: There is no such signal.
        """
        container = self._table.find(ref)
        number = parse_signal(signal, "signal")
        await container.until_answered()
        if exec_id is not None:
            program = container.execs.get(exec_id)
            if program is None or not await program.connection.signal(program, number):
                raise NotRunning(f"exec {exec_id[:SHORT_ID]} of container {container.id[:SHORT_ID]} is not running")
        elif not container.alive or not await self._signal(container, number):
            raise NotRunning(f"container {container.id[:SHORT_ID]} is not running: it is {container.status}")

    async def _signal(self, container: Container, number: int) -> bool:
        program = container.program
        assert program is not None, "it runs"
        self._ledger.tell(container, "kill", {"signal": str(number)})
        return await program.connection.signal(program, number)

    async def rename(self, ref: str, name: str) -> None:
        """Give it another name.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: It is no name.
            Conflict: It is taken.
        """
        container = self._table.find(ref)
        former = container.name
        if name.removeprefix("/") == former:
            raise InvalidArgument(
                f"name: container {container.id[:SHORT_ID]} has the name {former!r} already", field="name"
            )
        self._table.rename(container, self._table.free_name(name))
        with trio.CancelScope(shield=True):
            self._state.commit(self._ledger.renaming(container, former))
            await self._written()

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitRecord:
        """Wait for its end; answered after its removal too.

        Args:
            ref: Which.
            condition: ``"not-running"`` is answered at once where it does not run; ``"next-exit"`` waits for the next end;
                ``"removed"`` until it is removed.

        Raises:
            NotFound: There is no such container, nor was there one in the last 24 hours.
            ArdockError: It could not be started.
        """
        try:
            container = self._table.find(ref)
        except NotFound:
            departed = self._state.find_exit(ref)
            if departed is None:
                raise
            return departed.exit
        if condition == "removed":
            await container.until_gone()
        elif condition == "next-exit" or container.alive:
            await container.until_ended()
            if container.failure is not None and not container.alive:
                raise container.failure
        else:
            await trio.lowlevel.checkpoint()
        # One that was never started: as Docker answers.
        return container.exit or ExitRecord(id=container.id, exit_code=0)

    async def remove(self, ref: str, *, force: bool = False) -> None:
        """Remove it, its writable layer and its log.

        Args:
            ref: Which.
            force: Kill it where it runs.

        Raises:
            NotFound: There is no such container.
            Conflict: It runs and `force` is not given, or it is being removed.
        """
        container = self._table.find(ref)
        await container.until_answered()
        if container.alive:
            if not force:
                raise Conflict(
                    f"cannot remove container {container.id[:SHORT_ID]}: it is {container.status}; "
                    "stop it first, or force the removal"
                )
            program = container.program
            assert program is not None, "it runs"
            self._ledger.tell(container, "kill", {"signal": str(_SIGKILL)})
            await program.kill()
        if self._table.get(container.id) is not container:
            await self._written()
            return
        if lifecycle.after(container.status, "remove") is None:
            raise Conflict(f"removal of container {container.id[:SHORT_ID]} is in progress already")
        container.move("remove")
        with trio.CancelScope(shield=True):
            self._table.remove(container)
            self._state.commit(self._ledger.removal(container))
            await self._written()
            await self._files.remove(container)
            container.gone()

    async def inspect(self, ref: str) -> ContainerInfo:
        """All about one.

        Raises:
            NotFound: There is no such container.
        """
        return self.inspect_nowait(ref)

    def inspect_nowait(self, ref: str) -> ContainerInfo:
        """As `inspect`: from memory."""
        return self._table.find(ref).info()

    async def list(self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None) -> Listing:  # noqa: A002 - Docker's name
        """Containers, newest first; see `ardock.interface.Containers.list`.

        From memory. What it tells has the number of the last event that it reflects; where that is not in the journal yet, the
        answer waits for that commit, for a quarter of a second at most: past it the number is that of the last event that is
        in, and those that follow may tell what the list knows already.

        Raises:
            InvalidArgument: There is no such filter or value.
            NotFound: ``before`` or ``since`` name no container.
        """
        wanted = filters or {}
        fits = matcher(wanted, self._table)
        ended = all or limit is not None or shows_ended(wanted)
        found = []
        for container in self._table.newest_first():
            if (ended or container.alive) and fits(container):
                found.append(container.summary())
                if limit is not None and len(found) >= max(0, limit) > 0:
                    break
        seq = self._state.assigned
        boottime = clock.boottime()
        if not await self._state.until_committed(seq, 0.25):
            seq = self._state.committed
        return Listing(containers=found, epoch=self._state.epoch, seq=seq, boottime=boottime)

    def logs(self, ref: str, query: LogQuery | None = None) -> AbstractAsyncContextManager[AsyncIterator[LogItem]]:
        """Its log, in order; see `ardock.interface.Containers.logs`.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: It keeps no log; a number is out of range.
        """
        return self._logs(self._table.find(ref), query or LogQuery())

    @asynccontextmanager
    async def _logs(self, container: Container, query: LogQuery) -> AsyncIterator[AsyncIterator[LogItem]]:
        if not container.log:
            raise InvalidArgument(f"container {container.id[:SHORT_ID]} keeps no log", field="log")
        path = self._root / container.log
        async with open_log(
            path.parent,
            path.name,
            query,
            running=lambda: container.alive,
            changed=container.until_ended,
            watcher=self._watcher,
        ) as items:
            yield items

    async def attach(self, ref: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Its streams; see `ardock.interface.Attachment`.

        Raises:
            NotFound: There is no such container.
            NotRunning: It keeps no log and runs already, so its output cannot be had from the start.
        """
        container = self._table.find(ref)
        await container.until_answered()
        attachment = Attachment(container, stdin=stdin, stdout=stdout, stderr=stderr)
        if not container.alive:
            attachment.wait_for_start()
            return attachment
        if not container.log:
            raise NotRunning(
                f"container {container.id[:SHORT_ID]} keeps no log: its output can be had only by attaching before its start"
            )
        program = container.program
        assert program is not None, "it runs"
        await attachment.take_input(program)

        def reading() -> LogReading:
            return self._logs(container, LogQuery(follow=True))

        attachment.follow(self._nursery, reading)
        return attachment

    # --- joining programs ---

    async def exec(self, ref: str, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to a running container.

        Raises:
            NotFound: There is no such container.
            NotRunning: It has ended.
            As `run` for the rest.
        """
        return await self.exec_in(self._table.find(ref), argv)

    async def exec_in(self, container: Container, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """`exec` in a container that is at hand."""
        spec = make_exec_spec(argv)
        program = await self._execs.start(container, spec, image_layers=self._layers(container))
        return RunningProgram(program, container.id, tty=spec.tty, stdin_open=spec.stdin_open, tapped=False)

    async def exec_detached(self, ref: str, argv: Sequence[str] | ExecSpec) -> str:
        """Join a program that nobody waits for; the exec's id.

        Raises:
            As `exec`.
        """
        container = self._table.find(ref)
        program = await self._execs.start(
            container, make_exec_spec(argv), detached=True, image_layers=self._layers(container)
        )
        return program.exec_id or ""

    async def exec_run(
        self,
        ref: str,
        argv: Sequence[str] | ExecSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> RunResult:
        """Join a program, wait for its end, and return its exit code and output.

        Raises:
            As `exec`.
        """
        waiter = Waiter()
        call = self.exec_run_nowait(ref, make_exec_spec(argv), input=input, max_output=max_output, done=waiter.done)
        return await waiter.result(call)

    def exec_run_nowait(
        self,
        ref: str,
        spec: ExecSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = DEFAULT_MAX_OUTPUT,
        request_id: str | None = None,
        done: Done,
    ) -> OneShot:
        """As `exec_run`, without waiting: `done` is called once with the result or the error, now or later."""
        exec_id = None
        try:
            check_max_output(max_output)
            self._requests.check(request_id)
            container = self._table.find(ref)
            if request_id is not None:
                exec_id = execs.id_of_request(container.id, request_id)
                earlier = self._earlier(exec_key(exec_id), done)
                if earlier is not None:
                    return earlier
        except ArdockError as error:
            return self._answered(error, done)
        call = self._execs.run(
            container,
            spec,
            input_data=input,
            max_output=max_output,
            exec_id=exec_id,
            image_layers=self._layers(container),
            done=done,
        )
        if exec_id is not None:
            self._remember(exec_key(exec_id), call)
        return call

    def _earlier(self, key: str, done: Done) -> OneShot | None:
        """The call of this key that is over or under way, with `done` told of its result; None where it is the first."""
        known = self._requests.known(key)
        if known is not None:
            return self._answered(known, done)
        earlier = self._calls.get(key)
        if earlier is not None:
            earlier.also(done)
        return earlier

    def _answered(self, answer: RunResult | ArdockError, done: Done) -> OneShot:
        call = OneShot(self._nursery, _never, 0, done)
        call.finish(answer)
        return call

    async def resize(self, ref: str, rows: int, columns: int, *, exec_id: str | None = None) -> None:
        """Set the size of its terminal, or of that of one of its execs.

        Raises:
            NotFound: There is no such container.
            NotRunning: It, or the exec, does not run.
            InvalidArgument: It has no terminal, or the size is not one.
        """
        container = self._table.find(ref)
        if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise InvalidArgument(f"invalid terminal size {rows}x{columns}", field="tty_size")
        await container.until_answered()
        program = container.program if exec_id is None else container.execs.get(exec_id)
        if program is None or program.over:
            raise NotRunning(f"container {container.id[:SHORT_ID]} is not running")
        if exec_id is None and not container.spec.tty:
            raise InvalidArgument(f"container {container.id[:SHORT_ID]} has no terminal", field="tty")
        await program.connection.resize(program, rows, columns)

    # --- for the engine ---

    def return_to(self, key: str, container: Container, program: Program, max_output: int) -> None:
        """Somebody may come back for the result of an adopted run, under `key`."""
        call = self._adopted_call(key, program, max_output)
        container.on_ended.append(lambda container: call.over(container.id))

    def return_to_exec(self, key: str, container: Container, program: Program, *, told: bool) -> None:
        """Somebody may come back for the result of an adopted exec, under `key`; `told`: its start is in the journal."""
        call = self._adopted_call(key, program, DEFAULT_MAX_OUTPUT)
        self._execs.adopt(container, program, told=told, keep=DEFAULT_MAX_OUTPUT, over=lambda: call.over(container.id))

    def _adopted_call(self, key: str, program: Program, max_output: int) -> OneShot:
        call = OneShot(self._nursery, _never, max_output, lambda _: None)
        call.program = program
        self._remember(key, call)
        return call

    async def end_bound(self) -> None:
        """Kill what ends with this process, and await that."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for container in self._table:
                    if container.bound and container.program is not None:
                        nursery.start_soon(container.program.kill)

    async def _written(self) -> None:
        """Wait until all that has happened is in the journal, for so long as an answer may wait for that."""
        await self._state.until_committed(self._state.assigned, _PATIENCE)


def _never(_: OneShot, __: Connection) -> None:
    raise AssertionError("it is launched already")
