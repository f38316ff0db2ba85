"""A program that a keeper was asked to start, as the engine knows it: a small state machine that tasks can wait on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Abort, Task, checkpoint, current_task, reschedule, wait_task_rescheduled

from ardock.model.errors import ArdockError
from ardock.model.messages import Exit, Start

if TYPE_CHECKING:
    from ardock.engine.keepers.connection import Connection


class Program:
    """A container's first program, or one joined by exec.

    It is launching; then running, failed or ended; then ended. It can be lost at any time before that.

    Attributes:
        id: The container.
        exec_id: The exec; None for the container's first program.
        start: Details of its start, once it runs.
        exit: How it ended, once it has.
        error: Why it did not start (`LaunchFailed`), or that it was lost (`KeeperLost`).
        holds: What must still be done before the keeper may forget its exit (see `let_go`).
        fds: The descriptors that came with the start (with ``direct`` output); whoever takes them empties the list.
        kill_sent: It was sent SIGKILL by us.
        timed_out: It was killed because its time was up.
        oom_told: How often `on_oom` was called.
        on_release: Called once when the launch is answered (started, ended or failed): what was held for it is free.
        on_answer: Called once after that.
        on_end: Called once when it has ended, failed or is lost; after `on_answer`.
        on_oom: Called each time that the kernel has killed a process of the container for want of memory.
    """

    __slots__ = (
        "_end_waiters",
        "_start_waiters",
        "connection",
        "error",
        "exec_id",
        "exit",
        "fds",
        "holds",
        "id",
        "kill_sent",
        "on_answer",
        "on_end",
        "on_oom",
        "on_release",
        "oom_told",
        "start",
        "timed_out",
    )

    def __init__(self, connection: Connection, container_id: str, exec_id: str | None = None) -> None:
        """A program that is about to be launched."""
        self.connection = connection
        self.id = container_id
        self.exec_id = exec_id
        self.start: Start | None = None
        self.exit: Exit | None = None
        self.error: ArdockError | None = None
        self.fds: list[int] = []
        self.holds = 1
        self.kill_sent = False
        self.timed_out = False
        self.oom_told = 0
        self.on_release: Callable[[], None] | None = None
        self.on_answer: Callable[[Program], None] | None = None
        self.on_end: Callable[[Program], None] | None = None
        self.on_oom: Callable[[Program], None] | None = None
        self._start_waiters: list[Task] = []
        self._end_waiters: list[Task] = []

    def __repr__(self) -> str:
        """Its name and state."""
        name = self.id[:12] if self.exec_id is None else f"{self.id[:12]}/{self.exec_id[:12]}"
        return f"<Program {name} {self.state}>"

    @property
    def state(self) -> str:
        """``launching``, ``running``, ``ended`` or ``failed``."""
        if self.error is not None:
            return "failed"
        if self.exit is not None:
            return "ended"
        return "launching" if self.start is None else "running"

    @property
    def answered(self) -> bool:
        """The launch is over, one way or the other."""
        return self.start is not None or self.exit is not None or self.error is not None

    @property
    def over(self) -> bool:
        """It has ended, failed or is lost."""
        return self.exit is not None or self.error is not None

    async def until_answered(self) -> None:
        """Wait until it runs (or never will)."""
        await self._wait(self._start_waiters, lambda: self.answered)

    async def until_answered_or_end(self) -> None:
        """As `until_answered`; cancelled, it ends the program, which nobody will ever hold."""
        try:
            await self.until_answered()
        except BaseException:
            # Even where it is answered by now: the answer may come between the cancellation and this task's turn.
            await self.kill()
            self.close_fds()
            raise

    async def until_over(self) -> None:
        """Wait until it has ended (or failed, or is lost)."""
        await self._wait(self._end_waiters, lambda: self.over)

    async def _wait(self, waiters: list[Task], reached: Callable[[], bool]) -> None:
        if reached():
            await checkpoint()
        while not reached():
            task = current_task()
            waiters.append(task)

            def abort(_: object, task: Task = task) -> Abort:
                waiters.remove(task)
                return Abort.SUCCEEDED

            await wait_task_rescheduled(abort)

    def changed(self) -> None:
        """Tell everybody: called by the connection after it has set `start`, `exit` or `error`."""
        if self.on_release is not None:
            on_release, self.on_release = self.on_release, None
            on_release()
        if self.on_answer is not None:
            on_answer, self.on_answer = self.on_answer, None
            on_answer(self)
        if self._start_waiters:
            self._wake(self._start_waiters)
        if self.exit is not None or self.error is not None:
            if self._end_waiters:
                self._wake(self._end_waiters)
            if self.on_end is not None:
                on_end, self.on_end = self.on_end, None
                on_end(self)

    @staticmethod
    def _wake(waiters: list[Task]) -> None:
        for task in waiters:
            reschedule(task)
        waiters.clear()

    def close_fds(self) -> None:
        """Close what came with the start and nobody has taken."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def let_go(self) -> None:
        """One of `holds` is done; with the last one the keeper is told to forget the exit."""
        self.holds -= 1
        if self.holds == 0 and self.exit is not None:
            self.connection.ack(self.id, self.exec_id)

    async def kill(self) -> None:
        """Make it end and wait for that, also when cancelled. Does nothing where it is over."""
        with trio.CancelScope(shield=True):
            # A signal has nothing to go to before the launch is answered, which its deadline bounds.
            await self.until_answered()
            if not self.over:
                self.kill_sent = True
                await self.connection.signal(self, 9)
                await self.until_over()
