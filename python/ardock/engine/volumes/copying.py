"""An image's content in an empty volume, at its first use."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from ardock import _core
from ardock.engine.failpoints import reach
from ardock.model.errors import Cancelled, DiskFull, FolderUnusable


class Content(NamedTuple):
    """What an image has at a path.

    Attributes:
        layers: The image's directories, topmost first.
        layout: How they tell of deletions; see `ardock._core.copy_tree`.
        path: Path in the image; links in it are followed as in a container.
    """

    layers: tuple[str, ...]
    layout: str
    path: str


def fill(data: Path, content: Content, aside: Path | None, cancel: _core.CancelFlag, *, shared: bool = False) -> None:
    """Give an empty directory an image's content, with its owner and mode. Blocks.

    Nothing is done where it is not empty, or the image has no directory there.

    Args:
        data: The volume's directory; its lock is held.
        content: What it gets.
        aside: A free path on the same file system. The copy is made there and takes the empty directory's place by one rename,
            which the kernel refuses where that is not empty: so it is filled whole or not at all, whatever stops the engine in
            between. None, where `data` is a mount: it is filled in place, and emptied again after an error.
        cancel: Ends it.
        shared: A container has `data` open: what was copied aside is moved into it, name by name.

    Raises:
        OSError: The disk fails; nothing of it is left.
        DiskFull: It is full; idem.
        FolderUnusable: The image cannot be read; idem.
        Cancelled: Idem.
    """
    with os.scandir(data) as entries:
        if any(entries):
            return
    if aside is None:
        try:
            _copy(content, data, cancel)
        except BaseException:
            with os.scandir(data) as entries:
                for left in list(entries):
                    _core.remove_tree(left.path)
            raise
        return
    aside.mkdir(mode=0o755)
    try:
        # Whatever the process's umask is, and the image has no directory there.
        aside.chmod(0o755)
        _copy(content, aside, cancel)
        reach("volume.filled")
        if shared:
            _move(aside, data)
        else:
            aside.rename(data)
    finally:
        if aside.exists():
            _core.remove_tree(str(aside))


def _move(aside: Path, data: Path) -> None:
    """All that is in `aside`, and its own owner and mode, to `data`; what was made there meanwhile stays."""
    with os.scandir(aside) as entries:
        for entry in list(entries):
            if not os.path.lexists(data / entry.name):
                Path(entry.path).rename(data / entry.name)
    status = aside.stat()
    os.chown(data, status.st_uid, status.st_gid)
    data.chmod(status.st_mode & 0o7777)


def _copy(content: Content, into: Path, cancel: _core.CancelFlag) -> None:
    try:
        _core.copy_tree(content.layers, content.path, str(into), cancel, layout=content.layout)
    except _core.LayerError as error:
        kind, message, number = error.args
        told = f"volumes: cannot copy {content.path} of the image: {message}"
        if kind == "cancelled":
            raise Cancelled(told) from error
        if number in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"{told}; free space on that disk") from error
        raise FolderUnusable(told) from error
