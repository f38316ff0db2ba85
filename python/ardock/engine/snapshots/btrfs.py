"""`btrfs`: each layer is a subvolume, made as a snapshot of its parent: it shares every block with it that neither changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ardock.engine.snapshots import subvolumes
from ardock.engine.snapshots.contract import Directories, Usage
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.root import plain_root
from ardock.engine.snapshots.shelved import Shelved
from ardock.engine.snapshots.usage import usage_of
from ardock.model.errors import Unsupported


class Btrfs(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`. Its folder is on a btrfs."""

    name = "btrfs"
    whiteouts = "apply"

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A snapshot of the topmost layer; with `size`, a quota on what it does not share."""
        source = self._shelf.find(layers[0]) if layers else None

        def fill(path: Path) -> None:
            with told("prepare a snapshot"):
                if size is not None:
                    # Before it is made: what is made with quotas on is counted from its first block on.
                    self._enable_quotas()
                if source is None:
                    subvolumes.create(path)
                    path.chmod(0o755)
                else:
                    subvolumes.snapshot(source, path)
                    if not container:
                        plain_root(path)
                if size is not None:
                    subvolumes.limit(path, size)

        return self._shelf.make(key, fill, durable=container)

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """The topmost layer's own subvolume, which is read-only."""
        path = self._shelf.find(layers[0]) if layers else None
        place = self._view_place(key)
        return path or place

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its tree, and its parent's."""
        below = (str(self._shelf.find(layers[0])),) if layers else ()
        yield Directories((str(self._shelf.find(name)),), below, "tree")

    def usage(self, name: str) -> Usage:
        """Of the blocks that no other subvolume has."""
        return usage_of(self._shelf.find(name), exclusive=True)

    def _finish(self, path: Path) -> None:
        subvolumes.set_read_only(path)

    def _destroy(self, path: Path) -> None:
        if subvolumes.is_subvolume(path):
            subvolumes.destroy(path)
        else:
            self._shelf.remove_tree(path)

    def _enable_quotas(self) -> None:
        try:
            subvolumes.enable_quotas(self._shelf.folder)
        except OSError as error:
            raise Unsupported(
                f"storage: quotas cannot be enabled on this btrfs ({error.strerror}), so no size can be limited: "
                f"try `btrfs quota enable {self._shelf.folder}`",
                option="scratch_size",
            ) from error
