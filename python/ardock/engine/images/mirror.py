"""A copy of each image's row beside its content: ``<root>/content/images/<hex>``.

The database has the truth. The copies are for the day on which it is lost: names are nowhere else. They are written before
their row and removed after it, and without a sync of their own: what a loss of power takes is only what could be used if the
database went at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ardock.engine.content.disk import unusable
from ardock.engine.images.core import in_thread
from ardock.engine.images.index import Index
from ardock.engine.images.record import Record, decode, encode
from ardock.model.errors import ArdockError, FolderUnusable
from ardock.model.reference import DIGEST_DIGITS

_NEW: Final = ".new"


class Mirror:
    """The copies of one engine."""

    def __init__(self, root: Path) -> None:
        """In the engine's root folder."""
        self._folder = root / "content" / "images"

    def open(self) -> None:
        """Make the folder; blocks.

        Raises:
            FolderUnusable: It cannot be made.
            DiskFull: Idem.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(error) from error

    def read(self) -> tuple[list[Record], list[str]]:
        """All copies that can be read, and the names of the files that cannot; blocks.

        Raises:
            FolderUnusable: The folder cannot be read.
        """
        records, damaged = [], []
        try:
            for path in sorted(self._folder.iterdir()):
                if len(path.name) not in DIGEST_DIGITS.values():
                    continue
                try:
                    record = decode(path.name, path.read_bytes())
                except FolderUnusable:
                    damaged.append(path.name)
                    continue
                if _name(record) == path.name:
                    records.append(record)
                else:
                    damaged.append(path.name)
        except OSError as error:
            raise unusable(error) from error
        return records, damaged

    def tidy(self, index: Index) -> None:
        """Make the copies those of `index`; blocks. An engine that was killed may have left others.

        Raises:
            FolderUnusable: They cannot be written.
            DiskFull: Idem.
        """
        wanted = {_name(record): record for record in index}
        try:
            there = set(os.listdir(self._folder))  # noqa: PTH208 - names alone
            for name in there - wanted.keys():
                (self._folder / name).unlink()
        except OSError as error:
            raise unusable(error) from error
        for name in wanted.keys() - there:
            self._put(wanted[name])

    async def put(self, records: Sequence[Record]) -> None:
        """Write these copies.

        Raises:
            DiskFull: There is no room.
            FolderUnusable: The disk fails.
        """

        def run() -> None:
            for record in records:
                self._put(record)

        if records:
            await in_thread(run)

    async def drop(self, records: Sequence[Record]) -> None:
        """Remove these copies. What cannot be removed is removed by the next engine."""

        def run() -> None:
            for record in records:
                with contextlib.suppress(OSError):
                    (self._folder / _name(record)).unlink(missing_ok=True)

        if records:
            await in_thread(run)

    async def restore(self, records: Sequence[Record], index: Index) -> None:
        """Undo `put`: the copies of these are what `index` has of them."""
        known = [index.by_id[record.id] for record in records if record.id in index.by_id]
        await self.drop([record for record in records if record.id not in index.by_id])
        # Where there is no room for the former ones either, the next opening writes them.
        with contextlib.suppress(ArdockError):
            await self.put(known)

    def _put(self, record: Record) -> None:
        path = self._folder / _name(record)
        new = path.with_suffix(_NEW)
        try:
            new.write_bytes(encode(record)[1])
            new.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise unusable(error) from error


def _name(record: Record) -> str:
    return record.id.partition(":")[2]
