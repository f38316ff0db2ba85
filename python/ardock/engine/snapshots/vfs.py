"""`vfs`: each layer is a whole tree, copied from its parent. It takes the most room and time, and works on every file system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ardock import _core
from ardock.engine.snapshots.contract import Directories
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.root import plain_root
from ardock.engine.snapshots.shelved import Shelved


class Vfs(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name = "vfs"
    whiteouts = "apply"

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A copy of the topmost layer."""
        self._no_size(size)
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

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """The topmost layer's own directory."""
        path = self._shelf.find(layers[0]) if layers else None
        place = self._view_place(key)
        return path or place

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its tree, and its parent's."""
        below = (str(self._shelf.find(layers[0])),) if layers else ()
        yield Directories((str(self._shelf.find(name)),), below, "tree")
