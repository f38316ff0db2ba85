"""The command's connection to an engine: to the owner of its root folder, or to itself where nobody owns it.

A command is always a client of a socket. Where nobody serves the root folder's, the command becomes the owner: it opens the
engine in a thread (`ardock.cli.owner`) and is its first client. When the owner that it talks to ends, it finds the next one,
or becomes it; calls are repeated with the same request id, so nothing is done twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from ardock.cli.signals import raise_ends
from ardock.client.blocking import Client
from ardock.client.find import DEFAULT_ROOT, DEFAULT_RUN_DIR, find_socket, try_connect
from ardock.model.errors import ArdockError, ConnectionLost, DaemonUnavailable, EngineLocked, InvalidArgument

if TYPE_CHECKING:
    from ardock.cli.command import Settings
    from ardock.cli.owner import Owner
    from ardock.protocol.methods import Method, Params

ResultT = TypeVar("ResultT")

# Seconds in which somebody who owns the root folder and does not serve it (it is opening its engine, or closing it) has to be
# done; and in which an engine at a socket that was named has to come back.
PATIENCE: Final = 20.0
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05

# Connections that may be lost one after the other without an answer on one of them.
_MOST_LOSSES: Final = 10


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """A connection to the engine, for as long as the context lasts.

    Raises:
        DaemonUnavailable: Nobody answers at the socket that was named; or nobody owns the root folder, and only root can.
        EngineLocked: The owner of the root folder does not serve its socket.
        NotPermitted: This user may not use it.
    """
    connection = Connection(settings)
    try:
        yield connection
    finally:
        connection.close()


class Connection:
    """What `connected` gives.

    Attributes:
        client: The present connection; another one after `reconnect`.
        changes: How often it was another one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner: Owner | None = None
        self._losses = 0
        self.changes = 0
        self.client: Client = self._connect(at_once=True)

    @property
    def is_owner(self) -> bool:
        """The engine is this process's own."""
        return self._owner is not None

    def close(self) -> None:
        """Close the connection, and then the engine if it is our own."""
        self.client.close()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()

    # Calls that are answered once.

    def call(self, method: Method[ResultT], params: Params) -> ResultT:
        """Make a call and await its answer, from the next owner if this one ends before.

        Raises:
            ArdockError: What the engine answers.
        """
        params = self.named(method, params)
        while True:
            try:
                result = self.client.call(method, params)
            except UnicodeEncodeError as error:
                # What Python has of a command line's bytes that are no text (PEP 383).
                raise InvalidArgument(f"{error.object!r} is no UTF-8, and the engine takes text only") from error
            except ConnectionLost:
                self.reconnect()
                continue
            self.answered()
            return result

    def call_all(self, calls: Sequence[tuple[Method[ResultT], Params]]) -> list[ResultT | ArdockError]:
        """Make calls all at once; their answers in the order of the calls, errors among them as values."""
        named = [(method, self.named(method, params)) for method, params in calls]
        answers: dict[int, ResultT | ArdockError] = {}
        while True:
            try:
                pending = {index: self.client.begin(*each) for index, each in enumerate(named) if index not in answers}
                for index, call in pending.items():
                    try:
                        answers[index] = self.client.wait_for(call)
                    except ConnectionLost:
                        raise
                    except ArdockError as error:
                        answers[index] = error
            except ConnectionLost:
                self.reconnect()
                continue
            self.answered()
            return [answers[index] for index in range(len(named))]

    # For those who have calls with streams of their own.

    def named(self, method: Method[ResultT], params: Params) -> Params:
        """The parameters with a request id, if the call changes something."""
        if not method.mutates or params.request_id is not None:
            return params
        return msgspec.structs.replace(params, request_id=os.urandom(12).hex())

    def answered(self) -> None:
        """The engine has answered on this connection: it is no owner that drops everybody at once."""
        self._losses = 0

    def reconnect(self) -> None:
        """After ConnectionLost: find the next owner, or become it; `client` is another one then.

        Raises:
            ArdockError: There is none, and we cannot be it; or what ended our own engine.
        """
        self.client.close()
        self._losses += 1
        if self._losses > _MOST_LOSSES:
            raise ConnectionLost("the engine drops every connection without an answer")
        self.client = self._connect(at_once=False)
        self.changes += 1

    def _connect(self, *, at_once: bool) -> Client:
        deadline = time.monotonic() + PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = try_connect(self._socket_path())
            except DaemonUnavailable as error:
                problem = self._unserved(error, at_once=at_once)
            else:
                if connection is not None:
                    return Client(connection)
                problem = DaemonUnavailable("the engine takes no connection: too many wait for it")
            if problem is not None:
                if time.monotonic() > deadline:
                    raise problem
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _socket_path(self) -> str:
        if self._owner is not None:
            return self._owner.socket
        settings = self._settings
        root = settings.root if settings.root != DEFAULT_ROOT else None
        run_dir = settings.run_dir if settings.run_dir != DEFAULT_RUN_DIR else None
        return find_socket(settings.host, root=root, run_dir=run_dir, environment={})

    def _unserved(self, error: DaemonUnavailable, *, at_once: bool) -> ArdockError | None:
        """Nobody serves the socket: become the owner (None), or the error to raise when that lasts."""
        owner = self._owner
        if owner is not None:
            if owner.failed:
                self._owner = None
                owner.close()  # It raises what ended the engine.
            return error
        if self._settings.host is not None:
            if at_once:
                raise error
            return error
        if os.geteuid() != 0:
            raise DaemonUnavailable(f"{error.message}; start `ardock daemon`, or run this as root") from error
        raise_ends()
        # The engine and its event loop: dear to import, and needed by nobody who has a daemon.
        from ardock.cli.owner import Owner

        try:
            self._owner = Owner(self._settings.root, self._settings.run_dir)
        except EngineLocked as locked:
            return EngineLocked(
                f"{locked.message.partition(';')[0]}, and nobody answers at its socket: {error.message}",
                owner=locked.owner,
            )
        return None
