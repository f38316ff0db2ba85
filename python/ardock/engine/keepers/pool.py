"""The keepers of one engine: started as they are needed, watched, let go of."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Final

import trio

from ardock import _core
from ardock.engine.folders import Folders
from ardock.engine.keepers.adopt import Dead, Living, find_one, tidy_dead
from ardock.engine.keepers.connection import Connection
from ardock.model.errors import ArdockError, CapacityExceeded, EngineClosed, FolderUnusable, KeeperUnavailable

# Each has as many containers as its descriptors allow (thousands), so this is a bound on runaway, not on use.
_MOST_KEEPERS: Final = 64
# Room that is kept free in a keeper for execs and attachments.
_SPARE: Final = 8


class KeeperPool:
    """Connections to the keepers that this engine has started."""

    def __init__(self, folders: Folders, nursery: trio.Nursery, *, keep_inherited_seccomp: bool) -> None:
        """Start with none.

        Args:
            folders: The engine's folders.
            nursery: Where the connections' tasks run.
            keep_inherited_seccomp: As for `open_engine`.
        """
        self._folders = folders
        self._nursery = nursery
        self._keep_inherited_seccomp = keep_inherited_seccomp
        self._growing = trio.Lock()
        self._next_number = 1
        self.closed = False
        self.connections: list[Connection] = []

    def reserve_numbers(self, used: list[int]) -> None:
        """Never use these again for a new keeper."""
        self._next_number = max([self._next_number, *[number + 1 for number in used]])

    def pick(self) -> Connection | None:
        """A keeper with room; None where there is none."""
        for connection in self.connections:
            if connection.room > _SPARE:
                return connection
        return None

    async def get(self) -> Connection:
        """A keeper with room, started if need be.

        Raises:
            EngineClosed: The engine is closing.
            CapacityExceeded: There are as many keepers as there may be.
            KeeperUnavailable: One could not be started.
        """
        if self.closed:
            raise EngineClosed("the engine is closed")
        found = self.pick()
        if found is not None:
            return found
        async with self._growing:
            found = self.pick()
            return found if found is not None else await self._start()

    async def _start(self) -> Connection:
        self.connections = [connection for connection in self.connections if not connection.lost]
        if len(self.connections) >= _MOST_KEEPERS:
            raise CapacityExceeded(f"{_MOST_KEEPERS} keepers run already, and none has room for another container")
        number = self._next_number
        self._next_number += 1
        # What a crash in the middle of this leaves is tidied by the next engine: the keeper's folder comes last.
        scratch = self._folders.scratch(number)
        try:
            scratch.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise FolderUnusable(f"{scratch}: {error.strerror}") from error
        with trio.CancelScope(shield=True):
            connection = await trio.to_thread.run_sync(self._spawn, number)
            await connection.greet()
        self._nursery.start_soon(self.serve, connection)
        if connection.room <= _SPARE:
            connection.close()
            raise CapacityExceeded(
                "a keeper's descriptors do not suffice for a single container: raise the limit (ulimit -n)"
            )
        self.connections.append(connection)
        return connection

    def adopt(self, connection: Connection) -> None:
        """Use a keeper that an earlier engine has started; its connection is served by `serve` already."""
        # The earlier engine has removed it where nothing was in it.
        self._folders.scratch(connection.number).mkdir(mode=0o700, exist_ok=True)
        self.connections.append(connection)

    async def serve(self, connection: Connection) -> None:
        """Serve a connection to its end, and where the keeper is to blame for that, tidy up behind it.

        None of its containers may go on unowned: those that survived their keeper (or whose keeper has merely ended the
        connection) are killed here. Their callers have been told that they are lost.
        """
        await connection.run()
        if self.closed:
            return
        with contextlib.suppress(ArdockError):  # What cannot be done now is left for the next engine.
            found = await find_one(self._folders, connection.number, self._nursery)
            if isinstance(found, Living):
                await _end_living(found)
            elif isinstance(found, Dead):
                await trio.to_thread.run_sync(tidy_dead, self._folders, found.number)

    def _spawn(self, number: int) -> Connection:
        folder = self._folders.keepers / str(number)
        try:
            folder.mkdir(mode=0o700)
            _core.spawn_keeper(
                str(keeper_binary()),
                str(folder),
                number=number,
                engine_id=self._folders.engine_id,
                root=str(self._folders.root),
                keep_inherited_seccomp=self._keep_inherited_seccomp,
            )
            return Connection(_core.KeeperClient.connect(str(folder)), number)
        except _core.HostError as error:
            raise KeeperUnavailable(f"the keeper could not be started: {error.args[3]}") from None
        except OSError as error:
            raise KeeperUnavailable(f"keeper {number} cannot be reached: {error.strerror}") from None

    async def close(self) -> None:
        """Send what is queued and close the connections: the keepers go on with what they hold, those with nothing end."""
        self.closed = True
        with trio.CancelScope(shield=True):
            for connection in self.connections:
                await connection.flush()
                connection.close()
        for connection in self.connections:
            # Empty unless its keeper has not yet tidied up behind itself; then the next engine removes it.
            with contextlib.suppress(OSError):
                self._folders.scratch(connection.number).rmdir()


async def _end_living(found: Living) -> None:
    """Kill what runs on a keeper that has ended our connection, and let it go: all of that was told to be lost."""
    connection = found.connection
    with trio.CancelScope(shield=True):
        entries = found.entries
        pause = 0.005
        while any(entry.exit is None for entry in entries):
            for entry in entries:
                # One that is still being launched is killed in a later round.
                if entry.exit is None and entry.started is not None:
                    await connection.signal_id(entry.id, None, signal.SIGKILL)
            await trio.sleep(pause)
            pause = min(pause * 2, 0.1)
            entries = await connection.entries()
        for entry in entries:
            for exec_id, _ in entry.execs:
                connection.ack(entry.id, exec_id)
            connection.ack(entry.id, None)
        await connection.flush()
        connection.close()


def keeper_binary() -> Path:
    """The keeper's binary, which the wheel carries.

    Raises:
        KeeperUnavailable: It is not there.
    """
    # Beside the extension, with which it was built.
    path = Path(str(_core.__file__)).parent / "_bin" / "ardock-keeper"
    if not path.is_file():
        raise KeeperUnavailable(f"{path} is missing: build the package with make build")
    return path
