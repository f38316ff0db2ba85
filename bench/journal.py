"""A disk as most users have it: ext4 with a journal, on a loop device of its own, whatever this machine's disk is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.systems import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = "6G"
"""Sparse."""


@contextmanager
def journalled(disk: Path, size: str = SIZE) -> Iterator[Path]:
    """Mount a fresh ext4 with a journal that lies in a sparse file in `disk`, and unmount it in the end.

    The options are mkfs.ext4's and mount's own: an ordered journal and barriers, as an installer makes it. Inode tables
    are made at once, so that no thread of the kernel's makes them while others are measured.

    Raises:
        UnusableError: There is no loop device, or no mkfs.ext4.
    """
    folder = Path(tempfile.mkdtemp(prefix="ardock-bench-j-", dir=disk))
    image, mounted = folder / "image", folder / "m"
    mounted.mkdir()
    try:
        _call("truncate", "-s", size, str(image))
        _call("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        _call("mount", "-o", "loop", str(image), str(mounted))
        try:
            yield mounted
        finally:
            # What runs in the background of a stopped engine may hold it for a moment longer.
            subprocess.run(["umount", "--lazy", str(mounted)], check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _call(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UnusableError(f"{words[0]} is not installed") from None
    if done.returncode:
        raise UnusableError(f"{' '.join(words)}: {done.stderr.strip()}")
