"""Writes logs as the keeper does (rust/keeper/src/log/file.rs), one system call after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ardock.engine.logs import format as log_format


class LogWriter:
    """A log being written.

    Attributes:
        text: All output of the log so far, lost bytes as ``?``.
        records: What was written: time, stream, data, cursor after it.
        turns: How often it was rotated.
    """

    def __init__(
        self, folder: Path, *, max_size: int = 300, max_files: int = 3, pause: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder
        self.max_size = max_size
        self.max_files = max_files
        self.pause = pause
        self.text = b""
        self.records: list[tuple[int, int, bytes, int]] = []
        self.turns = 0
        self.fd = self._create("log")

    def name(self, number: int) -> Path:
        return self.folder / (f"log.{number}" if number else "log")

    def write(self, data: bytes, stream: int = 1, time: int = 0) -> None:
        while data:
            room = self.max_size - self.size - log_format.RECORD_HEADER
            if room <= 0 or (room < len(data) and self.size > self.max_size // 2):
                self.turn()
                continue
            now, data = data[:room], data[room:]
            self._append(time, stream, now)
            self.text += now
            self.records.append((time, stream, now, len(self.text)))

    def lose(self, count: int, time: int = 0) -> None:
        """The disk took no more, and then did again."""
        self._append(time, 0, count.to_bytes(8, "little"))
        self.text += b"?" * count

    def lose_at_turn(self, count: int) -> None:
        """The disk took no more, and then a fresh file."""
        self.text += b"?" * count
        self.turn()

    def tear(self, data: bytes) -> None:
        """The beginning of a record, whose end never comes."""
        os.write(self.fd, data)

    def mend(self) -> None:
        """Cut a torn end, as a keeper does that continues a log."""
        os.ftruncate(self.fd, self.size)

    def turn(self) -> None:
        fresh = self._create("log.new")
        for number in reversed(range(self.max_files - 1)):
            self.pause()
            if self.name(number).exists():
                self.name(number).rename(self.name(number + 1))
        self.pause()
        (self.folder / "log.new").rename(self.name(0))
        self.pause()
        os.close(self.fd)
        self.fd = fresh
        self.turns += 1

    def close(self) -> None:
        os.close(self.fd)

    def _create(self, name: str) -> int:
        fd = os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.pause()
        os.write(fd, log_format.file_header(len(self.text)))
        self.size = log_format.FILE_HEADER
        self.pause()
        return fd

    def _append(self, time: int, stream: int, data: bytes) -> None:
        record = log_format.record_header(time, stream, len(data)) + data
        # A reader may see any beginning of what is being written.
        for piece in (record[:5], record[5:20], record[20:]):
            os.write(self.fd, piece)
            self.pause()
        self.size += len(record)
