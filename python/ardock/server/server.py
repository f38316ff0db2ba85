"""`serve` and `serving`: an engine behind sockets."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from ardock import _core
from ardock.model.errors import ArdockError, CapacityExceeded, Conflict
from ardock.protocol.errors import to_info
from ardock.protocol.methods import PROTOCOL, Version
from ardock.protocol.session import ServerSession
from ardock.server import peers
from ardock.server.connection import FAREWELL, Connection, linger
from ardock.server.listen import Listener, listen_at
from ardock.server.served import Engine

_log: Final = logging.getLogger("ardock.server")

MOST_CONNECTIONS: Final = 1024
GROUP: Final = "ardock"
SOCKET_NAME: Final = "ardock.sock"
# Seconds until the next attempt to take a connection, where this process has no descriptor left for it.
_PAUSE: Final = 0.1
# Refused clients that are given a moment to read why; further ones are closed at once.
_MOST_REFUSED: Final = 64


class Server:
    """What the connections share.

    Attributes:
        engine: What is served.
        nursery: The tasks of calls, some of which outlive their connections.
        group: Members of this group may connect.
        version: What `engine.version` answers.
        closing: The server ends: what its clients' calls started goes on.
        connections: All that are open.
    """

    def __init__(self, engine: Engine, group: int | None) -> None:
        """Not running yet; members of `group` may connect."""
        self.engine: Engine = engine
        self.group = group
        self.version = Version(version=_core.versions()["ardock"], protocol=PROTOCOL, engine=engine.id, pid=os.getpid())
        self.nursery: trio.Nursery
        self.closing = False
        self.connections: set[Connection] = set()
        self._refused = 0
        # Not cancelled along with its owner: `close` says first that what clients started goes on.
        self._scope = trio.CancelScope(shield=True)

    def __repr__(self) -> str:
        """Whose and how many."""
        return f"<Server of {self.engine.id}: {len(self.connections)} connections>"

    async def run(
        self, sockets: Sequence[socket.socket], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve on listening sockets until closed."""
        with self._scope:
            # The outer one ends last: a connection's end tells its calls, whose tasks are there.
            async with trio.open_nursery() as self.nursery, trio.open_nursery() as nursery:
                for listener in sockets:
                    listener.setblocking(False)
                    nursery.start_soon(self._accept, listener, nursery)
                task_status.started()

    def close(self) -> None:
        """Drop all connections; what clients' calls started goes on."""
        self.closing = True
        self._scope.cancel()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Take connections until cancelled."""
        while True:
            try:
                stream, _ = listener.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(listener)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    _log.error("no connection can be taken", extra={"fields": {"error": error.strerror}})
                    await trio.sleep(_PAUSE)
                elif error.errno != errno.ECONNABORTED:
                    raise
            else:
                self._take(stream, nursery)
                await trio.lowlevel.checkpoint()

    def _take(self, stream: socket.socket, nursery: trio.Nursery) -> None:
        stream.setblocking(False)
        try:
            peer = peers.peer_of(stream)
        except OSError as error:
            _log.warning("connection refused", extra={"fields": {"error": error.strerror}})
            stream.close()
            return
        try:
            peers.check(peer, self.group)
            if len(self.connections) >= MOST_CONNECTIONS:
                raise CapacityExceeded(f"{MOST_CONNECTIONS} clients are connected, which is the most")
        except ArdockError as error:
            fields = {"uid": peer.uid, "pid": peer.pid, "error": error.message}
            _log.warning("connection refused", extra={"fields": fields})
            nursery.start_soon(self._refuse, stream, error)
            return
        connection = Connection(self, stream, peer)
        self.connections.add(connection)
        nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: Connection) -> None:
        fields = {"uid": connection.peer.uid, "pid": connection.peer.pid}
        _log.debug("connected", extra={"fields": fields})
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            _log.debug("disconnected", extra={"fields": fields})

    async def _refuse(self, stream: socket.socket, error: ArdockError) -> None:
        """Say why, and give a moment to take that, unless many want that."""
        session = ServerSession()
        session.close(to_info(error))
        with stream:
            # The socket's buffer is empty, so it takes this at once, unless the other side is gone.
            with suppress(OSError):
                stream.send(session.outgoing())
            if self._refused < _MOST_REFUSED:
                self._refused += 1
                try:
                    with trio.move_on_after(FAREWELL):
                        await linger(stream)
                finally:
                    self._refused -= 1


@asynccontextmanager
async def serving(
    engine: Engine,
    *,
    own: bool = True,
    paths: Sequence[str | Path] = (),
    unless_taken: Sequence[str | Path] = (),
    sockets: Sequence[socket.socket] = (),
    group: str | None = GROUP,
) -> AsyncIterator[Path]:
    """Serve `engine` for as long as the context is open, on ``<its run folder>/ardock.sock``; gives that path.

    An error in the body comes out as it is, not in a group. At the end connections are dropped and sockets removed; what
    clients' calls started goes on.

    Args:
        engine: What is served.
        own: Serve on its own socket.
        paths: Where else.
        unless_taken: Where else, except where somebody else listens there already.
        sockets: Further listening unix sockets, made by somebody else (fd activation), who closes them.
        group: Members of this group may connect, besides root and our own user; None, or a group that there is not: nobody
            else.

    Raises:
        Conflict: Somebody else listens at a path.
        NotPermitted: A socket may not be made.
        FolderUnusable: A socket cannot be made for another reason.
    """
    path = engine.run_dir / SOCKET_NAME
    gid = peers.group_id(group)
    listeners: list[Listener] = []
    failure: BaseException | None = None
    try:
        if own:
            # Nobody else owns the root folder, so whatever is at its socket's path is left over.
            listeners.append(listen_at(path, gid, replace=True))
        listeners.extend(listen_at(Path(place), gid) for place in paths)
        for place in unless_taken:
            try:
                listeners.append(listen_at(Path(place), gid))
            except Conflict as error:
                _log.warning("not listening there", extra={"fields": {"error": error.message}})
        server = Server(engine, gid)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, [*(listener.socket for listener in listeners), *sockets])
            try:
                yield path
            except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
                failure = error
            for listener in listeners:
                listener.remove()
            server.close()
        if failure is not None:
            raise failure
    finally:
        # Else its traceback, which holds this frame, is a cycle.
        del failure
        for listener in listeners:
            listener.close()


async def serve(
    engine: Engine,
    sockets: Sequence[socket.socket],
    *,
    group: str | None = GROUP,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """As `serving`, on these sockets alone, until cancelled."""
    async with serving(engine, own=False, sockets=sockets, group=group):
        task_status.started()
        await trio.sleep_forever()
