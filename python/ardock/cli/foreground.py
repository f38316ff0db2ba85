"""A container in the foreground: its streams, its signals, its end.

The engine lives in this process. Where another one owns the root folder (a
second `ardock run`, a program that embeds the engine), the container gets an
engine with a folder of its own beneath it, so any number of commands run side
by side; what one that was killed left behind is ended by the next one that
takes the same folder.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ardock.cli import signals, streams, terminal
from ardock.cli.errors import TIMED_OUT, CliError, printable
from ardock.cli.files import IdFile
from ardock.cli.run_spec import in_flags
from ardock.engine import open_engine
from ardock.model.errors import ArdockError, EngineLocked, InvalidArgument, NotFound, NotRunning

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.run_spec import RunRequest
    from ardock.engine import Engine, RunningContainer
    from ardock.model.records import ExitRecord

# More commands at a time than a machine has process ids for.
_MOST_FOLDERS = 32768

# How long a program gets to act on SIGPIPE where nobody reads our output any more.
_PIPE_GRACE = 1.0


def run_in_foreground(settings: Settings, request: RunRequest) -> int:
    """Run the container to its end; the exit code."""
    _refuse_daemon(settings.host)
    try:
        return trio.run(_run, settings, request)
    except* (InvalidArgument, NotFound) as group:
        error = _first(group)
        raise CliError(in_flags(str(error)), error.exit_code) from group


def _refuse_daemon(host: str) -> None:
    """Where a daemon answers, the container would be its business: it is not run past it."""
    path = host.removeprefix("unix://")
    if not os.path.exists(path):  # noqa: PTH110 - the common case: nobody is there
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        raise CliError(f"-H, --host {host}: somebody answers there, and daemons are not supported yet: name another")


def _first(group: BaseExceptionGroup[ArdockError]) -> ArdockError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ArdockError)
    return error


async def _run(settings: Settings, request: RunRequest) -> int:
    numbers = list(signals.PROXIED if request.sig_proxy else signals.ENDING)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # nohup ardock run ...
    with trio.open_signal_receiver(*numbers, signal.SIGWINCH) as received:
        async with trio.open_nursery() as nursery:
            foreground = Foreground(request, nursery)
            nursery.start_soon(foreground.attend_signals, received)
            await foreground.run(settings)
            nursery.cancel_scope.cancel()
    return foreground.exit_code


@asynccontextmanager
async def _own_engine(settings: Settings) -> AsyncIterator[Engine]:
    """An engine on the root folder, or on the first folder beneath it that nobody owns."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(_MOST_FOLDERS):
            root = os.path.join(settings.root, "runs", str(number)) if number else settings.root  # noqa: PTH118
            try:
                engine = await stack.enter_async_context(open_engine(root, settings.run_dir))
            except EngineLocked:
                continue
            yield engine
            return
        raise CliError(f"no free folder beneath {settings.root}/runs: too many ardock commands run at once")


class Foreground:
    """One container, and this process in front of it."""

    def __init__(self, request: RunRequest, nursery: trio.Nursery) -> None:
        self.exit_code = 0
        self._request = request
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._container: RunningContainer | None = None
        self._escalation = signals.Escalation()
        self._raw: terminal.Raw | None = None

    async def run(self, settings: Settings) -> None:
        """Start the container and stay with it to its end."""
        spec = self._request.spec
        with _id_file(self._request.cidfile) as id_file:
            async with _own_engine(settings) as engine:
                self._tell_adopted(engine)
                size = self._window_size() if spec.tty else (0, 0)
                with self._scope:
                    async with await engine.containers.start(spec, tty_size=size) as container:
                        if id_file is not None:
                            id_file.write(container.id)
                        self._container = container
                        gc.enable()  # From here on there is time, and perhaps days of it.
                        if self._window_size() != size:
                            await self._resize()
                        await self._attend(container)

    async def _attend(self, container: RunningContainer) -> None:
        """Connect the streams, await the end, and let what was written before it through."""
        waken, wake = os.pipe()
        try:
            with self._raw_terminal():
                async with trio.open_nursery() as nursery:
                    self._connect(container, nursery, waken)
                    try:
                        record = await self._await_end(container)
                    finally:
                        # Closing it wakes every copy: input ends, output drains.
                        os.close(wake)
        finally:
            os.close(waken)
        if record.oom_killed:
            self._say("the kernel killed a process of the container for want of memory: see -m, --memory")

    async def _await_end(self, container: RunningContainer) -> ExitRecord:
        timeout = self._request.timeout
        with trio.move_on_after(float("inf") if timeout is None else timeout) as scope:
            record = await container.wait()
        if scope.cancelled_caught:
            self._say(f"the container ran into its --timeout of {timeout:g} seconds and is stopped")
            record = await container.stop()
            self.exit_code = TIMED_OUT
        elif self.exit_code == 0:
            self.exit_code = record.exit_code
        return record

    # Streams.

    def _connect(self, container: RunningContainer, nursery: trio.Nursery, waken: int) -> None:
        attached = self._request.attached
        if container.terminal is not None:
            outer = container.terminal.fileno()
            if attached.stdin:
                nursery.start_soon(self._copy_input, container, outer, waken)
            nursery.start_soon(self._copy_output, container, outer, 1, waken)
            return
        if container.stdin is not None and attached.stdin:
            nursery.start_soon(self._copy_input, container, container.stdin.fileno(), waken)
        if container.stdout is not None:
            nursery.start_soon(
                self._copy_output, container, container.stdout.fileno(), 1 if attached.stdout else -1, waken
            )
        if container.stderr is not None:
            nursery.start_soon(
                self._copy_output, container, container.stderr.fileno(), 2 if attached.stderr else -1, waken
            )

    async def _copy_input(self, container: RunningContainer, sink: int, waken: int) -> None:
        try:
            ended = await _in_thread(0, sink, waken, drain=False)
        except OSError as error:  # A directory, for example.
            raise CliError(f"cannot read standard input for the container: {error.strerror}") from error
        if ended is streams.Ended.WOKEN:
            return
        if container.stdin is not None:
            await container.stdin.aclose()
        elif ended is streams.Ended.SOURCE:
            # Our terminal is gone (in raw mode no key can end the input), and so the container's hangs up.
            await self._pass_on(container, signal.SIGHUP)

    async def _copy_output(self, container: RunningContainer, source: int, sink: int, waken: int) -> None:
        if sink < 0:  # Not attached: read all the same, or the program would wait for a reader.
            with open(os.devnull, "wb", buffering=0) as nothing:  # noqa: ASYNC230, PTH123 - it never blocks
                await _in_thread(source, nothing.fileno(), waken, drain=True)
            return
        try:
            ended = await _in_thread(source, sink, waken, drain=True)
        except OSError as error:  # A full disk, for example.
            stream = {1: "output", 2: "error"}[sink]
            raise CliError(f"cannot write the container's output to standard {stream}: {error.strerror}") from error
        if ended is not streams.Ended.SINK or container.exit is not None:
            return
        # Nobody reads our output any more. What a program of a pipeline would get now is SIGPIPE; as the first
        # process of its namespace it ignores that, so it is ended. Quietly: `| head` is no error.
        self.exit_code = 128 + signal.SIGPIPE
        with contextlib.suppress(NotRunning):
            await container.kill(signal.SIGPIPE)
            if not signals.is_ignored(container.pid, signal.SIGPIPE, is_init=self._is_init):
                with trio.move_on_after(_PIPE_GRACE):
                    await container.wait()
            await container.kill()

    # The terminal.

    def _window_size(self) -> tuple[int, int]:
        """Of the terminal that output goes to, or else of the one that keys come from."""
        size = terminal.window_size(1)
        return size if size != (0, 0) else terminal.window_size(0)

    @contextlib.contextmanager
    def _raw_terminal(self) -> Iterator[None]:
        if not (self._request.spec.tty and self._request.attached.stdin):
            yield
            return
        with terminal.Raw(0) as self._raw:
            yield
        self._raw = None

    # Signals.

    @property
    def _is_init(self) -> bool:
        return self._request.spec.pid == "private"

    async def attend_signals(self, received: AsyncIterator[int]) -> None:
        """React to this process's signals for as long as it lives."""
        async for number in received:
            if number == signal.SIGWINCH:
                await self._resize()
            elif self._container is None or self._container.exit is not None or not self._request.sig_proxy:
                # Nothing runs (yet, or any more), or it is not for the container: it is for us.
                if number in signals.ENDING:
                    self._give_up(number)
            else:
                await self._pass_on(self._container, number)

    def _give_up(self, number: int) -> None:
        """End: kill the container, and close the engine in good order; by a second signal at once."""
        self.exit_code = 128 + number
        (self._nursery.cancel_scope if self._scope.cancel_called else self._scope).cancel()

    async def _resize(self) -> None:
        container = self._container
        size = self._window_size()
        if container is None or container.terminal is None or size == (0, 0):
            return
        with contextlib.suppress(NotRunning):
            await container.resize(*size)

    async def _pass_on(self, container: RunningContainer, number: int) -> None:
        ignored = signals.is_ignored(container.pid, number, is_init=self._is_init)
        reaction = self._escalation.react(number, ignored=ignored)
        again = "press Ctrl-C again" if number == signal.SIGINT else "send it again"
        spec = self._request.spec
        with contextlib.suppress(NotRunning):
            match reaction:
                case signals.Reaction.FORWARD:
                    await container.kill(number)
                case signals.Reaction.EXPLAIN:
                    self._say(
                        f"the program ignores {signals.name_of(number)} (it has no handler for it, and is PID 1): "
                        f"{again} to stop it, and a third time to kill it"
                    )
                    await container.kill(number)
                case signals.Reaction.STOP:
                    self._say(
                        f"stopping the container ({spec.stop_signal}, then SIGKILL after {spec.stop_timeout:g} seconds): "
                        f"{again} to kill it now"
                    )
                    self._nursery.start_soon(container.stop)
                case signals.Reaction.KILL:
                    await container.kill(signal.SIGKILL)

    # Words for the person in front of it.

    def _tell_adopted(self, engine: Engine) -> None:
        for left in engine.adopted:
            if left.outcome == "killed":
                command = left.argv[0] if left.argv else "?"
                self._say(
                    f"ended a container that an ardock which was killed had left behind: {left.id[:12]} ({command})"
                )

    def _say(self, sentence: str) -> None:
        """One line on stderr; a raw terminal needs the carriage return, too."""
        streams.write_line(2, f"ardock: {printable(sentence)}" + ("\r\n" if self._raw is not None else "\n"))


@contextlib.contextmanager
def _id_file(path: str | None) -> Iterator[IdFile | None]:
    if path is None:
        yield None
        return
    with contextlib.closing(IdFile(path)) as id_file:
        yield id_file


async def _in_thread(source: int, sink: int, waken: int, *, drain: bool) -> streams.Ended:
    """`streams.copy` in a thread of its own, on descriptors of its own.

    Where this task is cancelled, the thread may sit in a write to a reader that
    never reads. It is left behind then, and must not wake to find another file
    under its descriptors' numbers.
    """
    descriptors = [os.dup(descriptor) for descriptor in (source, sink, waken)]

    def run() -> streams.Ended:
        try:
            return streams.copy(*descriptors, drain=drain)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    return await trio.to_thread.run_sync(run, abandon_on_cancel=True)
