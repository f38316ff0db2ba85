"""What an earlier engine on this root folder left behind: found, ended, reported.

A keeper that lives is asked for its list; what still runs there is killed and awaited, its output and exit taken over, and
the keeper then ends by itself. Of a keeper that is dead the journal tells what it had; what survived it is killed through
its control groups and recorded as ``lost``. Only this engine's id is ever touched.
"""

from __future__ import annotations

import errno
import shutil
import signal
import time
from typing import Final, Literal

import msgspec
import trio

from ardock import _core
from ardock.engine.folders import Folders
from ardock.engine.keepers import groups
from ardock.engine.keepers.connection import Connection
from ardock.model import messages as m
from ardock.model.errors import KeeperLost, KeeperUnavailable, NotFound
from ardock.model.records import Adopted, Blob, ExitRecord

Outcome = Literal["exited", "killed", "lost"]

# 5 s in all for one that does not listen to be gone.
_ATTEMPTS: Final = 100
_PAUSE: Final = 0.05
# connect(2) to a socket that nobody listens on: its keeper is dead (or never listened). Anything else is no proof.
_DEAD: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})


class JournalProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A container of a dead keeper's journal.

    Attributes:
        id: The container.
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
_decode_blob: Final = msgspec.msgpack.Decoder(Blob).decode


async def adopt_all(folders: Folders, nursery: trio.Nursery) -> tuple[list[Adopted], list[int]]:
    """End and report what earlier keepers of this engine hold.

    Returns:
        What was left behind, and the numbers of keepers that must not be used again yet.

    Raises:
        KeeperUnavailable: A keeper is there and cannot be talked to (another version, no answer).
        LaunchFailed: A survivor's control group could not be ended.
    """
    adopted: list[Adopted] = []
    numbers = sorted(int(folder.name) for folder in folders.keepers.iterdir() if folder.name.isdecimal())
    for number in numbers:
        adopted.extend(await adopt_one(folders, number, nursery))
    await trio.to_thread.run_sync(_tidy_rest, folders)
    return adopted, numbers


async def adopt_one(folders: Folders, number: int, nursery: trio.Nursery) -> list[Adopted]:
    """End and report what keeper `number` holds, whether it lives or not.

    Raises:
        As `adopt_all`.
    """
    folder = str(folders.keepers / str(number))
    for _ in range(_ATTEMPTS):
        connection = await _connect(folders, number, nursery)
        if connection is not None:
            return await _end_living(connection)
        # The lock is the proof of death. Its launchers hold it, too, until they have seen that their keeper is dead.
        if not _core.keeper_is_alive(folder):
            return await trio.to_thread.run_sync(_tidy_dead, folders, number)
        await trio.sleep(_PAUSE)
    return []  # It listens no more, holds nothing, and takes its time to end: it tidies up behind itself.


async def _connect(folders: Folders, number: int, nursery: trio.Nursery) -> Connection | None:
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
    nursery.start_soon(connection.run)
    return connection


async def _end_living(connection: Connection) -> list[Adopted]:
    """Kill what runs on a keeper that lives, take everything over, and let the keeper end."""
    with trio.CancelScope(shield=True):
        running_at_first: set[str] | None = None
        pause = 0.005
        while True:
            entries = await connection.entries()
            running = {entry.id for entry in entries if entry.exit is None}
            running_at_first = running if running_at_first is None else running_at_first
            if not running:
                break
            for entry in entries:
                # One that is still being launched is killed in a later round.
                if entry.exit is None and entry.started is not None:
                    await connection.signal_id(entry.id, None, signal.SIGKILL)
            await trio.sleep(pause)
            pause = min(pause * 2, 0.1)
        adopted: list[Adopted] = []
        for entry in entries:
            end = entry.exit
            assert end is not None, "none runs"
            stdout = await _captured(connection, entry.id, 1, end.stdout, end.stdout_total)
            stderr = await _captured(connection, entry.id, 2, end.stderr, end.stderr_total)
            started_at = 0 if entry.started is None else entry.started.started_at
            outcome: Outcome = "killed" if entry.id in running_at_first else "exited"
            adopted.append(_record(entry.id, entry.blob, end, started_at, outcome, stdout=stdout, stderr=stderr))
        for entry in entries:
            for exec_id, _ in entry.execs:
                connection.ack(entry.id, exec_id)
            connection.ack(entry.id, None)
        await connection.flush()
        connection.close()
    return adopted


async def _captured(connection: Connection, container_id: str, stream: int, first: bytes, total: int) -> bytes:
    """One captured stream, as far as it was captured."""
    pieces = bytearray(first)
    while len(pieces) < total:
        try:
            piece = await connection.captured(container_id, None, stream, len(pieces))
        except NotFound:
            break  # It was not captured at all.
        if not piece:
            break
        pieces += piece
    return bytes(pieces)


def _record(
    container_id: str, blob: bytes, end: m.Exit, started_at: int, outcome: Outcome, *, stdout: bytes, stderr: bytes
) -> Adopted:
    about = read_blob(blob)
    return Adopted(
        id=container_id,
        outcome=outcome,
        exit=ExitRecord(
            id=container_id,
            exit_code=end.code,
            signal=end.signal,
            oom_killed=end.oom,
            started_at=started_at,
            finished_at=end.finished_at,
        ),
        argv=about.argv,
        labels=about.labels,
        stdout=stdout,
        stderr=stderr,
        log=about.log,
    )


def read_blob(blob: bytes) -> Blob:
    """An engine's record; an empty one where it cannot be read (a later engine's, or damaged)."""
    try:
        return _decode_blob(blob)
    except msgspec.DecodeError:
        return Blob()


def _tidy_dead(folders: Folders, number: int) -> list[Adopted]:
    """Account for a dead keeper's containers, end what survived, remove what it left. Blocking; for a thread.

    Raises:
        LaunchFailed: A control group could not be ended; everything is then still there for the next attempt.
    """
    folder = folders.keepers / str(number)
    journal = folder / "journal"
    adopted: list[Adopted] = []
    programs = _decode_journal(_core.read_journal(str(journal)))
    mine = groups.left_behind(folders.engine_id) & {f"k{number}", f"keeper-{number}"}
    if mine:
        with groups.opened() as opened:
            # All that are there, not those that the journal names: its tail may be torn.
            for name in sorted(mine):
                opened.end_all(f"ardock-{folders.engine_id}/{name}")
        groups.remove_empty(folders.engine_id, mine, and_engine=False)
    for program in programs:
        if program.exit is not None:
            started_at = program.started_at or 0
            adopted.append(
                _record(
                    program.id,
                    program.blob,
                    program.exit,
                    started_at,
                    "exited",
                    stdout=program.exit.stdout,
                    stderr=program.exit.stderr,
                )
            )
        else:
            adopted.append(lost(program))
    shutil.rmtree(folders.scratch(number), ignore_errors=True)
    # Last: the journal is what a next attempt would need. Where the run folder is on a disk, it is elsewhere.
    if journal.is_symlink() and journal.readlink().name.startswith(f"ardock-{folders.engine_id}-k{number}-"):
        journal.readlink().unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return adopted


def lost(program: JournalProgram) -> Adopted:
    """The record of a container that went with its keeper."""
    about = read_blob(program.blob)
    return Adopted(
        id=program.id,
        outcome="lost",
        exit=ExitRecord(
            id=program.id,
            exit_code=255,
            reason="lost",
            started_at=program.started_at or 0,
            finished_at=time.time_ns(),
        ),
        argv=about.argv,
        labels=about.labels,
        log=about.log,
    )


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
