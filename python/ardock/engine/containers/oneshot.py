"""Programs whose callers get the whole result at once: no task for any of them, from the request to the answer."""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio.lowlevel import Abort, Task, checkpoint, current_task, reschedule, wait_task_rescheduled

from ardock.engine.containers.results import complete, run_result, whole
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.program import Program
from ardock.model.errors import ArdockError, Cancelled
from ardock.model.records import RunResult

Done = Callable[[RunResult | ArdockError], None]
# Seconds for a caller whose connection broke to come back with its request id.
GRACE = 30.0


class OneShot:
    """One `run` or `exec_run`: queued for a launch slot, then launching or running, then answered.

    Attributes:
        program: What it started; None before.
        cancelled: Its caller does not want the result any more.
    """

    __slots__ = (
        "_callbacks",
        "_callers",
        "_launch",
        "_max_output",
        "_nursery",
        "_queued_on",
        "_returned",
        "answer",
        "cancelled",
        "program",
    )

    def __init__(
        self, nursery: trio.Nursery, launch: Callable[[OneShot, Connection], None], max_output: int, done: Done
    ) -> None:
        """About to be launched.

        Args:
            nursery: For what takes a task after all.
            launch: Called with a connection of which a slot is held, which it uses or gives back.
            max_output: Bytes captured of each stream.
            done: Called once with the result or the error.
        """
        self.program: Program | None = None
        self.cancelled = False
        self.answer: RunResult | ArdockError | None = None
        self._nursery = nursery
        self._launch = launch
        self._max_output = max_output
        self._callbacks = [done]
        self._queued_on: Connection | None = None
        # Callers who have not gone, and how often one came back.
        self._callers = 1
        self._returned = 0

    def also(self, done: Done) -> None:
        """One more who waits for the result: a caller who came back."""
        self._callers += 1
        self._returned += 1
        self.when_answered(done)

    def when_answered(self, done: Done) -> None:
        """Call `done` with the answer, now or later."""
        if self.answer is not None:
            done(self.answer)
        else:
            self._callbacks.append(done)

    # --- launching ---

    def queue(self, connection: Connection) -> None:
        """Launch on `connection` as soon as it has a slot."""
        if connection.try_slot():
            self._launch(self, connection)
        else:
            self._queued_on = connection
            connection.when_slot(self._granted)

    def _granted(self) -> None:
        connection, self._queued_on = self._queued_on, None
        assert connection is not None, "it was queued there"
        self._launch(self, connection)

    # --- ending ---

    def finish(self, answer: RunResult | ArdockError) -> None:
        """The end: tell whoever waits."""
        if self.answer is None:
            self.answer = answer
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback(answer)

    def over(self, container_id: str) -> None:
        """Its program is over: called where that is known."""
        program = self.program
        assert program is not None, "it was launched"
        if program.error is not None:
            self.finish(Cancelled("the call was cancelled") if self.cancelled else program.error)
            return
        end = program.exit
        assert end is not None, "over without an error"
        if self.cancelled:
            self.finish(Cancelled("the call was cancelled"))
        elif whole(end, self._max_output):
            self.finish(run_result(program, container_id, end, self._max_output))
        else:
            # The keeper must not forget it before all of it is here.
            program.holds += 1
            self._nursery.start_soon(self._complete, program, container_id)

    async def _complete(self, program: Program, container_id: str) -> None:
        end = program.exit
        assert end is not None, "over"
        try:
            output = await complete(program, end, self._max_output)
        except ArdockError as error:
            self.finish(error)
            return
        program.let_go()
        self.finish(run_result(program, container_id, end, self._max_output, output=output))

    def cancel(self) -> None:
        """Kill it; the answer is `Cancelled`, once it has ended."""
        self.cancelled = True
        if self._queued_on is not None:
            if not self._queued_on.lost:
                self._queued_on.drop_waiting(self._granted)
            self._queued_on = None
            self.finish(Cancelled("the call was cancelled"))
        elif self.program is not None and not self.program.over:
            self._nursery.start_soon(self.program.kill)

    def abandon(self, *, may_return: bool) -> None:
        """A caller is gone: kill it, at once or where the caller does not come back in time, or is back already.

        A caller's new connection may be heard of before the end of the former one.
        """
        self._callers -= 1
        if not may_return:
            self.cancel()
        elif self.answer is None and not self._callers:
            self._nursery.start_soon(self._cancel_later, self._returned)

    async def _cancel_later(self, returned: int) -> None:
        await trio.sleep(GRACE)
        if self._returned == returned and not self._callers and self.answer is None:
            self.cancel()


class Waiter:
    """Lets one task wait for a `OneShot`'s answer."""

    __slots__ = ("_answer", "_task")

    def __init__(self) -> None:
        """Nobody waits."""
        self._answer: RunResult | ArdockError | None = None
        self._task: Task | None = None

    def done(self, answer: RunResult | ArdockError) -> None:
        """The answer is there."""
        self._answer = answer
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    async def result(self, call: OneShot) -> RunResult:
        """The answer; cancelled, it cancels `call` and awaits its end."""
        try:
            await self._wait()
        except trio.Cancelled:
            call.cancel()
            with trio.CancelScope(shield=True):
                await self._wait()
            raise
        answer = self._answer
        assert answer is not None, "waited for"
        if isinstance(answer, ArdockError):
            raise answer
        return answer

    async def _wait(self) -> None:
        if self._answer is not None:
            await checkpoint()
            return

        def abort(_: object) -> Abort:
            self._task = None
            return Abort.SUCCEEDED

        self._task = current_task()
        await wait_task_rescheduled(abort)
