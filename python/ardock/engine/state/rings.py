"""Tables that are written at one end and pruned at the other: see `ardock.engine.state.database`. All of this blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

# A pass of pruning looks at so many rows: it is between two commits.
_PRUNED_AT_ONCE: Final = 1024


class Ring:
    """Where a ring table goes on.

    Attributes:
        name: The table's.
        row: The number of its last row; 0 before the first.
        entries: Number of entries in all rows so far, pruned ones too.
        bytes: Their length, idem.
    """

    __slots__ = ("_oldest", "_writer", "bytes", "entries", "name", "row")

    def __init__(self, writer: sqlite3.Connection, name: str) -> None:
        """Look where it goes on.

        Raises:
            sqlite3.Error: The database is damaged.
        """
        self._writer = writer
        self.name = name
        last = writer.execute(
            f"SELECT row, entries + count, bytes + length(data) FROM {name} ORDER BY row DESC LIMIT 1"  # noqa: S608 - our own names
        ).fetchone()
        self.row, self.entries, self.bytes = (0, 0, 0) if last is None else map(int, last)
        self._oldest = self._before()

    @property
    def kept_bytes(self) -> int:
        """The length of the entries that are still there."""
        return self.bytes - self._oldest

    def grow(self, row: int, count: int, size: int) -> None:
        """Note that a row was written, with so many entries of so many bytes."""
        self.row = row
        self.entries += count
        self.bytes += size

    def _before(self) -> int:
        """The length of all that was before the oldest row."""
        first = self._writer.execute(f"SELECT bytes FROM {self.name} ORDER BY row LIMIT 1").fetchone()  # noqa: S608 - our own names
        return self.bytes if first is None else int(first[0])

    def prune(
        self,
        *,
        entries: int | None,
        size: int | None,
        age: float,
        age_of: Callable[[str, int, int], int],
        spare_last: bool = False,
    ) -> bool:
        """Remove rows from the old end as long as the rest is that much; whether there may be more to remove.

        Args:
            entries: So many entries are enough; None if no number is.
            size: So many bytes, idem.
            age: s for which an entry is kept.
            age_of: The age in ns, of a row's epoch, wall clock and CLOCK_BOOTTIME.
            spare_last: The last row stays.

        Raises:
            sqlite3.Error: It could not be done.
        """
        gone = None
        looked = 0
        rows = self._writer.execute(
            f"SELECT row, entries + count, bytes + length(data), epoch, written, boot FROM {self.name} ORDER BY row LIMIT ?",  # noqa: S608 - our own names
            (_PRUNED_AT_ONCE,),
        ).fetchall()
        for row, entries_with, bytes_with, epoch, written, boot in rows:
            many = entries is not None and self.entries - entries_with >= entries
            large = size is not None and self.bytes - bytes_with >= size
            if (spare_last and row == self.row) or not (many or large or age_of(epoch, written, boot) > age * 1e9):
                break
            gone = row
            looked += 1
        if gone is None:
            return False
        self._writer.execute(f"DELETE FROM {self.name} WHERE row <= ?", (gone,))  # noqa: S608 - our own names
        self._oldest = self._before()
        return looked == _PRUNED_AT_ONCE
