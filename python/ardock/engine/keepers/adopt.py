"""The keepers that an earlier engine on this root folder left behind: those that live, and what the dead ones had.

Only this engine's id is ever touched. A keeper that lives goes on with what it holds. Of one that is dead the journal tells
what it had; what survived it is killed through its control groups.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec
import trio

from ardock import _core
from ardock.engine.folders import Folders
from ardock.engine.keepers import groups
from ardock.engine.keepers.connection import Connection
from ardock.model import messages as m
from ardock.model.errors import KeeperLost, KeeperUnavailable

# 5 s in all for one that does not listen to be gone.
_ATTEMPTS: Final = 100
_PAUSE: Final = 0.05
# connect(2) to a socket that nobody listens on: its keeper is dead (or never listened). Anything else is no proof.
_DEAD: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})


Serve = Callable[[Connection], Awaitable[None]]


class JournalProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A container of a dead keeper's journal.

    Attributes:
        id: What the keeper called it.
        blob: The engine's record.
        cgroup: Parent and name of its control group.
        scratch: Its scratch directory beneath the root folder's ``scratch``.
        started_at: Wall clock, ns since 1970; None where it was not told to run.
        exit: How it ended, where the keeper had recorded that.
    """

    id: str
    blob: bytes
    cgroup: tuple[str, str] | None
    scratch: str | None
    started_at: int | None
    exit: m.Exit | None


_decode_journal: Final = msgspec.msgpack.Decoder(list[JournalProgram]).decode


class Living(NamedTuple):
    """A keeper that lives, and what it holds."""

    connection: Connection
    entries: list[m.Entry]


class Dead(NamedTuple):
    """A keeper that is dead; what survived it was ended, and `tidy_dead` removes the rest once that is written down."""

    number: int
    programs: list[JournalProgram]


async def find_all(folders: Folders, nursery: trio.Nursery, serve: Serve) -> tuple[list[Living], list[Dead], list[int]]:
    """Connect to the keepers of this engine that live; end what survived those that do not.

    Returns:
        Those that live, those that are dead, and the numbers of keepers that must not be used again yet.

    Raises:
        KeeperUnavailable: A keeper is there and cannot be talked to (another version, no answer).
        LaunchFailed: A survivor's control group could not be ended.
    """
    living: list[Living] = []
    dead: list[Dead] = []
    numbers = sorted(int(folder.name) for folder in folders.keepers.iterdir() if folder.name.isdecimal())
    for number in numbers:
        found = await find_one(folders, number, nursery, serve)
        if isinstance(found, Living):
            living.append(found)
        elif found is not None:
            dead.append(found)
    await trio.to_thread.run_sync(_tidy_rest, folders)
    return living, dead, numbers


async def find_one(
    folders: Folders, number: int, nursery: trio.Nursery, serve: Serve = Connection.run
) -> Living | Dead | None:
    """Keeper `number`, whether it lives or not; None where it ends by itself just now and holds nothing.

    `serve` is started in `nursery` with the connection to one that lives, for as long as that lasts.

    Raises:
        As `find_all`.
    """
    folder = str(folders.keepers / str(number))
    for _ in range(_ATTEMPTS):
        connection = await _connect(folders, number, nursery, serve)
        if connection is not None:
            try:
                return Living(connection, await connection.entries())
            except KeeperLost:
                continue
        # The lock is the proof of death. Its launchers hold it, too, until they have seen that their keeper is dead.
        if not _core.keeper_is_alive(folder):
            return await trio.to_thread.run_sync(_end_dead, folders, number)
        await trio.sleep(_PAUSE)
    return None  # It listens no more, holds nothing, and takes its time to end: it tidies up behind itself.


async def _connect(folders: Folders, number: int, nursery: trio.Nursery, serve: Serve) -> Connection | None:
    """A connection to keeper `number`; None where it does not listen."""
    try:
        client = _core.KeeperClient.connect(str(folders.keepers / str(number)))
    except OSError as error:
        if error.errno in _DEAD:
            return None
        raise KeeperUnavailable(f"keeper {number} cannot be reached: {error.strerror}") from error
    connection = Connection(client, number)
    try:
        await connection.greet()
    except KeeperLost:
        return None  # It ended while we were connecting, as an empty one does.
    nursery.start_soon(serve, connection)
    return connection


def _end_dead(folders: Folders, number: int) -> Dead:
    """Read a dead keeper's journal and end what survived it. Blocking; for a thread.

    Raises:
        LaunchFailed: A control group could not be ended; everything is then still there for the next attempt.
    """
    programs = _decode_journal(_core.read_journal(str(folders.keepers / str(number) / "journal")))
    mine = groups.left_behind(folders.engine_id) & {f"k{number}", f"keeper-{number}"}
    if mine:
        with groups.opened() as opened:
            # All that are there, not those that the journal names: its tail may be torn.
            for name in sorted(mine):
                opened.end_all(f"ardock-{folders.engine_id}/{name}")
        groups.remove_empty(folders.engine_id, mine, and_engine=False)
    return Dead(number, programs)


def tidy_dead(folders: Folders, number: int) -> None:
    """Remove what a dead keeper left. Blocking; for a thread; once its containers are accounted for."""
    folder = folders.keepers / str(number)
    journal = folder / "journal"
    shutil.rmtree(folders.scratch(number), ignore_errors=True)
    # Last: the journal is what a next attempt would need. Where the run folder is on a disk, it is elsewhere.
    if journal.is_symlink() and journal.readlink().name.startswith(f"ardock-{folders.engine_id}-k{number}-"):
        journal.readlink().unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _tidy_rest(folders: Folders) -> None:
    """Remove scratch directories and control groups of keepers that have no folder (any more). Blocking; for a thread.

    The run folder is empty after a reboot, the root folder is not; and a dead keeper stood in hierarchies that limit
    nothing, too. Nothing runs in them: the lock is ours, and a keeper that lives has a folder.
    """
    living = {f"{kind}{folder.name}" for folder in folders.keepers.iterdir() for kind in ("k", "keeper-")}
    for folder in (folders.root / "scratch").iterdir():
        if folder.name not in living:
            shutil.rmtree(folder, ignore_errors=True)
    stale = groups.left_behind(folders.engine_id) - living
    if stale:
        with groups.opened() as opened:
            for name in sorted(stale):
                opened.end_all(f"ardock-{folders.engine_id}/{name}")
    groups.remove_empty(folders.engine_id, stale, and_engine=True)
