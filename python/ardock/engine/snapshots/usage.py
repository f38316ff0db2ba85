"""How much room a tree takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ardock.engine.snapshots.contract import Usage
from ardock.engine.snapshots.errors import told

_BLOCK: Final = 512  # of st_blocks, whatever the file system's own is (stat(2))


def usage_of(path: Path) -> Usage:
    """Of the tree at `path`, each file counted once however many names it has; what is mounted within is not looked into."""
    with told("take the room of a snapshot"):
        top = path.lstat()
        size, count = top.st_blocks * _BLOCK, 1
        linked: set[int] = set()
        todo = [str(path)]
        while todo:
            try:
                entries = os.scandir(todo.pop())
            except FileNotFoundError:  # removed by who runs on it
                continue
            with entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if status.st_dev != top.st_dev:
                        continue
                    if stat.S_ISDIR(status.st_mode):
                        todo.append(entry.path)
                    elif status.st_nlink > 1:
                        if status.st_ino in linked:
                            continue
                        linked.add(status.st_ino)
                    size += status.st_blocks * _BLOCK
                    count += 1
        return Usage(size, count)
