"""The files of a log: finding all of them while they take new names, and reading whole records of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ardock.engine.logs import format as log_format

# Read at once: short enough for one thread hop to be over soon, long enough for the hop to be worth it.
PIECE: Final = 128 << 10


class Identity(NamedTuple):
    """A file, whatever its name; not given to another one as long as it is open."""

    device: int
    inode: int


class LogFile:
    """One open file of a log. Close it.

    Attributes:
        identity: Which file it is.
        offset: Output bytes before it.
        size: Its bytes when it was opened.
    """

    __slots__ = ("_fd", "identity", "offset", "size")

    def __init__(self, fd: int, offset: int, state: os.stat_result) -> None:
        self._fd = fd
        self.identity = Identity(state.st_dev, state.st_ino)
        self.offset = offset
        self.size = state.st_size

    @classmethod
    def open(cls, path: Path) -> LogFile | None:
        """Open the file of this name; None where there is none, or one whose header is not whole.

        Such is the youngest for a moment, and for ever where the machine lost power then: it holds no record.

        Raises:
            OSError: It cannot be opened.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            offset = log_format.offset_of(os.pread(fd, log_format.FILE_HEADER, 0))
            if offset is not None:
                return cls(fd, offset, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def __repr__(self) -> str:
        return f"<LogFile {self.identity.inode} from {self.offset}>"

    @property
    def name(self) -> str:
        """A path that leads to this file, whatever its name is now."""
        return f"/proc/self/fd/{self._fd}"

    def size_now(self) -> int:
        """Its bytes."""
        return os.fstat(self._fd).st_size

    def read(self, at: int, end: int | None = None) -> bytes:
        """Whole records from `at`, where one begins: a piece of them, at least one; nothing where there is none.

        Args:
            at: Bytes from the file's start.
            end: Read nothing behind it.
        """
        most = PIECE if end is None else min(PIECE, end - at)
        if most <= 0:
            return b""
        buffer = os.pread(self._fd, most, at)
        needed = log_format.size_of_first(buffer)
        # A length that the file cannot have is a torn header's, and no reason to ask for so much memory.
        if needed > len(buffer) and at + needed <= (self.size_now() if end is None else end):
            buffer = os.pread(self._fd, needed, at)
        return buffer

    def pieces(self, end: int) -> Iterator[bytes]:
        """All pieces of it up to `end`."""
        at = log_format.FILE_HEADER
        while True:
            buffer = self.read(at, end)
            last = 0
            for record in log_format.records(buffer):
                last = record.end
            if last == 0:
                return
            yield buffer[:last]
            at += last

    def close(self) -> None:
        """Close it. Safe to call again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def is_youngest(folder: Path, name: str, file: LogFile) -> bool:
    """Whether records still go to this file: it has the log's own name."""
    try:
        state = (folder / name).lstat()
    except FileNotFoundError:
        return False
    return (state.st_dev, state.st_ino) == file.identity


def open_all(folder: Path, name: str, behind: LogFile | None = None) -> tuple[list[LogFile], bool]:
    """Every file of a log that is younger than `behind` (None: every one), the youngest first; and whether `behind` was met.

    Rotation goes on meanwhile: a file only ever takes the next higher number. So going through the numbers upwards meets each
    file that was there at the beginning (unless it was removed), some twice, and of the files made meanwhile none without
    its elder ones. No number may be left out, as there is a hole where the next rename is due.
    """
    files: list[LogFile] = []
    seen: set[Identity] = set()
    met = False
    try:
        for number in range(log_format.MAX_FILES + 1):
            file = LogFile.open(folder / (f"{name}.{number}" if number else name))
            if file is None:
                continue
            if behind is not None and file.identity == behind.identity:
                file.close()
                met = True
                break
            if file.identity in seen:
                file.close()
                continue
            seen.add(file.identity)
            files.append(file)
    except BaseException:
        close_all(files)
        raise
    # A file made meanwhile may have overtaken the look-out.
    files.sort(key=lambda file: file.offset, reverse=True)
    return files, met


def close_all(files: list[LogFile]) -> None:
    """Close them."""
    for file in files:
        file.close()
