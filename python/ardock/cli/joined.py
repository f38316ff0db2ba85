"""A program that is joined to a running container, in front of a person: `exec`.

It ends with its connection: the engine kills it where its client goes away, so it cannot be resumed at another owner.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ardock.cli import signals
from ardock.cli.errors import CliError, Interrupted
from ardock.cli.front import Front
from ardock.cli.overriding import override
from ardock.client.blocking import Item
from ardock.model.errors import Conflict, ConnectionLost, NotFound, NotRunning
from ardock.protocol.methods import EXEC, KILL, RESIZE, ExecCall, Kill, Resize, Started
from ardock.protocol.session import Bytes

if TYPE_CHECKING:
    from ardock.cli.command import Attached
    from ardock.cli.connection import Connection
    from ardock.client.blocking import Call
    from ardock.model.records import ExitRecord
    from ardock.model.spec import ExecSpec


class JoinedFront(Front):
    """A joined program, and this process in front of it."""

    def __init__(
        self,
        engine: Connection,
        caught: signals.Caught,
        ref: str,
        spec: ExecSpec,
        attached: Attached,
        *,
        detach_keys: bytes | None,
    ) -> None:
        super().__init__(engine, caught, attached, tty=spec.tty, detach_keys=detach_keys)
        self._ref = ref
        self._spec = spec
        self._started: Started | None = None
        self._exec: Call[ExitRecord] | None = None
        self._ignored = 0

    def run(self) -> int:
        """Start it and stay with it to its end; the exit code.

        Raises:
            ArdockError: It cannot be started.
            CliError: The engine's owner ended in the middle; a stream failed.
            Interrupted: A signal that came before it ran.
        """
        self._caught.quiet = True
        # Without a request id: a call with streams cannot be repeated.
        self._exec = self._engine.client.begin(EXEC, ExecCall(ref=self._ref, spec=self._spec))
        self._source = self._exec
        try:
            self._attend()
        finally:
            self._caught.quiet = False
        if self._detached:
            return self.exit_code
        return self.exit_code or self._exec.result().exit_code

    @override
    def _over(self) -> bool:
        return self._exec is not None and self._exec.done and self._written

    @override
    def _take(self) -> bool:
        assert self._exec is not None, "begun"
        items = self._exec.take()
        for item in items:
            self._used(self._exec, item)
            self._input_ended(item)
            if isinstance(item, Bytes):
                self._put(item.channel, item.data)
            elif isinstance(item, Item) and isinstance(item.record, Started):
                self._started = item.record
                self._connect_streams()
        return bool(items)

    @override
    def _lost(self, error: ConnectionLost) -> None:
        raise CliError(
            "the engine's owner ended in the middle of the exec: its streams are lost, and what became of its program is "
            "not known"
        ) from error

    @override
    def _signalled(self, number: int) -> None:
        if self._started is None or number not in signals.ENDING:
            if number in signals.ENDING:
                raise Interrupted(number)
            self._kill(number)
            return
        # It is no PID 1: what it does not handle ends it.
        if signals.is_ignored(self._started.pid, number, is_init=False):
            self._ignored += 1
            if self._ignored > 1 or number == signal.SIGHUP:
                self._kill(signal.SIGKILL)
                return
            again = "press Ctrl-C again" if number == signal.SIGINT else "send it again"
            self._say(f"the program ignores {signals.name_of(number)}: {again} to kill it")
        self._kill(number)

    def _kill(self, number: int) -> None:
        if self._started is None:
            return
        params = self._engine.named(KILL, Kill(ref=self._started.id, signal=number, exec_id=self._started.exec_id))
        self._when_done(self._engine.client.begin(KILL, params), self._unless(NotRunning, NotFound, Conflict))

    @override
    def _resize(self, rows: int, columns: int) -> None:
        if self._started is not None:
            params = Resize(ref=self._started.id, rows=rows, columns=columns, exec_id=self._started.exec_id)
            call = self._engine.client.begin(RESIZE, self._engine.named(RESIZE, params))
            self._when_done(call, self._unless(NotRunning, NotFound, Conflict))

    @override
    def _hang_up(self) -> None:
        self._kill(signal.SIGHUP)

    @override
    def _reader_left(self) -> None:
        self._kill(signal.SIGPIPE)

    @override
    def _stop_for(self, failure: CliError) -> None:
        if self._failure is None:
            self._failure = failure
            self._kill(signal.SIGKILL)
