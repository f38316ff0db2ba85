"""Our own signals, passed on to the container, and what becomes of those that it ignores.

The first process of a pid namespace ignores every signal that it has no handler
for, also SIGINT and SIGTERM (pid_namespaces(7)), and most programs have none.
Docker leaves a person with a Ctrl-C that does nothing. Here the first one says
that it did nothing, the second stops the container as `docker stop` would, and
the third kills it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Self

from ardock.cli.errors import Interrupted

# All that can be caught and means something to another program. Not passed on:
# SIGCHLD, SIGPIPE, SIGURG (ours alone), SIGWINCH (it becomes a new size), the
# job control signals (they are for this process: Ctrl-Z suspends it) and those
# that report a fault of this process.
PROXIED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)

# Those by which somebody asks us to end.
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})


class Reaction(enum.Enum):
    """What is done about a signal."""

    FORWARD = "send it to the container"
    EXPLAIN = "send it, and say that it will have no effect"
    STOP = "stop the container: its stop signal, the grace time, SIGKILL"
    KILL = "kill the container now"


class Escalation:
    """Decides about each signal, given whether the program ignores it. No I/O."""

    def __init__(self) -> None:
        self._ignored = 0

    def react(self, number: int, *, ignored: bool) -> Reaction:
        """The reaction to signal `number`.

        Only signals that the program ignores count: one that handles SIGINT may
        get as many as it likes. A stop that was begun is not undone by a handler
        that appears meanwhile. SIGHUP says that the person in front of us is gone
        and comes once; a program without a handler for it dies of it anywhere
        else, so it does here.
        """
        if number not in ENDING or not (ignored or self._ignored >= 2):
            return Reaction.FORWARD
        self._ignored += 3 if number == signal.SIGHUP else 1
        return {1: Reaction.EXPLAIN, 2: Reaction.STOP}.get(self._ignored, Reaction.KILL)


def name_of(number: int) -> str:
    """SIGTERM, SIGRTMIN+3, ..."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def is_ignored(pid: int, number: int, *, is_init: bool) -> bool:
    """Whether a signal sent to the process now would be thrown away.

    Read from /proc/PID/status. For the first process of a pid namespace that is
    every signal that it neither handles nor blocks (a blocked one is kept: it may
    wait for it by sigwait or a signalfd); for others, one that it ignores.
    False where the process is gone.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib costs more
            status = file.read()
    except OSError:
        return False
    masks = {
        key: int(value, 16)
        for key, _, value in (line.partition(":\t") for line in status.splitlines())
        if key in {"SigBlk", "SigIgn", "SigCgt"}
    }
    if len(masks) < 3:
        return False
    bit = 1 << (number - 1)
    if masks["SigIgn"] & bit:
        return not masks["SigBlk"] & bit
    return is_init and not (masks["SigCgt"] | masks["SigBlk"]) & bit


def raise_ends() -> None:
    """Have the signals that would end us on the spot raise `Interrupted`: there is an engine to close."""
    for number in ENDING:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


class Caught:
    """Our signals, caught for as long as the context lasts.

    At first those that ask us to end raise `Interrupted` wherever the main thread is: it connects, opens an engine or waits
    for an answer. Once somebody reads them (`quiet`), they come by the descriptor alone, all of them in order.

    Attributes:
        descriptor: Readable when a signal has come.
        quiet: Nothing is raised.
    """

    def __init__(self, *, proxy: bool = True) -> None:
        numbers = set(PROXIED if proxy else ENDING) | ENDING | {signal.SIGWINCH}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            numbers.discard(signal.SIGHUP)  # nohup ardock run ...
        self._numbers = numbers
        self.descriptor, self._told = os.pipe()
        self.quiet = False
        self._report = sys.unraisablehook

    def __enter__(self) -> Self:
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._told, False)
        self._report, sys.unraisablehook = sys.unraisablehook, self._unraisable
        signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in self._numbers:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        sys.unraisablehook = self._report
        os.close(self._told)
        os.close(self.descriptor)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.quiet and number in ENDING:
            raise Interrupted(number)

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """A signal may come while a callback of the interpreter's own runs, an import's say, out of which nothing can be raised.

        It is no fault to report, and is not lost: the descriptor has it.
        """
        if not isinstance(unraisable.exc_value, Interrupted):
            self._report(unraisable)

    def read(self) -> list[int]:
        """The signals that have come and were not read yet, in their order."""
        with contextlib.suppress(BlockingIOError):
            return [number for number in os.read(self.descriptor, 4096) if number in self._numbers]
        return []
