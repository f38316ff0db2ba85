"""Containers that are thrown away when they end, and programs whose callers get the whole result at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Unpack

from ardock.engine.containers import execs
from ardock.engine.containers.batch import RunMany, Ways
from ardock.engine.containers.container import Container
from ardock.engine.containers.oneshot import Done, OneShot, Waiter
from ardock.engine.containers.starter import Prepared, Starter
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.engine.requests import exec_key, run_key
from ardock.interface import DEFAULT_MAX_OUTPUT
from ardock.model.errors import ArdockError, Cancelled, EngineClosed, InvalidArgument
from ardock.model.making import check_max_output, make_exec_spec, make_spec
from ardock.model.records import RunResult
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec


class ThrowAway(Starter):
    """`run`, `run_many` and `exec_run` of `ardock.interface.Containers`."""

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
        prepared: list[Prepared] = []

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
                        prepared=prepared[0] if prepared else None,
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
        try:
            spec = self._whole(spec)
            takes_time = self._takes_time(spec)
        except ArdockError as error:
            call.finish(error)
            return call
        if takes_time:
            self._nursery.start_soon(self._prepare_call, call, spec, prepared)
        else:
            self._queue(call)
        return call

    async def _prepare_call(self, call: OneShot, spec: ContainerSpec, prepared: list[Prepared]) -> None:
        """Have the volumes and root of `spec` made, then the call launched with what is put into `prepared`."""
        try:
            ready = await self._prepare(spec)
        except ArdockError as error:
            call.finish(error)
            return
        except BaseException:
            call.finish(EngineClosed("the engine is closed"))
            raise
        prepared.append(ready)

        def answered(_: RunResult | ArdockError) -> None:
            # Where it was never launched, nobody else takes those away.
            if ready.holds:
                self._nursery.start_soon(ready.undo)

        call.when_answered(answered)
        self._queue(call)

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

        async def begin_later(spec: ContainerSpec, max_output: int) -> Container:
            async with self._prepared(spec) as prepared:
                connection = await self._slot()
                return self._begin(
                    connection, spec, "run", output="capture", max_output=max_output, bound=True, prepared=prepared
                )

        ways = Ways(self._whole, begin, begin_later, self._takes_time)
        return RunMany(self._pool, ways, self._nursery, specs, max_output=max_output, in_flight=in_flight)

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


def _never(_: OneShot, __: Connection) -> None:
    raise AssertionError("it is launched already")
