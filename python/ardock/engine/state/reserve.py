"""Room on the disk that is given up when it is full, so that what must be written still can be."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

# Some thousand commits: each is a few pages of the write-ahead log, which begins anew after every checkpoint.
RESERVE_BYTES: Final = 4 << 20


class Reserve:
    """The file that holds the room. Its methods block, and may be called from several threads.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is neither looked at nor made."""
        self.path: Path = path
        self._lock = threading.Lock()

    def make(self) -> bool:
        """Have it, where there is room for it and as much again; whether it is there now."""
        with self._lock:
            try:
                if self.path.stat().st_size == RESERVE_BYTES:
                    return True
            except FileNotFoundError:
                pass
            room = os.statvfs(self.path.parent)
            if room.f_bavail * room.f_frsize < 2 * RESERVE_BYTES:
                return False
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            except OSError:
                # Full after all, or past a quota: half a reserve is none.
                self.path.unlink(missing_ok=True)
                return False
            finally:
                os.close(fd)
            return True

    def release(self) -> bool:
        """Give the room up; whether there was any."""
        with self._lock:
            try:
                self.path.unlink()
            except FileNotFoundError:
                return False
            return True
