"""What drivers have in common that keep each layer and snapshot in a directory of one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ardock.engine.snapshots.contract import DriverName, Mounts, Usage, Whiteouts, check_key, is_name
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.shelf import Shelf
from ardock.engine.snapshots.usage import usage_of
from ardock.model.errors import Conflict, Unsupported


class Shelved:
    """Base of such drivers; the methods are those of `ardock.engine.snapshots.contract.Driver`."""

    name: ClassVar[DriverName]
    whiteouts: ClassVar[Whiteouts]
    independent: ClassVar[bool] = False
    writes_below: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        """In `folder`, which is made where missing; removes what an earlier process left half done."""
        self._shelf = Shelf(folder, self._destroy)
        self._shelf.tidy()

    def __repr__(self) -> str:
        """Where, and how much."""
        return f"<{self.name} in {self._shelf.folder}: {len(self.committed())} layers, {len(self.keys())} snapshots>"

    def status(self) -> dict[str, str]:
        """Nothing more."""
        return {}

    def commit(self, key: str, name: str) -> None:
        """A rename."""
        self._shelf.commit(key, name, self._finish)

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """The one directory."""
        if key is not None:
            return Mounts((str(self._shelf.find(key)),), writable=True)
        return Mounts((str(self._shelf.find(layers[0])),) if layers else ())

    def release(self, key: str) -> None:
        """Nothing is held."""

    def usage(self, name: str) -> Usage:
        """Of its directory."""
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

    def _finish(self, path: Path) -> None:
        """What makes a snapshot's directory that of a layer."""

    def _destroy(self, path: Path) -> None:
        """Remove a directory of the folder."""
        self._shelf.remove_tree(path)

    def _view_place(self, key: str) -> Path:
        """A new directory for a view.

        Raises:
            Conflict: There is one of this key.
        """
        place = self._shelf.view(check_key(key))
        with told("show layers"):
            try:
                place.mkdir()
                place.chmod(0o755)
            except FileExistsError:
                raise Conflict(f"storage: there is a view {key} already") from None
        return place

    def _no_size(self, size: int | None) -> None:
        """Refuse a limit.

        Raises:
            Unsupported: One is asked for.
        """
        if size is not None:
            raise Unsupported(f"storage: the driver {self.name} cannot limit a snapshot's size", option="scratch_size")
