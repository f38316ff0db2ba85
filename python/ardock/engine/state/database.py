"""The database: what is in it, whose it is, and opening it. All of this blocks.

One SQLite file in WAL mode. Three tables are rings, written at one end and pruned at the other: the journal, the exits of
departed containers, the results of requests. A ring has one row for each commit, whatever was in it: a commit is few
statements (see `ardock.engine.state.store`).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from ardock.model.errors import ArdockError, DiskFull, FolderUnusable, NotPermitted

NAME: Final = "ardock.db"
APPLICATION_ID: Final = 0x6172646B  # "ardk"
SCHEMA_VERSION: Final = 2

# What a ring's columns are:
#   row      the number of the commit's first event (journal), or a counter
#   epoch    the journal's epoch then: one epoch is one boot of the machine at most, so within it `boot` is comparable
#   written  wall clock, ns since 1970
#   boot     CLOCK_BOOTTIME, ns
#   count    number of entries in `data`
#   entries  number of entries in all rows before, pruned ones too
#   bytes    length of `data` in all rows before, idem
#   data     the entries, in MessagePack
_RING: Final = """
    row INTEGER PRIMARY KEY, epoch TEXT NOT NULL, written INTEGER NOT NULL, boot INTEGER NOT NULL,
    count INTEGER NOT NULL, entries INTEGER NOT NULL, bytes INTEGER NOT NULL
"""
_SCHEMA: Final = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (number INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, boot_id TEXT NOT NULL,
    first INTEGER NOT NULL, opened INTEGER NOT NULL);
CREATE TABLE containers (id TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE images (id TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE volumes (id TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE journal ({_RING}, latest INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE exits ({_RING}, data BLOB NOT NULL);
CREATE TABLE requests ({_RING}, data BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

# From each version to the next; all of them in one transaction, so a database is of one version or of the other.
_MIGRATIONS: Final = {
    1: "CREATE TABLE volumes (id TEXT PRIMARY KEY, record BLOB NOT NULL);",
}

# The room is gone, however SQLite noticed: in a write, in making its shared memory longer, in making a file.
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


class Connections(NamedTuple):
    """An open database. Each connection is used by one thread at a time.

    Attributes:
        path: The file.
        writer: The one that writes.
        reader: One that only reads, beside it.
        fresh: The database was made now.
    """

    path: Path
    writer: sqlite3.Connection
    reader: sqlite3.Connection
    fresh: bool

    def close(self) -> None:
        """Close; the last connection writes the log back into the database."""
        self.reader.close()
        self.writer.close()


# What a database that is damaged or cannot be reached raises. Python decodes names and messages of SQLite that may be the damage.
FAILURES: Final = (sqlite3.Error, OSError, UnicodeDecodeError)


def is_full(error: BaseException) -> bool:
    """The error says that there is no room left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in _FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def unusable(path: Path, error: sqlite3.Error | OSError | UnicodeDecodeError) -> ArdockError:
    """What a failure of the database means to the user."""
    if isinstance(error, UnicodeDecodeError):
        return damaged(path, str(error))
    if is_full(error):
        return DiskFull(f"{path.parent}: the file system is full; free space on it")
    if isinstance(error, OSError):
        text = f"{error.filename or path}: {error.strerror or error}"
        return NotPermitted(text) if isinstance(error, PermissionError) else FolderUnusable(text)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return FolderUnusable(f"{path}: is no SQLite database; {_remedy(path)}")
    # A table that is not there, or is another: the version is ours, so somebody else has changed it.
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return damaged(path, str(error))
    return FolderUnusable(f"{path}: {error}")


def damaged(path: Path, why: str) -> FolderUnusable:
    """The database holds what no ardock has written."""
    return FolderUnusable(f"{path}: is damaged ({why}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return (
        f"put back a copy of {path.parent}, or move that folder away to begin with an empty state (containers, images' names, "
        "exit codes and events are forgotten then)"
    )


def connect(path: Path, engine_id: str) -> Connections:
    """Open the database, or make it.

    Raises:
        FolderUnusable: It is another program's, a newer ardock's, another engine's, damaged, or cannot be opened.
        NotPermitted: It may not be opened.
        DiskFull: There is no room to open it.
    """
    connections: list[sqlite3.Connection] = []
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        connections.append(writer)
        fresh = _check(writer, path)
        # NORMAL: a commit survives the process, and what must survive power too is synced by the store itself.
        # The write-ahead log stays well below the reserve: on a full disk all of it must go into a database that grows by as much.
        pragmas = (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "secure_delete = OFF",
            "temp_store = MEMORY",
            "wal_autocheckpoint = 250",
        )
        for pragma in pragmas:
            writer.execute(f"PRAGMA {pragma}")
        if fresh:
            writer.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            writer.execute("INSERT INTO about VALUES ('engine_id', ?)", (engine_id,))
        else:
            _check_owner(writer, path, engine_id)
            _migrate(writer)
        reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        connections.append(reader)
        reader.execute("PRAGMA query_only = ON")
        _sync_folder(path.parent)
    except BaseException as error:
        for connection in connections:
            connection.close()
        if isinstance(error, FAILURES):
            raise unusable(path, error) from error
        raise
    return Connections(path, writer, reader, fresh)


def _check(writer: sqlite3.Connection, path: Path) -> bool:
    """Whether it is empty.

    Raises:
        FolderUnusable: It is not ours, or not yet.
    """
    application = _number(writer, "PRAGMA application_id")
    version = _number(writer, "PRAGMA user_version")
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise FolderUnusable(
                f"{path}: written by a newer ardock (schema {version}; this one knows {SCHEMA_VERSION}); use that version, or another root folder"
            )
        return False
    if application == 0 and version == 0 and _number(writer, "SELECT count(*) FROM sqlite_master") == 0:
        return True  # no file, an empty one, or one whose making was cut short
    raise FolderUnusable(f"{path}: is another program's database (application id {application:#x}); {_remedy(path)}")


def _migrate(writer: sqlite3.Connection) -> None:
    """Bring what an earlier ardock wrote up to this one's tables."""
    version = _number(writer, "PRAGMA user_version")
    if version < SCHEMA_VERSION:
        steps = " ".join(_MIGRATIONS[each] for each in range(version, SCHEMA_VERSION))
        writer.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _check_owner(writer: sqlite3.Connection, path: Path, engine_id: str) -> None:
    row = writer.execute("SELECT value FROM about WHERE key = 'engine_id'").fetchone()
    if row is None:
        writer.execute("INSERT INTO about VALUES ('engine_id', ?)", (engine_id,))
    elif row[0] != engine_id:
        raise FolderUnusable(
            f"{path}: belongs to the engine {row[0]}, and this root folder's id is {engine_id}; write {row[0]} into the file engine-id, or {_remedy(path)}"
        )


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _sync_folder(folder: Path) -> None:
    """The names of the files survive a loss of power, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
