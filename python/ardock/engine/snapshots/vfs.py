"""`vfs`: each layer is a whole tree, copied from its parent. It takes the most room and time, and works on every file system.

Where the file system can share blocks between files (XFS, btrfs), the copies share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ardock import _core
from ardock.engine.snapshots.contract import Directories, DriverName, Mounts, Usage, Whiteouts, check_key, is_name
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.root import plain_root
from ardock.engine.snapshots.shelf import Shelf
from ardock.engine.snapshots.usage import usage_of
from ardock.model.errors import Conflict, Unsupported


class Vfs:
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name: DriverName = "vfs"
    whiteouts: Whiteouts = "apply"
    independent = False
    writes_below = True

    def __init__(self, folder: Path) -> None:
        """In `folder`, which is made where missing; removes what an earlier process left half done."""
        self._shelf = Shelf(folder)
        self._shelf.tidy()

    def __repr__(self) -> str:
        """Where, and how much."""
        return f"<Vfs in {self._shelf.folder}: {len(self.committed())} layers, {len(self.keys())} snapshots>"

    def status(self) -> dict[str, str]:
        """Nothing more."""
        return {}

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A copy of the topmost layer."""
        if size is not None:
            raise Unsupported("storage: the driver vfs has no limit for a snapshot's size", option="scratch_size")
        source = self._shelf.find(layers[0]) if layers else None

        def fill(path: Path) -> None:
            with told("prepare a snapshot"):
                path.mkdir()
                path.chmod(0o755)
                if source is not None:
                    _core.import_directory(str(source), str(path), [], _core.CancelFlag())
                    if not container:
                        plain_root(path)

        return self._shelf.make(key, fill, durable=container)

    def commit(self, key: str, name: str) -> None:
        """A rename."""
        self._shelf.commit(key, name)

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """The topmost layer's own directory."""
        place = self._shelf.view(check_key(key))
        path = self._shelf.find(layers[0]) if layers else place
        with told("show layers"):
            try:
                place.mkdir(mode=0o755)
            except FileExistsError:
                raise Conflict(f"storage: there is a view {key} already") from None
        return path

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """The one directory."""
        if key is not None:
            return Mounts((str(self._shelf.find(key)),), writable=True)
        return Mounts((str(self._shelf.find(layers[0])),) if layers else ())

    def release(self, key: str) -> None:
        """Nothing is held."""

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its tree, and its parent's."""
        below = (str(self._shelf.find(layers[0])),) if layers else ()
        yield Directories((str(self._shelf.find(name)),), below, "tree")

    def usage(self, name: str) -> Usage:
        """Of the whole tree: nothing is shared, as far as can be told."""
        return usage_of(self._shelf.find(name))

    def remove(self, name: str) -> None:
        """A rename, and what is in it."""
        if is_name(name):
            self._shelf.remove(self._shelf.layer(name))
        else:
            self._shelf.remove(self._shelf.snapshot(name))
            self._shelf.remove(self._shelf.view(name))

    def committed(self) -> set[str]:
        """The folder's names."""
        return self._shelf.committed()

    def keys(self) -> set[str]:
        """The folder's names."""
        return self._shelf.keys()

    def close(self) -> None:
        """Nothing is held."""
