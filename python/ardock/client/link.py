"""One connection to an engine: how it is made, and the two tasks that read and write it.

There is no task for a call: the reader hands each reply to whoever waits for it, and the writer sends what was asked for in one
tick of the scheduler with one system call.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import msgspec
import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled

from ardock.client import find
from ardock.client.calls import Call, decode
from ardock.model.errors import ArdockError, DaemonUnavailable, ProtocolViolation, Unsupported
from ardock.protocol.errors import from_info
from ardock.protocol.methods import PROTOCOL, VERSION, NoParams, Version
from ardock.protocol.session import ClientSession, Failed, Message, Reply

# Below the allocator's threshold for a mapping of its own, and more than what comes in one tick.
_READ = 1 << 16
# Between two attempts to connect, seconds.
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


class Link:
    """A connection.

    Attributes:
        session: Its state.
        calls: What is under way on it, by id.
        version: What the engine said of itself.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Own `connection`, which is non-blocking."""
        self._socket = connection
        self._writer: Task | None = None
        self.session = ClientSession()
        self.calls: dict[int, Call] = {}
        self.version = Version(version="", protocol=PROTOCOL, engine="", pid=0)

    def close(self) -> None:
        """Close it at once."""
        self._socket.close()

    async def greet(self, path: str) -> None:
        """Ask who is there, before anything else is sent.

        Raises:
            DaemonUnavailable: Nobody: the connection was ended.
            NotPermitted: The engine refuses us.
            Unsupported: It speaks another protocol.
            ProtocolViolation: What answers there is no engine.
        """
        number = self.session.request(VERSION.name, msgspec.msgpack.encode(NoParams()))
        # A few bytes always fit into a new socket. Where it is closed already, what was said before comes first.
        with contextlib.suppress(OSError):
            self._socket.send(self.session.outgoing())
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise DaemonUnavailable(f"no engine answers at {path}: the connection was closed")
            for message in self.session.feed(data):
                if isinstance(message, Failed):
                    raise from_info(message.error)
                if isinstance(message, Reply) and message.id == number:
                    if message.error is not None:
                        raise from_info(message.error)
                    self.version = _version(message.result)
                    return

    async def serve(self, told: Callable[[Message], None]) -> None:
        """Read and write until the connection breaks; `told` is called with each message.

        Raises:
            ArdockError: The other side ended it for a reason, or what it sent is no message.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            await self._read(told)
            nursery.cancel_scope.cancel()

    async def _read(self, told: Callable[[Message], None]) -> None:
        connection, feed = self._socket, self.session.feed
        while True:
            try:
                data = connection.recv(_READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(connection)
                continue
            except OSError:
                return  # It was reset, which is an end, too.
            if not data:
                return
            try:
                for message in feed(data):
                    told(message)
            except msgspec.DecodeError as error:
                raise ProtocolViolation(f"the engine sent a record that is not understood: {error}") from error
            # Reading without waiting would keep everybody else from running.
            await trio.lowlevel.checkpoint()

    def flush(self) -> None:
        """Wake the writer: it runs in the scheduler's next tick, after all that runs in this one."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            reschedule(writer)

    async def _write(self) -> None:
        def abort(_: object) -> Abort:
            self._writer = None
            return Abort.SUCCEEDED

        connection, session = self._socket, self.session
        while True:
            while not session.waiting:
                self._writer = current_task()
                await wait_task_rescheduled(abort)
            left = memoryview(session.outgoing())
            while left:
                try:
                    left = left[connection.send(left) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(connection)
                except OSError:
                    # Closed over there. The reader finds the end, after what was still said.
                    return


def _version(result: msgspec.Raw) -> Version:
    try:
        version = decode(VERSION, result)
    except msgspec.DecodeError as error:
        raise ProtocolViolation(f"{VERSION.name}: the engine's answer is not understood: {error}") from error
    if version.protocol != PROTOCOL:
        raise Unsupported(
            f"the engine (ardock {version.version}) speaks protocol {version.protocol}, this client {PROTOCOL}: "
            "use a client of the engine's version",
            option="protocol",
        )
    return version


async def make_link(where: Callable[[], str], *, engine: str, patience: float, again: bool) -> Link:
    """Connect and greet.

    Args:
        where: Gives the socket's path, each time anew: the next owner may listen elsewhere.
        engine: The id that the engine must have; empty is any.
        patience: Seconds for all of it.
        again: Try again where nobody is there.

    Raises:
        ArdockError: As `find.try_connect` and `Link.greet`; DaemonUnavailable, too, where an engine does not answer in time or
            is another one.
    """
    deadline = trio.current_time() + patience
    pause = _FIRST_PAUSE
    while True:
        path = where()
        failure: ArdockError
        try:
            link = await _try_link(path, engine, deadline)
        except DaemonUnavailable as error:
            if not again:
                raise
            failure = error
        else:
            if link is not None:
                return link
            failure = DaemonUnavailable(f"the engine at {path} does not answer: too many wait for it")
        if trio.current_time() + pause > deadline:
            raise failure
        await trio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _try_link(path: str, engine: str, deadline: float) -> Link | None:
    """A link; None where the listener's queue is full."""
    connection = find.try_connect(path)
    if connection is None:
        return None
    link = Link(connection)
    try:
        with trio.move_on_at(deadline) as scope:
            await link.greet(path)
        _check_engine(link.version.engine, engine, path, answered=not scope.cancelled_caught)
    except BaseException:
        link.close()
        raise
    return link


def _check_engine(found: str, wanted: str, path: str, *, answered: bool) -> None:
    if not answered:
        raise DaemonUnavailable(f"the engine at {path} does not answer")
    if wanted not in ("", found):
        raise DaemonUnavailable(f"another engine ({found}) answers at {path}")
