"""Using up a disk's room."""

from __future__ import annotations

import errno
from pathlib import Path


def fill(path: Path) -> None:
    """Use up all room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
