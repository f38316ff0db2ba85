"""An image's content in an empty volume, at its first use."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ardock import _core
from ardock.engine.failpoints import reach


def fill(data: Path, layers: Sequence[str], target: str, aside: Path | None) -> None:
    """Give an empty directory what an image has at `target`, with its owner and mode. Blocks.

    Nothing is done where it is not empty, or the image has no directory there.

    Args:
        data: The volume's directory; its lock is held.
        layers: The image's directories, topmost first.
        target: Path in the image.
        aside: A free path on the same file system. The copy is made there and takes the empty directory's place by one rename,
            which the kernel refuses where that is not empty: so it is filled whole or not at all, whatever stops the engine in
            between. None, where `data` is a mount: it is filled in place, and emptied again after an error.

    Raises:
        OSError: The disk is full, or fails otherwise; nothing of it is left.
    """
    with os.scandir(data) as entries:
        if any(entries):
            return
    if aside is None:
        try:
            copy(layers, target, data)
        except BaseException:
            for left in os.scandir(data):
                _core.remove_tree(left.path)
            raise
        return
    aside.mkdir(mode=0o755)
    try:
        aside.chmod(0o755)
        copy(layers, target, aside)
        reach("volume.filled")
        aside.rename(data)
    finally:
        if aside.exists():
            _core.remove_tree(str(aside))


def copy(layers: Sequence[str], target: str, into: Path) -> None:
    """Stand-in for `_core.copy_tree`: the topmost layer that has the directory, without xattrs and hard links."""
    for layer in layers:
        source = Path(layer) / target.lstrip("/")
        if not source.is_dir() or source.is_symlink():
            continue
        try:
            shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True)
        except shutil.Error as error:
            number = errno.ENOSPC if "Errno 28" in str(error) else errno.EIO
            raise OSError(number, os.strerror(number), str(into)) from error
        for folder, folders, files in os.walk(source):
            for entry in ("", *folders, *files):
                path = Path(folder) / entry
                status = path.lstat()
                made = into / path.relative_to(source)
                os.chown(made, status.st_uid, status.st_gid, follow_symlinks=False)
                if not path.is_symlink():
                    made.chmod(status.st_mode & 0o7777)
        return
