"""On which file system a folder is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ardock.engine.snapshots.errors import told


class Place(NamedTuple):
    """A mount.

    Attributes:
        kind: Of file system; empty where that cannot be told.
        target: Where it is mounted.
    """

    kind: str
    target: str

    @property
    def shown(self) -> str:
        """The kind, for a sentence."""
        return self.kind or "an unknown file system"


def place_of(folder: Path) -> Place:
    """The mount that an existing folder is on, whatever is mounted over or beside it.

    Raises:
        FolderUnusable: The folder, or the table of mounts, cannot be read.
    """
    with told("look at the root folder"):
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
        finally:
            os.close(descriptor)
        number = next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")
        # proc_pid_mountinfo(5): id, parent, device, root, target, options, optional fields up to "-", kind, source, options.
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            words = line.split()
            if words[0] == number:
                return Place(words[words.index("-", 6) + 1], words[4])
    return Place("", "/")
