"""Reading and writing the database, synchronously: called in worker threads, one of which writes at a time.

Why a commit is one statement: sqlite3 gives up Python's global lock in every step of a statement, and gets it back only when
the event loop's thread lets go of it, up to 5 ms later. Six statements took 30 ms beside a busy loop, one takes 5 (measured).
So all of a commit is inserted as one row into a view, whose trigger distributes it; the containers' rows travel as one blob
with an index in JSON, since JSON cannot hold bytes. (Of an empty blob `substr` makes NULL.)
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ardock.engine import failpoints
from ardock.engine.state.database import Connections
from ardock.engine.state.epochs import Epoch
from ardock.engine.state.journal import Entry
from ardock.engine.state.pending import Payload
from ardock.engine.state.records import Clocks, Departed, Past, Retention
from ardock.engine.state.rings import Ring

_COLUMNS: Final = (
    "epoch, written, boot, first, latest, events, event_count, event_bytes, exits, exit_count, exit_entries, exit_bytes, exit_row, "
    "requests, request_count, request_entries, request_bytes, request_row, put, rows, gone, put_images, image_rows, gone_images, "
    "put_volumes, volume_rows, gone_volumes"
)
_VIEW: Final = ", ".join(f"NULL AS {name.strip()}" for name in _COLUMNS.split(","))
_DISTRIBUTE: Final = """
CREATE TEMP TRIGGER distribute INSTEAD OF INSERT ON changes BEGIN
    INSERT OR REPLACE INTO journal SELECT NEW.first, NEW.epoch, NEW.written, NEW.boot, NEW.event_count, NEW.first - 1,
        NEW.event_bytes, NEW.latest, NEW.events WHERE NEW.events IS NOT NULL;
    INSERT OR REPLACE INTO exits SELECT NEW.exit_row, NEW.epoch, NEW.written, NEW.boot, NEW.exit_count, NEW.exit_entries,
        NEW.exit_bytes, NEW.exits WHERE NEW.exits IS NOT NULL;
    INSERT OR REPLACE INTO requests SELECT NEW.request_row, NEW.epoch, NEW.written, NEW.boot, NEW.request_count,
        NEW.request_entries, NEW.request_bytes, NEW.requests WHERE NEW.requests IS NOT NULL;
    INSERT OR REPLACE INTO containers SELECT json_extract(value, '$[0]'),
        coalesce(substr(NEW.rows, json_extract(value, '$[1]'), json_extract(value, '$[2]')), x'') FROM json_each(NEW.put);
    DELETE FROM containers WHERE NEW.gone IS NOT NULL AND id IN (SELECT value FROM json_each(NEW.gone));
    INSERT OR REPLACE INTO images SELECT json_extract(value, '$[0]'),
        coalesce(substr(NEW.image_rows, json_extract(value, '$[1]'), json_extract(value, '$[2]')), x'') FROM json_each(NEW.put_images);
    DELETE FROM images WHERE NEW.gone_images IS NOT NULL AND id IN (SELECT value FROM json_each(NEW.gone_images));
    INSERT OR REPLACE INTO volumes SELECT json_extract(value, '$[0]'),
        coalesce(substr(NEW.volume_rows, json_extract(value, '$[1]'), json_extract(value, '$[2]')), x'') FROM json_each(NEW.put_volumes);
    DELETE FROM volumes WHERE NEW.gone_volumes IS NOT NULL AND id IN (SELECT value FROM json_each(NEW.gone_volumes));
END;
"""
_INSERT: Final = f"INSERT INTO changes VALUES ({', '.join('?' * len(_COLUMNS.split(',')))})"  # noqa: S608 - our own names
# Older epochs cannot be told from a lost journal; a thousand boots are more than the journal ever holds.
_EPOCHS: Final = 1000


class Store:
    """The open database.

    Attributes:
        epoch: The current epoch.
        epochs: All known ones, the current one last.
        last: The number of the journal's last event.
        path: The database's file.
        new_boot: The current epoch was begun now.
    """

    def __init__(self, connections: Connections, boot_id: str, retention: Retention, clocks: Clocks) -> None:
        """Begin a new epoch where there is reason to.

        Raises:
            sqlite3.Error: The database is damaged, or there is no room.
        """
        self.path: Path = connections.path
        self._connections = connections
        self._writer = connections.writer
        self._retention = retention
        self._now = clocks.now
        self._boot = clocks.boot
        self._log: int | None = None
        self._writer.execute(f"CREATE TEMP VIEW changes AS SELECT {_VIEW}")
        self._writer.executescript(_DISTRIBUTE)
        self._journal = Ring(self._writer, "journal")
        self._exits = Ring(self._writer, "exits")
        self._requests = Ring(self._writer, "requests")
        self.last: int = self._journal.entries
        self.new_boot: bool = self._begin_epoch(boot_id)

    @property
    def journal_bytes(self) -> int:
        """Of the events that are kept."""
        return self._journal.kept_bytes

    def _begin_epoch(self, boot_id: str) -> bool:
        rows = self._writer.execute("SELECT epoch, first, boot_id FROM epochs ORDER BY number").fetchall()
        self.epochs: list[Epoch] = [Epoch(str(row[0]), int(row[1])) for row in rows]
        new = not rows or rows[-1][2] != boot_id
        if new:
            self.epochs.append(Epoch(secrets.token_hex(4), self.last + 1))
            self._writer.execute(
                "INSERT INTO epochs (epoch, first, boot_id, opened) VALUES (?, ?, ?, ?)",
                (*self.epochs[-1], boot_id, self._now()),
            )
            self._writer.execute("DELETE FROM epochs WHERE number <= (SELECT max(number) FROM epochs) - ?", (_EPOCHS,))
            self.sync()
        self.epoch: str = self.epochs[-1].name
        return new

    def rows(self, table: str) -> list[tuple[str, bytes]]:
        """All rows of ``containers``, ``images`` or ``volumes``.

        Raises:
            sqlite3.Error: The database is damaged.
            msgspec.MsgspecError: Idem.
        """
        found = self._writer.execute(f"SELECT id, record FROM {table}").fetchall()  # noqa: S608 - our own names
        return msgspec.convert(found, list[tuple[str, bytes]])

    def _age(self, epoch: str, written: int, boot: int) -> int:
        """How old a row is, in ns: by the clock that does not step where that is of this boot."""
        return max(0, self._boot() - boot if epoch == self.epoch else self._now() - written)

    def past(self) -> Past:
        """The exits and requests that are kept, the oldest first.

        Raises:
            sqlite3.Error: The database is damaged.
            msgspec.MsgspecError: Idem.
        """
        query = "SELECT epoch, written, boot, data FROM {} ORDER BY row"
        exits = [
            (departed, self._age(*place))
            for *place, data in self._writer.execute(query.format("exits"))
            for departed in msgspec.msgpack.decode(data, type=list[Departed])
        ]
        requests = [
            (request, result, self._age(*place))
            for *place, data in self._writer.execute(query.format("requests"))
            for request, result in msgspec.msgpack.decode(data, type=list[tuple[str, bytes]])
        ]
        return Past(exits, requests)

    def write(self, payload: Payload) -> None:
        """Commit. Repeated after an error, it does what is left to do.

        Raises:
            sqlite3.Error: It could not be written.
            OSError: It could not be synced.
        """
        exits = msgspec.msgpack.encode(payload.exits) if payload.exits else None
        requests = msgspec.msgpack.encode(payload.requests) if payload.requests else None
        entry = payload.entry
        failpoints.reach("commit.before")
        self._writer.execute(
            _INSERT,
            (
                self.epoch,
                self._now(),
                self._boot(),
                entry.first if entry else None,
                payload.latest,
                entry.body if entry else None,
                len(entry) if entry else 0,
                self._journal.bytes,
                exits,
                len(payload.exits),
                self._exits.entries,
                self._exits.bytes,
                self._exits.row + 1,
                requests,
                len(payload.requests),
                self._requests.entries,
                self._requests.bytes,
                self._requests.row + 1,
                *_rows_parameters(payload.put, payload.drop),
                *_rows_parameters(payload.put_images, payload.drop_images),
                *_rows_parameters(payload.put_volumes, payload.drop_volumes),
            ),
        )
        if payload.fsync:
            self.sync()
        failpoints.reach("commit.after")
        # Only now: what failed above is written again in the same rows.
        if entry:
            self.last = entry.last
            self._journal.grow(entry.first, len(entry), len(entry.body))
        if exits is not None:
            self._exits.grow(self._exits.row + 1, len(payload.exits), len(exits))
        if requests is not None:
            self._requests.grow(self._requests.row + 1, len(payload.requests), len(requests))

    def sync(self) -> None:
        """Let all that was committed survive a loss of power: it is in the write-ahead log, or in the database since SQLite synced that.

        Raises:
            OSError: The disk failed.
        """
        if self._log is None:
            # Kept open: it is one file as long as the writer is connected.
            self._log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        os.fdatasync(self._log)

    def shrink(self) -> bool:
        """Move the write-ahead log into the database and give its room back; whether that gave any."""
        log = Path(f"{self.path}-wal")
        before = log.stat().st_size
        # Where the database cannot grow, or a reader is in the log (which is not waited for), it stays as it is.
        self._writer.execute("PRAGMA busy_timeout = 0")
        with contextlib.suppress(sqlite3.OperationalError):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._writer.execute("PRAGMA busy_timeout = 10000")
        return log.stat().st_size < before

    def read(self, seq: int, most: int) -> list[Entry]:
        """Entries from the one with the event after `seq` (or from the oldest), about `most` bytes; at least one where there is one.

        Called in another thread than `write`.

        Raises:
            sqlite3.Error: The database is damaged.
            msgspec.MsgspecError: Idem.
        """
        entries = []
        rows = self._connections.reader.execute(
            "SELECT row, epoch, count, data FROM journal WHERE row >= "
            "coalesce((SELECT max(row) FROM journal WHERE row <= :next), 0) AND row + count > :next ORDER BY row",
            {"next": seq + 1},
        )
        for found in rows:
            row, epoch, count, data = msgspec.convert(found, tuple[int, str, int, bytes])
            entries.append(Entry(epoch, row, count, data))
            most -= len(data)
            if most <= 0:
                break
        rows.close()
        return entries

    def place_at(self, time: int) -> int | None:
        """The number before the first entry with an event at or after a wall clock (ns since 1970); None where there is none.

        Called in another thread than `write`.

        Raises:
            sqlite3.Error: The database is damaged.
        """
        found = self._connections.reader.execute("SELECT min(row) FROM journal WHERE latest >= ?", (time,)).fetchone()[
            0
        ]
        return None if found is None else int(found) - 1

    def prune(self) -> bool:
        """Remove some of what is past its time; whether there may be more.

        Raises:
            sqlite3.Error: It could not be done.
        """
        keep = self._retention
        more = self._journal.prune(
            entries=None, size=keep.journal_bytes, age=keep.journal_age, age_of=self._age, spare_last=True
        )
        more |= self._exits.prune(entries=keep.exits, size=None, age=keep.exit_age, age_of=self._age)
        return more | self._requests.prune(
            entries=keep.requests, size=keep.request_bytes, age=keep.request_age, age_of=self._age
        )

    def prune_due(self) -> bool:
        """The journal is a good deal longer than it may be."""
        return self.journal_bytes > self._retention.journal_bytes + self._retention.journal_bytes // 16

    def close(self) -> None:
        """Close the database."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self._connections.close()


def _rows_parameters(put: dict[str, bytes], drop: Iterable[str]) -> tuple[str | None, bytes | None, str | None]:
    """Index and rows of what is put (places count from 1), and the ids of what is dropped."""
    index = []
    place = 1
    for key, row in put.items():
        index.append((key, place, len(row)))
        place += len(row)
    gone = list(drop)
    return (
        json.dumps(index) if put else None,
        b"".join(put.values()) if put else None,
        json.dumps(gone) if gone else None,
    )
