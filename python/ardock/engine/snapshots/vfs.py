"""`vfs`: each layer is a whole tree, copied from its parent. It takes the most room and time, and works on every file system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ardock import _core
from ardock.engine.snapshots.contract import Directories, is_name
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.quota import ProjectQuotas
from ardock.engine.snapshots.root import plain_root
from ardock.engine.snapshots.shelved import Shelved
from ardock.engine.snapshots.usage import usage_of


class Vfs(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name = "vfs"
    whiteouts = "apply"

    def __init__(self, folder: Path, quotas: ProjectQuotas | None = None) -> None:
        """As `Shelved`; sizes are limited by `quotas`, where there are any."""
        super().__init__(folder)
        self._quotas = quotas

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A copy of the topmost layer; `size` comes on top of what that has."""
        quotas = self._quotas
        if quotas is None:
            self._no_size(size)
        source = self._shelf.find(layers[0]) if layers else None

        def fill(path: Path) -> None:
            with told("prepare a snapshot"):
                path.mkdir()
                path.chmod(0o755)
                if size is not None and quotas is not None:
                    quotas.limit(path, size + (0 if source is None else usage_of(source).bytes))
                if source is not None:
                    _core.copy_tree([str(source)], "", str(path), _core.CancelFlag(), layout="tree")
                    if not container:
                        plain_root(path)

        return self._shelf.make(key, fill, durable=container)

    def remove(self, name: str) -> None:
        """A rename, and what is in it; the number of its quota is free."""
        if self._quotas is not None and not is_name(name):
            self._quotas.free(self._shelf.snapshot(name))
        super().remove(name)

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
