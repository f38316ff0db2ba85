"""A container in front of a person: `run`, `start -a` and `attach`, from its start to its exit code.

The streams are those of `containers.attach`. When the engine's owner ends in the middle, the container goes on: its exit code
is awaited at the next owner, and its output is resumed from its log, exactly: as many bytes of each stream as were seen are
left out.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

from ardock.cli import detach, signals
from ardock.cli.command import Attached
from ardock.cli.connection import connected
from ardock.cli.errors import TIMED_OUT, CliError, Interrupted
from ardock.cli.front import STDERR, STDOUT, Front
from ardock.cli.overriding import override
from ardock.client.blocking import Item
from ardock.model.errors import ArdockError, Conflict, ConnectionLost, InvalidArgument, NotFound, NotRunning
from ardock.model.logs import LogGap, LogQuery, LogRecord
from ardock.protocol.methods import (
    ATTACH,
    INSPECT,
    KILL,
    LOGS,
    RESIZE,
    START,
    STOP,
    WAIT,
    Attach,
    Kill,
    Logs,
    Missed,
    Ref,
    Resize,
    Stop,
    Wait,
)
from ardock.protocol.methods import Attached as AttachedTo
from ardock.protocol.session import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ardock.cli.command import Settings
    from ardock.cli.connection import Connection
    from ardock.client.blocking import Call
    from ardock.model.container import ContainerInfo, WaitCondition
    from ardock.model.records import ExitRecord
    from ardock.model.spec import ContainerSpec
    from ardock.protocol.methods import Nothing

# How long a program gets to act on SIGPIPE where nobody reads our output any more, seconds.
_PIPE_GRACE: Final = 1.0

# What was written before the exit has come by then, seconds after it; what a process left behind writes is in the log.
_LAST_OUTPUT: Final = 2.0

_GONE: Final = (NotRunning, NotFound, Conflict)


class ContainerFront(Front):
    """A container, and this process in front of it.

    Args:
        engine: The connection.
        caught: Our signals.
        ref: The container.
        attached: Which streams are connected.
        tty: It has a terminal.
        start: Start it, once its streams are connected; else it runs already.
        started: Called when it runs.
        sig_proxy: Pass signals on to it; else one that asks us to end raises Interrupted.
        timeout: Seconds after which it is stopped; None never.
        is_init: Its first program is PID 1 of a pid namespace of its own.
        stop_words: What stopping it means (`stop_words`).
        detach_keys: The keys that detach from its terminal; None has none.
        kill_for_reader: Kill it where nobody reads our output any more; else only go.
    """

    def __init__(
        self,
        engine: Connection,
        caught: signals.Caught,
        ref: str,
        attached: Attached,
        *,
        tty: bool,
        start: bool,
        started: Callable[[], None] | None = None,
        sig_proxy: bool = True,
        timeout: float | None = None,
        is_init: bool = True,
        stop_words: str = "",
        detach_keys: bytes | None = None,
        kill_for_reader: bool = True,
    ) -> None:
        super().__init__(engine, caught, attached, tty=tty, detach_keys=detach_keys)
        self._ref = ref
        self._to_start = engine.named(START, Ref(ref=ref)) if start else None
        self._on_start = started
        self._sig_proxy = sig_proxy
        self._timeout = timeout
        self._is_init = is_init
        self._stop_words = stop_words
        self._kill_for_reader = kill_for_reader
        self._runs = False
        self._early: list[int] = []
        self._record: ExitRecord | None = None
        self._escalation = signals.Escalation()
        self._attach: Call[Nothing] | None = None
        self._log: Call[Nothing] | None = None
        # Bytes of each stream that have come, and how many of them are to be left out of what comes of the log.
        self._seen = {STDOUT: 0, STDERR: 0}
        self._skip = {STDOUT: 0, STDERR: 0}
        self._skip_to: int | None = None
        self._resumed = False
        self._last_output_over = False

    def run(self) -> int:
        """Stay with it to its end; the exit code.

        Raises:
            ArdockError: It cannot be attached to or started.
            CliError: Its streams failed, and it was ended; or its keeper died with it.
            Interrupted: A signal that is not for it.
        """
        # From here on the loop reads them.
        self._caught.quiet = True
        try:
            self._begin()
            self._attend()
        except ConnectionLost as error:
            raise CliError(error.message) from error
        finally:
            self._caught.quiet = False
        if self._detached:
            return self.exit_code
        record = self._record
        assert record is not None, "it is over"
        if record.reason == "lost":
            raise CliError("keeper died: the container ended with it, and its exit code is not known", record.exit_code)
        if record.oom_killed:
            self._say("the kernel killed a process of the container for want of memory: see -m, --memory")
        return self.exit_code or record.exit_code

    # Beginning.

    def _begin(self) -> None:
        """Attach; once that is done, `_take` starts it: what it writes first is not missed then."""
        stdin, stdout, stderr = self._attached
        self._attach = self._engine.client.begin(
            ATTACH, Attach(ref=self._ref, stdin=stdin, stdout=stdout, stderr=stderr)
        )
        self._source = self._attach
        self._when_done(self._attach, self._unless())

    def _on_attached(self, what: AttachedTo) -> None:
        self._tty = what.tty
        client = self._engine.client
        if self._to_start is None:
            self._wait("not-running")
            self._on_running()
            return
        # Before it can write: whoever answers its first prompt would else type into a terminal that takes Ctrl-D for itself.
        self._make_raw()
        self._when_done(client.begin(START, self._to_start), self._on_started)
        if not self._resumed:
            # In the same write. A start that is repeated may be over by now, with its end.
            self._wait("next-exit")

    def _on_started(self, call: Call[Nothing]) -> None:
        try:
            call.result()
        except Conflict:
            # It runs already: by our first request, whose owner was killed before it had written that down.
            if not self._resumed:
                raise
        if self._resumed:
            self._wait("not-running")
        self._on_running()

    def _on_running(self) -> None:
        if self._runs:
            return
        self._runs = True
        if self._to_start is not None and self._on_start is not None:
            self._on_start()
        if self._to_start is not None and self._timeout is not None:
            self._after(self._timeout, self._on_timeout)
        self._connect_streams()
        early, self._early = self._early, []
        for number in early:
            self._signalled(number)

    # The end.

    def _wait(self, condition: WaitCondition) -> None:
        self._when_done(self._engine.client.begin(WAIT, Wait(ref=self._ref, condition=condition)), self._on_exit)

    def _on_timeout(self) -> None:
        if self._record is None:
            self._say(f"the container ran into its --timeout of {self._timeout:g} seconds and is stopped")
            self.exit_code = TIMED_OUT
            self._stop()

    def _on_exit(self, call: Call[ExitRecord]) -> None:
        self._record = call.result()
        self._after(_LAST_OUTPUT, self._end_output)

    def _end_output(self) -> None:
        if self._written:
            self._last_output_over = True
        else:
            self._after(_LAST_OUTPUT, self._end_output)

    @override
    def _over(self) -> bool:
        source = self._log or self._attach
        drained = self._last_output_over or source is None or source.done
        return self._record is not None and drained and self._written

    # Output.

    @override
    def _take(self) -> bool:
        took = False
        if self._attach is not None:
            for item in self._attach.take():
                took = True
                self._used(self._attach, item)
                self._input_ended(item)
                if isinstance(item, Bytes):
                    self._came(item.channel, item.data)
                elif isinstance(item, Item) and isinstance(item.record, AttachedTo):
                    self._on_attached(item.record)
                elif isinstance(item, Item) and isinstance(item.record, Missed):
                    self._say(
                        f"{item.record.total} bytes of output are missing in all: its log was rotated before they were read"
                    )
        if self._log is not None:
            for item in self._log.take():
                took = True
                self._used(self._log, item)
                if isinstance(item, Item) and isinstance(item.record, LogRecord):
                    self._logged(item.record)
                elif isinstance(item, Item) and isinstance(item.record, LogGap):
                    self._log_gap(item.record)
        return took

    def _came(self, channel: int, data: bytes) -> None:
        if channel in self._seen:
            self._seen[channel] += len(data)
            self._put(channel, data)

    def _logged(self, record: LogRecord) -> None:
        """Leave out what was seen before the connection was lost."""
        channel = STDOUT if record.stream == "stdout" else STDERR
        if self._skip_to is not None:
            new = min(len(record.data), max(0, record.cursor - self._skip_to))
        else:
            new = len(record.data) - min(len(record.data), self._skip[channel])
            self._skip[channel] -= len(record.data) - new
        if new:
            self._came(channel, record.data[-new:])

    def _log_gap(self, gap: LogGap) -> None:
        """The beginning of the log has gone: of what is left, only its place in the whole says what was seen."""
        self._skip_to = sum(self._seen.values())
        missing = gap.cursor - self._skip_to
        if missing > 0:
            self._say(f"{missing} bytes of output are missing: the log was rotated before they were read")

    # Another owner.

    @override
    def _lost(self, error: ConnectionLost) -> None:  # noqa: ARG002 - one that goes on needs no reason
        self._caught.quiet = False  # To reconnect may take a while, and nobody reads signals meanwhile.
        self._engine.reconnect()
        self._caught.quiet = True
        self._resumed = True
        self._attach = self._log = self._source = None
        if not (self._runs or any(self._seen.values())):
            self._begin()
            return
        self._on_running()  # Where the start was not answered: it writes.
        client = self._engine.client
        if self._record is None:
            self._wait("not-running")
        if self._attached.stdout or self._attached.stderr:
            self._skip, self._skip_to = dict(self._seen), None
            self._log = client.begin(LOGS, Logs(ref=self._ref, query=LogQuery(follow=True)))
            self._when_done(self._log, self._on_log_end)
        if self._input is not None and not self._input.ended:
            self._attach = client.begin(ATTACH, Attach(ref=self._ref, stdin=True, stdout=False, stderr=False))
            self._source = self._attach
            self._when_done(self._attach, self._unless(ArdockError))  # It may have ended, or have no input any more.

    def _on_log_end(self, call: Call[Nothing]) -> None:
        try:
            call.result()
        except (NotFound, InvalidArgument) as error:
            self._say(
                f"the engine's owner has ended, and what the container wrote since cannot be shown: {error.message}"
            )

    # Signals.

    @override
    def _signalled(self, number: int) -> None:
        if not self._sig_proxy or self._record is not None:
            # It is not for the container, or that has ended: it is for us.
            if number in signals.ENDING:
                raise Interrupted(number)
        elif self._runs:
            if number in signals.ENDING:
                self._with_pid(lambda pid: self._pass_on(number, pid))
            else:
                self._kill(number)
        elif number in signals.ENDING and not signals.ENDING.isdisjoint(self._early):
            # A start that takes so long that somebody asks twice.
            raise Interrupted(number)
        else:
            # Its start is under way: the program may run by now, and its output be seen, before that is answered.
            self._early.append(number)

    def _with_pid(self, act: Callable[[int], None]) -> None:
        """Call `act` with the process id of the container's first program, if it still runs."""

        def react(call: Call[ContainerInfo]) -> None:
            try:
                pid = call.result().pid
            except NotFound:
                return
            if pid:
                act(pid)

        self._when_done(self._engine.client.begin(INSPECT, Ref(ref=self._ref)), react)

    def _pass_on(self, number: int, pid: int) -> None:
        ignored = signals.is_ignored(pid, number, is_init=self._is_init)
        again = "press Ctrl-C again" if number == signal.SIGINT else "send it again"
        match self._escalation.react(number, ignored=ignored):
            case signals.Reaction.FORWARD:
                self._kill(number)
            case signals.Reaction.EXPLAIN:
                self._say(
                    f"the program ignores {signals.name_of(number)} (it has no handler for it, and is PID 1): "
                    f"{again} to stop it, and a third time to kill it"
                )
                self._kill(number)
            case signals.Reaction.STOP:
                self._say(f"stopping the container ({self._stop_words}): {again} to kill it now")
                self._stop()
            case signals.Reaction.KILL:
                self._kill(signal.SIGKILL)

    def _kill(self, number: int) -> None:
        call = self._engine.client.begin(KILL, self._engine.named(KILL, Kill(ref=self._ref, signal=number)))
        self._when_done(call, self._unless(*_GONE))

    def _stop(self) -> None:
        call = self._engine.client.begin(STOP, self._engine.named(STOP, Stop(ref=self._ref)))
        self._when_done(call, self._unless(*_GONE))

    @override
    def _resize(self, rows: int, columns: int) -> None:
        params = self._engine.named(RESIZE, Resize(ref=self._ref, rows=rows, columns=columns))
        self._when_done(self._engine.client.begin(RESIZE, params), self._unless(*_GONE))

    @override
    def _hang_up(self) -> None:
        self._signalled(signal.SIGHUP)

    @override
    def _reader_left(self) -> None:
        if not self._kill_for_reader:
            self._detached = True
        elif self._record is None:
            # What a program of a pipeline would get now is SIGPIPE; as the first process of its namespace it ignores
            # that, so it is ended.
            self._with_pid(self._break_pipe)

    def _break_pipe(self, pid: int) -> None:
        self._kill(signal.SIGPIPE)
        if signals.is_ignored(pid, signal.SIGPIPE, is_init=self._is_init):
            self._kill(signal.SIGKILL)
        else:
            self._after(_PIPE_GRACE, lambda: self._kill(signal.SIGKILL))

    @override
    def _stop_for(self, failure: CliError) -> None:
        if self._failure is None:
            self._failure = failure
            if not self._kill_for_reader:
                self._detached = True
            elif self._record is None:
                self._kill(signal.SIGKILL)


def start_attached(
    settings: Settings,
    ref: str,
    *,
    stdin: bool,
    output: bool = True,
    sig_proxy: bool = True,
    detach_keys: str | None = None,
) -> int:
    """`start -a`, `start -i`: start a container with its streams connected, and stay with it; the exit code."""
    with signals.Caught(proxy=sig_proxy) as caught, connected(settings) as engine:
        info = engine.call(INSPECT, Ref(ref=ref))
        front = _front(
            engine,
            caught,
            info,
            Attached(stdin and info.spec.stdin_open, output, output),
            start=info.status not in {"starting", "running", "paused"},
            sig_proxy=sig_proxy,
            detach_keys=detach_keys,
        )
        return front.run()


def attach(settings: Settings, ref: str, *, stdin: bool, sig_proxy: bool = True, detach_keys: str | None = None) -> int:
    """`attach`: connect to a running container's streams, and stay with it; the exit code."""
    with signals.Caught(proxy=sig_proxy) as caught, connected(settings) as engine:
        info = engine.call(INSPECT, Ref(ref=ref))
        if info.status == "paused":
            raise CliError("cannot attach to a paused container, unpause it first", 1)
        if info.status not in {"running", "starting", "restarting"}:
            raise CliError("cannot attach to a stopped container, start it first", 1)
        front = _front(
            engine,
            caught,
            info,
            Attached(stdin and info.spec.stdin_open, True, True),
            start=False,
            sig_proxy=sig_proxy,
            detach_keys=detach_keys,
        )
        return front.run()


def _front(
    engine: Connection,
    caught: signals.Caught,
    info: ContainerInfo,
    attached: Attached,
    *,
    start: bool,
    sig_proxy: bool,
    detach_keys: str | None,
) -> ContainerFront:
    """Of a container that was there before this command: going away leaves it as it is."""
    return ContainerFront(
        engine,
        caught,
        info.id,
        attached,
        tty=info.spec.tty,
        start=start,
        # Keys of a terminal come as bytes; a signal is for us then, as with docker.
        sig_proxy=sig_proxy and not info.spec.tty,
        is_init=info.spec.pid == "private",
        stop_words=stop_words(info.spec),
        detach_keys=detach.parse(detach_keys or ""),
        kill_for_reader=False,
    )


def stop_words(spec: ContainerSpec) -> str:
    """What stopping the container means."""
    return f"{spec.stop_signal or 'SIGTERM'}, then SIGKILL after {spec.stop_timeout:g} seconds"
