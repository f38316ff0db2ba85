"""A driver's folder of directories: what is whole has a plain name, and everything else one that tells what it is.

::

    <64 hexadecimal digits>   a layer
    .tmp-<key>                a snapshot
    .new-<random>             a snapshot being made
    .gone-<random>            something being removed
    .view-<key>               a view

Each change is one rename, so that a crash leaves either the one name or the other; `Shelf.tidy` removes what the last two
kinds of names, and views, hold when the driver is opened.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ardock import _core
from ardock.engine.failpoints import reach
from ardock.engine.snapshots.contract import check_key, check_name, is_name
from ardock.engine.snapshots.errors import missing, told
from ardock.model.errors import Conflict

_SNAPSHOT: Final = ".tmp-"
_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_VIEW: Final = ".view-"


class Shelf:
    """The directories of one driver.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path, destroy: Callable[[Path], None]) -> None:
        """Make `folder`.

        Args:
            folder: Of the driver's own.
            destroy: How a directory of it is removed, whatever is mounted in it.

        Raises:
            FolderUnusable: It cannot be made.
        """
        self.folder = folder
        self._destroy = destroy
        # Between looking for a layer and giving one its name.
        self._naming = threading.Lock()
        with told("make the folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def layer(self, name: str) -> Path:
        """Where a layer is, or would be."""
        return self.folder / check_name(name)

    def snapshot(self, key: str) -> Path:
        """Where a snapshot is, or would be."""
        return self.folder / f"{_SNAPSHOT}{check_key(key)}"

    def view(self, key: str) -> Path:
        """Where a view is, or would be."""
        return self.folder / f"{_VIEW}{check_key(key)}"

    def find(self, name: str) -> Path:
        """Where the layer or snapshot `name` is.

        Raises:
            NotFound: It is not there.
        """
        path = self.layer(name) if is_name(name) else self.snapshot(name)
        if not path.is_dir():
            raise missing("layer" if is_name(name) else "snapshot", name)
        return path

    def make(self, key: str, fill: Callable[[Path], None], *, durable: bool) -> Path:
        """Make a snapshot: `fill` makes the directory that it is given the path of.

        Raises:
            Conflict: There is one of this key.
        """
        path = self.snapshot(key)
        if path.exists():
            raise Conflict(f"storage: there is a snapshot {key} already")
        aside = self.folder / f"{_NEW}{secrets.token_hex(8)}"
        try:
            fill(aside)
            reach("snapshot.prepare.made")
            with told("prepare a snapshot"):
                aside.rename(path)
                if durable:
                    self.sync()
        except BaseException:
            if aside.exists():
                self._destroy(aside)
            raise
        reach("snapshot.prepare.named")
        return path

    def commit(self, key: str, name: str, finish: Callable[[Path], None] | None = None) -> None:
        """Give a snapshot a layer's name, once `finish` has done with its directory what makes it one; or remove it.

        Raises:
            NotFound: There is neither.
        """
        path, layer = self.snapshot(key), self.layer(name)
        reach("snapshot.commit.before")
        with self._naming:
            known = layer.is_dir()
            if not known:
                if not path.is_dir():
                    raise missing("snapshot", key)
                with told("commit a layer"):
                    if finish is not None:
                        finish(path)
                    path.rename(layer)
        if known:
            self.remove(path)
        reach("snapshot.commit.named")
        # Also where another did it: that one may not have come to this yet, and we are to return for a layer that stays.
        with told("commit a layer"):
            self.sync()
        reach("snapshot.commit.after")

    def remove(self, path: Path) -> None:
        """Free a directory's name, then its room."""
        gone = self.folder / f"{_GONE}{secrets.token_hex(8)}"
        reach("snapshot.remove.before")
        with told("remove a snapshot"):
            try:
                path.rename(gone)
            except FileNotFoundError:
                return
            reach("snapshot.remove.renamed")
            self._destroy(gone)

    def tidy(self) -> None:
        """Remove what an earlier process left half made, half removed, or showed only for its own life."""
        with told("clear the folder"):
            for entry in os.scandir(self.folder):
                if entry.name.startswith((_NEW, _GONE, _VIEW)):
                    self._destroy(Path(entry.path))

    def gone(self) -> list[Path]:
        """What is still to be removed."""
        with told("read the folder"):
            return [path for path in self.folder.iterdir() if path.name.startswith(_GONE)]

    def committed(self) -> set[str]:
        """Chain ids of the layers."""
        with told("read the folder"):
            return {path.name for path in self.folder.iterdir() if is_name(path.name)}

    def keys(self) -> set[str]:
        """Keys of the snapshots."""
        with told("read the folder"):
            names = [path.name for path in self.folder.iterdir()]
        return {name.removeprefix(_SNAPSHOT) for name in names if name.startswith(_SNAPSHOT)}

    def sync(self) -> None:
        """The folder's names are on the disk."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def remove_tree(path: Path) -> None:
        """Remove a directory with all that is in it.

        Raises:
            OSError: It cannot be removed.
        """
        _core.remove_tree(str(path))
