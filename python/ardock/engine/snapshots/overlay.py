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

from ardock import _core
from ardock.engine.snapshots.contract import Directories, DriverName, Mounts, Usage, Whiteouts, is_name
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.shelf import Shelf
from ardock.engine.snapshots.system import mount_overlay, unmount
from ardock.engine.snapshots.usage import usage_of
from ardock.model.errors import Conflict, Unsupported

_MERGED: Final = "merged"


class Overlay:
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name: DriverName = "overlay"
    whiteouts: Whiteouts = "overlay"
    independent = True
    writes_below = False

    def __init__(self, folder: Path) -> None:
        """In `folder`, which is made where missing; removes what an earlier process left half done."""
        self._shelf = Shelf(folder, _destroy)
        self._shelf.tidy()

    def __repr__(self) -> str:
        """Where, and how much."""
        return f"<Overlay in {self._shelf.folder}: {len(self.committed())} layers, {len(self.keys())} snapshots>"

    def status(self) -> dict[str, str]:
        """Nothing more."""
        return {}

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """An empty directory: the layers are below it, and are not asked for."""
        del layers
        if size is not None:
            raise Unsupported("storage: the driver overlay has no limit for a snapshot's size", option="scratch_size")
        return self._shelf.make(key, _make_directory, durable=container)

    def commit(self, key: str, name: str) -> None:
        """A rename."""
        self._shelf.commit(key, name)

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """One layer's own directory, or an overlay of several without an upper directory."""
        place = self._shelf.view(key)
        paths = [self._shelf.find(layer) for layer in layers]
        with told("show layers"):
            try:
                place.mkdir(mode=0o700)
            except FileExistsError:
                raise Conflict(f"storage: there is a view {key} already") from None
            merged = place / _MERGED
            if len(paths) == 1:
                return paths[0]
            merged.mkdir(mode=0o755)
            if paths:
                try:
                    mount_overlay(paths, merged, place)
                except BaseException:
                    _destroy(place)
                    raise
        return merged

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """The layers' directories; they are not looked for."""
        folder = str(self._shelf.folder)
        directories = tuple([f"{folder}/{layer}" for layer in layers])
        return Mounts(directories, upper="" if key is None else str(self._shelf.find(key)))

    def release(self, key: str) -> None:
        """Nothing is held."""

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its directory above its parents'."""
        below = tuple([str(self._shelf.find(layer)) for layer in layers])
        yield Directories((str(self._shelf.find(name)),), below, "overlay")

    def usage(self, name: str) -> Usage:
        """Of its directory, which has nothing of its parents'."""
        return usage_of(self._shelf.find(name))

    def remove(self, name: str) -> None:
        """A rename, and what is in it. An overlay that is mounted goes on with what it has not yet looked up missing."""
        if is_name(name):
            self._shelf.remove(self._shelf.layer(name))
        else:
            self._shelf.remove(self._shelf.snapshot(name))
            view = self._shelf.view(name)
            if view.exists():
                with told("remove a view"):
                    _destroy(view)

    def committed(self) -> set[str]:
        """The folder's names."""
        return self._shelf.committed()

    def keys(self) -> set[str]:
        """The folder's names."""
        return self._shelf.keys()

    def close(self) -> None:
        """Nothing is held."""


def _make_directory(path: Path) -> None:
    with told("prepare a snapshot"):
        path.mkdir()
        # Whatever the process's umask is.
        path.chmod(0o755)


def _destroy(path: Path) -> None:
    """A layer, a snapshot, or a view with its mount."""
    merged = path / _MERGED
    if path.name.startswith(".view-") and merged.is_dir():
        unmount(merged)
        merged.rmdir()
    _core.remove_tree(str(path))
