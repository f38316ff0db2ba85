"""`overlay`: each layer is a directory of what it changes, and the kernel's overlay file system merges them.

Layers do not depend on each other, so they are unpacked at the same time, each as soon as it comes. A deletion is a character
device 0/0 in them, a directory that hides what is below it has the attribute ``trusted.overlay.opaque``
(Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ardock.engine.snapshots.contract import Directories, Mounts
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.shelved import Shelved
from ardock.engine.snapshots.system import mount_overlay, unmount

_MERGED: Final = "merged"


class Overlay(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name = "overlay"
    whiteouts = "overlay"
    independent = True
    writes_below = False

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """An empty directory: the layers are below it, and are not asked for."""
        del layers
        self._no_size(size)
        return self._shelf.make(key, _make_directory, durable=container)

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """One layer's own directory, or an overlay of several without an upper directory."""
        paths = [self._shelf.find(layer) for layer in layers]
        place = self._view_place(key)
        if not paths:
            return place
        if len(paths) == 1:
            return paths[0]
        merged = place / _MERGED
        with told("show layers"):
            try:
                merged.mkdir()
                mount_overlay(paths, merged, place)
            except BaseException:
                self._destroy(place)
                raise
        return merged

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """The layers' directories; they are not looked for."""
        folder = str(self._shelf.folder)
        directories = tuple([f"{folder}/{layer}" for layer in layers])
        return Mounts(directories, upper="" if key is None else str(self._shelf.find(key)))

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its directory above its parents'."""
        below = tuple([str(self._shelf.find(layer)) for layer in layers])
        yield Directories((str(self._shelf.find(name)),), below, "overlay")

    def _destroy(self, path: Path) -> None:
        # Whether in a view or by a layer of that name: only the former is a mount.
        unmount(path / _MERGED)
        self._shelf.remove_tree(path)


def _make_directory(path: Path) -> None:
    with told("prepare a snapshot"):
        path.mkdir()
        # Whatever the process's umask is.
        path.chmod(0o755)
