"""`Containers` of an engine in another process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Unpack

from ardock.client.batch import BatchCall, RunMany
from ardock.client.calls import Call
from ardock.client.following import follow_log
from ardock.client.remote import Remote, mistaken
from ardock.client.running import Attachment, RunningContainer, RunningProgram
from ardock.client.streams import ChannelCall
from ardock.client.transfers import collect, download
from ardock.interface import DEFAULT_MAX_OUTPUT
from ardock.model.container import ContainerInfo, Created, Filters, Listing, WaitCondition
from ardock.model.errors import InvalidArgument, MalformedRequest
from ardock.model.image import Change, ImageInfo
from ardock.model.logs import LogItem, LogQuery
from ardock.model.making import check_max_output, make_exec_spec, make_spec
from ardock.model.records import ExitRecord, RunResult
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec
from ardock.protocol import image_methods, methods
from ardock.protocol.methods import Method, Outcome, Params
from ardock.protocol.outcomes import to_result
from ardock.protocol.session import MAX_FRAME

# What a message holds, with room for a specification beside it.
_MOST_INPUT: Final = MAX_FRAME - (1 << 20)


class Containers:
    """The containers of one engine, as `ardock.interface.Containers` describes them."""

    def __init__(self, remote: Remote) -> None:
        """Made by `connect` alone."""
        self._remote = remote

    async def run(
        self,
        argv: Sequence[str] | ContainerSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - subprocess.run's name for it
        max_output: int = DEFAULT_MAX_OUTPUT,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Run a container to its end and return its exit code and output. Cancelled, it kills the container."""
        spec = make_spec(argv, options)
        check_max_output(max_output)
        remote = self._remote
        check_input(input)
        try:
            params = methods.Run(spec=spec, input=input, max_output=max_output, request_id=remote.request_id())
            return await self._outcome(methods.RUN, params)
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None

    def run_many(
        self, specs: Iterable[ContainerSpec], *, max_output: int = DEFAULT_MAX_OUTPUT, in_flight: int | None = None
    ) -> RunMany:
        """Run many; one that cannot be started is a result with `error` set and the others go on."""
        check_max_output(max_output)
        if in_flight is not None and in_flight < 1:
            raise InvalidArgument(f"in_flight: must be at least 1, not {in_flight}", field="in_flight")
        params = methods.RunMany(max_output=max_output, in_flight=in_flight)
        return RunMany(BatchCall(self._remote.line, specs, params))

    async def spawn(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start one and return it running, with its streams."""
        spec = make_spec(argv, options)
        try:
            call = ChannelCall(self._remote.line, methods.SPAWN, methods.Spawn(spec=spec))
            await call.until_accepted()
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None
        return RunningContainer(self._remote, call, spec, self.exec)

    async def create(
        self, argv: Sequence[str] | ContainerSpec, *, remove: bool = False, **options: Unpack[ContainerOptions]
    ) -> Created:
        """Make a container without starting it."""
        spec = make_spec(argv, options)
        try:
            return await self._remote.change(methods.CREATE, methods.Create(spec=spec, remove=remove))
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None

    async def start(self, ref: str) -> None:
        """Start a created or ended container."""
        await self._remote.change(methods.START, methods.Ref(ref=ref))

    async def stop(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """Send its stop signal, wait `timeout` seconds (None: the container's own), then SIGKILL."""
        await self._remote.change(methods.STOP, methods.Stop(ref=ref, timeout=timeout, signal=signal))

    async def restart(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """`stop`, then `start`."""
        await self._remote.change(methods.RESTART, methods.Stop(ref=ref, timeout=timeout, signal=signal))

    async def kill(self, ref: str, signal: int | str = "SIGKILL", *, exec_id: str | None = None) -> None:
        """Send a signal to its first program, or to that of one of its execs."""
        await self._remote.change(methods.KILL, methods.Kill(ref=ref, signal=signal, exec_id=exec_id))

    async def rename(self, ref: str, name: str) -> None:
        """Give it another name."""
        await self._remote.change(methods.RENAME, methods.Rename(ref=ref, name=name))

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitRecord:
        """Wait for its end; answered after its removal too, for the engine's retention time."""
        return await self._remote.call(methods.WAIT, methods.Wait(ref=ref, condition=condition))

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and its writable layer and log; `volumes`: its anonymous volumes, too."""
        await self._remote.change(methods.REMOVE, methods.Remove(ref=ref, force=force, volumes=volumes))

    async def inspect(self, ref: str) -> ContainerInfo:
        """All about one."""
        return await self._remote.call(methods.INSPECT, methods.Ref(ref=ref))

    async def list(self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None) -> Listing:  # noqa: A002 - Docker's name
        """Containers, newest first."""
        params = methods.ListContainers(all=all, filters=filters or {}, limit=limit)
        return await self._remote.call(methods.LIST, params)

    def logs(self, ref: str, query: LogQuery | None = None) -> AbstractAsyncContextManager[AsyncIterator[LogItem]]:
        """Its log, in order; goes on where it was when the connection is lost and made anew."""
        return follow_log(self._remote, ref, query or LogQuery())

    async def attach(self, ref: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Its streams. With a terminal, `stdout` is the terminal's output and `stdin` its input."""
        params = methods.Attach(ref=ref, stdin=stdin, stdout=stdout, stderr=stderr)
        call = ChannelCall(self._remote.line, methods.ATTACH, params)
        await call.until_accepted()
        return Attachment(call, stdin=stdin, stdout=stdout, stderr=stderr)

    async def exec(self, ref: str, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to a running container."""
        spec = make_exec_spec(argv)
        try:
            call = ChannelCall(self._remote.line, methods.EXEC, methods.ExecCall(ref=ref, spec=spec))
            await call.until_accepted()
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None
        return RunningProgram(self._remote, call, tty=spec.tty, stdin_open=spec.stdin_open)

    async def exec_detached(self, ref: str, argv: Sequence[str] | ExecSpec) -> str:
        """Join a program that nobody waits for; the exec's id."""
        spec = make_exec_spec(argv)
        try:
            done = await self._remote.change(methods.EXEC_DETACHED, methods.ExecCall(ref=ref, spec=spec))
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None
        return done.exec_id

    async def exec_run(
        self,
        ref: str,
        argv: Sequence[str] | ExecSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> RunResult:
        """Join a program, wait for its end, and return its exit code and output."""
        spec = make_exec_spec(argv)
        check_max_output(max_output)
        check_input(input)
        request_id = self._remote.request_id()
        try:
            params = methods.ExecRun(ref=ref, spec=spec, input=input, max_output=max_output, request_id=request_id)
            return await self._outcome(methods.EXEC_RUN, params)
        except (MalformedRequest, TypeError, ValueError, OverflowError) as error:
            raise mistaken(spec, error) from None

    async def resize(self, ref: str, rows: int, columns: int, *, exec_id: str | None = None) -> None:
        """Set the size of its terminal, or of that of one of its execs."""
        await self._remote.change(methods.RESIZE, methods.Resize(ref=ref, rows=rows, columns=columns, exec_id=exec_id))

    async def commit(
        self,
        ref: str,
        name: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> ImageInfo:
        """Make an image of what a container has written, on top of its own."""
        params = image_methods.Commit(
            ref=ref, name=name, author=author, message=message, changes=tuple(changes), pause=pause
        )
        return await self._remote.change(image_methods.COMMIT, params)

    async def diff(self, ref: str) -> Sequence[Change]:
        """How its root differs from what it stands on, in the order of the paths."""
        return await collect(self._remote, image_methods.DIFF, image_methods.ContainerRef(ref=ref), Change)

    def export(self, ref: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its root file system as a tar, in pieces; without what is mounted in it."""
        return download(self._remote, image_methods.EXPORT, image_methods.ContainerRef(ref=ref))

    async def _outcome(self, method: Method[Outcome], params: Params) -> RunResult:
        remote = self._remote
        call = Call(method, params)
        await remote.finish(call)
        outcome = remote.decode(method, call.result)
        if outcome.streamed:
            return to_result(outcome, stdout=call.channel(1), stderr=call.channel(2))
        return to_result(outcome)


def check_input(data: bytes | None) -> None:
    """Refuse what does not travel in one message.

    Raises:
        InvalidArgument: It is longer.
    """
    if data is not None and len(data) > _MOST_INPUT:
        raise InvalidArgument(
            f"input: {len(data)} bytes are more than {_MOST_INPUT}, which a call takes: "
            "use spawn (or exec) with stdin_open, whose standard input is a stream",
            field="input",
        )
