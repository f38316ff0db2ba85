"""`containers.run` and `containers.exec_run`: no task from the request to the answer, unless the output is long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from msgspec import structs

from ardock.model.errors import ArdockError, DeadlineExceeded
from ardock.model.records import RunResult
from ardock.protocol.errors import to_info
from ardock.protocol.methods import EXEC_RUN, INLINE_OUTPUT, RUN, ExecRun, Outcome, Params, Run
from ardock.protocol.outcomes import from_result
from ardock.server.call import Call, TaskCall, encode
from ardock.server.served import Done, Handle

if TYPE_CHECKING:
    from ardock.server.connection import Connection


class OneShot(Call):
    """A run or exec whose whole result is the answer."""

    __slots__ = ("_alarm", "_answered", "_handle", "_may_return")

    def __init__(self, connection: Connection, number: int, method: str, params: Params) -> None:
        """Taken; `begin` begins it."""
        super().__init__(connection, number, method)
        self._may_return = params.request_id is not None
        self._handle: Handle | None = None
        self._answered = False
        self._alarm: trio.CancelScope | None = None
        if params.deadline is not None:
            self._alarm = trio.CancelScope()
            connection.server.nursery.start_soon(self._ring, self._alarm, params.deadline)

    def begin(self, begin: Callable[[Done], Handle]) -> None:
        """Have the engine begin it; it tells `done` of the end, perhaps at once."""
        self.connection.take(self)
        handle = begin(self._done)
        if not self._answered:
            self._handle = handle

    async def _ring(self, alarm: trio.CancelScope, deadline: float) -> None:
        with alarm:
            await trio.sleep(deadline)
            self.cancel(DeadlineExceeded(f"{self.method}: its deadline passed"))

    def _done(self, answer: RunResult | ArdockError) -> None:
        """The engine's answer. A call that was cancelled is told its result where that was there before."""
        self._answered = True
        self._handle = None
        if self._alarm is not None:
            self._alarm.cancel()
        if isinstance(answer, ArdockError):
            self.fail(self.cancelled or answer)
            return
        if len(answer.stdout) + len(answer.stderr) <= INLINE_OUTPUT:
            self.reply(encode(from_result(answer)))
        elif self.connection.calls.get(self.id) is self:
            stream = _LongOutput(self.connection, self.id, self.method, answer)
            self.connection.take(stream)
            stream.start()

    def cancel(self, reason: ArdockError) -> None:
        """Have it killed; its answer comes when it has ended."""
        if self.cancelled is None:
            self.cancelled = reason
        if self._handle is not None:
            self._handle.cancel()

    def gone(self) -> None:
        """Have it killed, unless its client comes back in time."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._handle is not None:
            self._handle.abandon(may_return=self._may_return)


class _LongOutput(TaskCall):
    """The answer to a run whose output is too long to be in it: the output at the client's pace, then the rest."""

    __slots__ = ("_result",)

    def __init__(self, connection: Connection, number: int, method: str, result: RunResult) -> None:
        super().__init__(connection, number, method)
        self._result = result

    async def work(self) -> bytes:
        return encode(await send_output(self, self._result))


async def send_output(call: TaskCall, result: RunResult) -> Outcome:
    """Send the output of a result where it is long; what is then to be sent of it."""
    outcome = from_result(result, None if result.error is None else to_info(result.error))
    if len(outcome.stdout) + len(outcome.stderr) <= INLINE_OUTPUT:
        return outcome
    await call.send_bytes(1, outcome.stdout)
    await call.send_bytes(2, outcome.stderr)
    return structs.replace(outcome, stdout=b"", stderr=b"", streamed=True)


def begin_run(connection: Connection, number: int, params: Run) -> None:
    """`containers.run`."""
    call = OneShot(connection, number, RUN.name, params)
    run = connection.server.engine.containers.run_nowait
    call.begin(
        lambda done: run(
            params.spec, input=params.input, max_output=params.max_output, request_id=params.request_id, done=done
        )
    )


def begin_exec_run(connection: Connection, number: int, params: ExecRun) -> None:
    """`containers.exec_run`."""
    call = OneShot(connection, number, EXEC_RUN.name, params)
    run = connection.server.engine.containers.exec_run_nowait
    call.begin(
        lambda done: run(
            params.ref,
            params.spec,
            input=params.input,
            max_output=params.max_output,
            request_id=params.request_id,
            done=done,
        )
    )
