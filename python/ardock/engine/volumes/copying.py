"""An image's content in an empty volume, at its first use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ardock import _core
from ardock.engine.failpoints import reach
from ardock.engine.volumes.store import Store


async def fill(store: Store, name: str, layers: Sequence[str], target: str) -> None:
    """Give an empty volume what an image has at `target`, with its owner and mode; nothing where the image has no directory there.

    It is copied aside and takes the empty directory's place by one rename, which the kernel refuses where that is not empty: so a
    volume is filled whole or not at all, whatever stops the engine in between. No container has the volume open meanwhile.

    Args:
        store: The volumes' folder.
        name: The volume; its lock is held.
        layers: The image's directories, topmost first.
        target: Path in the image.

    Raises:
        DiskFull: The disk is full; nothing of it is left.
        FolderUnusable: The disk fails otherwise.
    """

    def run() -> None:
        data = store.data(name)
        with os.scandir(data) as entries:
            if any(entries):
                return
        aside = store.aside(name)
        aside.mkdir(mode=0o755)
        try:
            aside.chmod(0o755)
            _copy(layers, target, aside)
            reach("volume.filled")
            aside.rename(data)
        finally:
            if aside.exists():
                _core.remove_tree(str(aside))

    await store.run(run)


def _copy(layers: Sequence[str], target: str, aside: Path) -> None:
    """Stand-in for `_core.copy_tree`: the topmost layer that has the directory, without xattrs and hard links."""
    for layer in layers:
        source = Path(layer) / target.lstrip("/")
        if not source.is_dir() or source.is_symlink():
            continue
        shutil.copytree(source, aside, symlinks=True, dirs_exist_ok=True)
        for folder, folders, files in os.walk(source):
            for entry in ("", *folders, *files):
                path = Path(folder) / entry
                status = path.lstat()
                copy = aside / path.relative_to(source)
                os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)
                if not path.is_symlink():
                    copy.chmod(status.st_mode & 0o7777)
        return
