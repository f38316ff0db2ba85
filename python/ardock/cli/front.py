"""This process in front of a program of a container's: its streams, its terminal, its signals, in one loop.

One poll(2) in the main thread waits for the engine's socket, for our standard streams and for our signals. Nothing in the
loop waits anywhere else: a reader of our output that has stopped holds the engine's stream back (it gets no credit), and
signals are still heard.
"""

from __future__ import annotations

import contextlib
import gc
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ardock.cli import streams, terminal
from ardock.cli.detach import DetachKeys
from ardock.cli.errors import CliError, printable
from ardock.client.blocking import Item
from ardock.model.errors import ArdockError, ConnectionLost
from ardock.protocol.session import Bytes, End

if TYPE_CHECKING:
    from ardock.cli.command import Attached
    from ardock.cli.connection import Connection
    from ardock.cli.signals import Caught
    from ardock.client.blocking import Call, Event

ResultT = TypeVar("ResultT")

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

READER_LEFT: Final = 128 + signal.SIGPIPE


class Answered(Protocol):
    """A call that has an answer, of whatever type."""

    def result(self) -> object:
        """The answer, or its error."""


class Streams(Answered, Protocol):
    """A call with our streams, whatever its answer's type."""

    @property
    def done(self) -> bool:
        """It is answered."""

    @property
    def sendable(self) -> int:
        """Bytes that may be sent."""

    def send_bytes(self, channel: int, data: bytes) -> None:
        """Send bytes."""

    def end(self, channel: int) -> None:
        """End a channel."""


class Front:
    """One program, and this process in front of it. A kind of program is a subclass.

    Attributes:
        exit_code: What this command ends with.
    """

    def __init__(
        self, engine: Connection, caught: Caught, attached: Attached, *, tty: bool, detach_keys: bytes | None
    ) -> None:
        self.exit_code = 0
        self._engine = engine
        self._caught = caught
        self._attached = attached
        self._tty = tty
        self._keys = DetachKeys(detach_keys) if detach_keys and tty and attached.stdin else None
        self._input: streams.Input | None = None
        self._outputs: dict[int, streams.Output] = {}
        self._source: Streams | None = None  # Whose streams ours are connected to.
        self._waiting: list[tuple[Call[object], Callable[[Call[object]], None]]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._failure: CliError | None = None
        self._raw: terminal.Raw | None = None
        self._size = (0, 0)
        self._detached = False

    # What a subclass adds.

    def _over(self) -> bool:
        """The program has ended, and nothing of it is to come any more."""
        raise NotImplementedError

    def _lost(self, error: ConnectionLost) -> None:
        """The connection has ended. Go on with another, or raise."""
        raise NotImplementedError

    def _take(self) -> bool:
        """Take what has come of the streams, giving credit back for it; whether there was anything."""
        raise NotImplementedError

    def _signalled(self, number: int) -> None:
        """A signal has come that is no change of the terminal's size."""
        raise NotImplementedError

    def _resize(self, rows: int, columns: int) -> None:
        """Set the size of the program's terminal."""
        raise NotImplementedError

    def _reader_left(self) -> None:
        """Nobody reads our output any more: end the program, quietly (`| head` is no error)."""
        raise NotImplementedError

    def _hang_up(self) -> None:
        """Our terminal is gone, and so the program's hangs up."""
        raise NotImplementedError

    def _stop_for(self, failure: CliError) -> None:
        """Our streams fail: end the program; the failure is raised at its end."""
        raise NotImplementedError

    # The loop.

    def _attend(self) -> None:
        """Stay with the program until it is over, or the person detaches."""
        gc.enable()  # From here on there is time, and perhaps days of it.
        try:
            while not (self._detached or self._over()):
                self._turn()
        finally:
            if self._raw is not None:
                self._raw.restore()
                self._raw = None
            if self._input is not None:
                self._input.close()
            for output in self._outputs.values():
                output.close()
        if self._failure is not None:
            raise self._failure

    def _turn(self) -> None:
        client = self._engine.client
        poller = select.poll()
        poller.register(client.fileno(), select.POLLIN | (select.POLLOUT if client.unsent else 0))
        poller.register(self._caught.descriptor, select.POLLIN)
        if self._wants_input():
            assert self._input is not None, "it is wanted"
            poller.register(self._input.descriptor, select.POLLIN)
        for output in self._outputs.values():
            if output.waiting:
                poller.register(output.descriptor, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poller.poll(self._patience())}
        try:
            if client.fileno() in ready:
                if client.unsent:
                    client.flush()
                client.feed()
            self._finish_calls()
            self._copy_output()
            if self._caught.descriptor in ready:
                for number in self._caught.read():
                    self._on_signal(number)
            if self._input is not None and self._input.descriptor in ready and self._wants_input():
                self._read(self._input)
            self._run_timers()
        except ConnectionLost as error:
            # What came before the end is not lost with it.
            self._finish_calls()
            self._copy_output()
            self._waiting.clear()
            self._lost(error)

    # Calls whose answer somebody waits for in the loop.

    def _when_done(self, call: Call[ResultT], react: Callable[[Call[ResultT]], None]) -> Call[ResultT]:
        """Have `react` called with the call when it is answered."""
        self._waiting.append((call, react))  # type: ignore[arg-type] # the pair belongs together
        return call

    def _unless(self, *harmless: type[ArdockError]) -> Callable[[Answered], None]:
        """A reaction that only lets errors out other than these."""

        def react(call: Answered) -> None:
            with contextlib.suppress(*harmless):
                call.result()

        return react

    def _finish_calls(self) -> None:
        for pair in self._waiting.copy():
            call, react = pair
            # One that has failed with its connection may be made again on the next.
            if call.done and not isinstance(call.error, ConnectionLost):
                self._waiting.remove(pair)
                self._engine.answered()
                react(call)

    # Timers.

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + seconds, act))

    def _patience(self) -> float | None:
        """Milliseconds until the next timer."""
        if not self._timers:
            return None
        return max(0.0, min(when for when, _ in self._timers) - time.monotonic()) * 1000 + 1

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        for timer in due:
            self._timers.remove(timer)
            timer[1]()

    # Streams.

    def _connect_streams(self) -> None:
        """Begin to copy our streams; the program runs. A terminal becomes raw."""
        if self._attached.stdin:
            self._input = self._input or streams.Input(STDIN)
        self._make_raw()
        self._follow_size()

    def _make_raw(self) -> None:
        """Pass every key on from now on, where there is a terminal to do so."""
        if self._attached.stdin and self._tty and self._raw is None and terminal.is_terminal(STDIN):
            self._raw = terminal.Raw(STDIN)
            self._raw.__enter__()

    @staticmethod
    def _used(call: Call[ResultT], event: Event) -> None:
        """Give credit back for part of a call's stream."""
        if isinstance(event, Bytes):
            call.consumed(len(event.data))
        elif isinstance(event, Item):
            call.consumed(event.size)

    def _input_ended(self, event: Event) -> None:
        """The program has closed its input: nothing more is read for it, what others may read is left to them."""
        if isinstance(event, End) and event.channel == STDIN and self._input is not None:
            self._input.ended = True

    def _wants_input(self) -> bool:
        source, given = self._source, self._input
        return given is not None and not given.ended and source is not None and not source.done and source.sendable > 0

    def _read(self, given: streams.Input) -> None:
        source = self._source
        assert source is not None, "input is wanted"
        try:
            data = given.read(source.sendable)
        except OSError as error:  # A directory, for example.
            given.ended = True
            self._stop_for(CliError(f"cannot read standard input for the container: {error.strerror}"))
            return
        if given.ended:
            if self._tty:
                # In raw mode no key can end the input.
                self._hang_up()
            else:
                source.end(STDIN)
            return
        if self._keys is not None:
            data, self._detached = self._keys.feed(data)
        if data:
            source.send_bytes(STDIN, data)

    def _put(self, channel: int, data: bytes) -> None:
        """Output came: have it written."""
        wanted = {STDOUT: self._attached.stdout, STDERR: self._attached.stderr}.get(channel, False)
        if not wanted or self._failure is not None or self.exit_code == READER_LEFT:
            return
        if channel not in self._outputs:
            self._outputs[channel] = streams.Output(channel)
        self._outputs[channel].put(data)

    @property
    def _written(self) -> bool:
        return all(output.empty for output in self._outputs.values())

    def _copy_output(self) -> None:
        """Write what is to be written, and take what has come, for as long as our readers keep up.

        What they do not take stays with us up to a bound, then in the call (which has a window), then over there.
        """
        self._write()
        while sum(output.size for output in self._outputs.values()) < streams.CHUNK and self._take():
            self._write()

    def _write(self) -> None:
        for number, output in self._outputs.items():
            try:
                output.flush()
            except streams.SinkClosed:
                if self.exit_code != READER_LEFT:
                    self.exit_code = READER_LEFT
                    self._reader_left()
            except OSError as error:  # A full disk, for example.
                stream = {STDOUT: "output", STDERR: "error"}[number]
                self._stop_for(CliError(f"cannot write the container's output to standard {stream}: {error.strerror}"))

    # The terminal and the signals.

    def _follow_size(self) -> None:
        size = terminal.our_size()
        if self._tty and size not in {(0, 0), self._size}:
            self._size = size
            self._resize(*size)

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._follow_size()
        else:
            self._signalled(number)

    def _say(self, sentence: str) -> None:
        """One line on stderr; a raw terminal needs the carriage return, too."""
        streams.write_line(STDERR, f"ardock: {printable(sentence)}" + ("\r\n" if self._raw is not None else "\n"))
