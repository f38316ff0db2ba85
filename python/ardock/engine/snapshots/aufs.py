"""`aufs`: each layer is a directory of what it changes, with Aufs' own whiteouts, and the kernel's Aufs merges them as branches.

No kernel of kernel.org has Aufs; some distributions patch it in (aufs4.txt and aufs.5 of the aufs project; the whiteouts are
those of OCI layers). Beside the layers there is ``.mnt-<key>`` where the branches of a snapshot are mounted together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ardock.engine.snapshots.contract import Directories, Mounts, is_name
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.shelved import Shelved
from ardock.engine.snapshots.system import MS_REMOUNT, mount, unmount
from ardock.model.errors import Unsupported

_MOUNT: Final = ".mnt-"
_CHAIN: Final = "chain"
# The inode table of a mount, in memory: on the upper branch it would be seen in the tree (aufs.5, "xino").
_XINO: Final = "/dev/shm/ardock-aufs.xino"
_LONGEST: Final = 4000


class Aufs(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name = "aufs"
    whiteouts = "aufs"
    independent = True

    def __init__(self, folder: Path) -> None:
        """In `folder`, which is made where missing.

        Raises:
            Unsupported: The kernel has no Aufs.
        """
        if "aufs" not in Path("/proc/filesystems").read_text(encoding="ascii").split():
            raise Unsupported(
                "storage_driver: this kernel has no aufs (no kernel of kernel.org has): use overlay",
                option="storage_driver",
            )
        super().__init__(folder)
        for point in folder.glob(f"{_MOUNT}*"):
            if not self._shelf.snapshot(point.name.removeprefix(_MOUNT)).is_dir():
                self._take_off(point)

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """An empty directory to unpack into; for a container the branches mounted together."""
        self._no_size(size)

        def fill(path: Path) -> None:
            with told("prepare a snapshot"):
                path.mkdir()
                path.chmod(0o755)

        path = self._shelf.make(key, fill, durable=container)
        if not container:
            return path
        try:
            # Which layers it stands on is kept: after a restart of the machine it is mounted anew.
            with told("prepare a snapshot"):
                point = self._point(key)
                point.mkdir(exist_ok=True)
                (point.with_name(f"{point.name}.{_CHAIN}")).write_text("\n".join(layers), encoding="ascii")
                if layers:
                    status = self._shelf.find(layers[0]).stat()
                    path.chmod(status.st_mode & 0o7777)
            return Path(self.mounts(layers, key).directories[0])
        except BaseException:
            self.remove(key)
            raise

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """The branches mounted together, none of which can be written to."""
        paths = [self._shelf.find(layer) for layer in layers]
        place = self._view_place(key)
        if paths:
            with told("show layers"):
                _mount([f"{path}=ro+wh" for path in paths], place)
        return place

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """Without a key the layers' directories, which only Aufs can merge; with one, where it is mounted."""
        if key is None:
            return Mounts(tuple([str(self._shelf.find(layer)) for layer in layers]))
        upper, point = self._shelf.find(key), self._point(key)
        with told("mount a snapshot"):
            if not point.is_mount():
                text = point.with_name(f"{point.name}.{_CHAIN}").read_text(encoding="ascii")
                branches = [f"{self._shelf.find(name)}=ro+wh" for name in text.split()]
                _mount([f"{upper}=rw", *branches], point)
        return Mounts((str(point),), writable=True)

    def release(self, key: str) -> None:
        """Unmount it."""
        with told("take off a snapshot"):
            unmount(self._point(key))

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its directory above its parents'."""
        below = tuple([str(self._shelf.find(layer)) for layer in layers])
        yield Directories((str(self._shelf.find(name)),), below, "aufs")

    def remove(self, name: str) -> None:
        """A rename, and what is in it, once it is unmounted."""
        if not is_name(name):
            with told("remove a snapshot"):
                self._take_off(self._point(name))
        super().remove(name)

    def _point(self, key: str) -> Path:
        return self._shelf.snapshot(key).with_name(f"{_MOUNT}{key}")

    def _take_off(self, point: Path) -> None:
        unmount(point)
        point.with_name(f"{point.name}.{_CHAIN}").unlink(missing_ok=True)
        if point.is_dir():
            point.rmdir()

    def _destroy(self, path: Path) -> None:
        unmount(path)
        self._shelf.remove_tree(path)


def _mount(branches: Sequence[str], point: Path) -> None:
    """Mount branches together, the topmost first: as many as a page of options holds, then each of the others by a remount.

    Raises:
        OSError: The kernel refuses.
    """
    first, rest = [branches[0]], list(branches[1:])
    while rest and len(":".join((*first, rest[0]))) < _LONGEST:
        first.append(rest.pop(0))
    mount("none", point, "aufs", 0, f"br:{':'.join(first)},dio,xino={_XINO}")
    try:
        for branch in rest:
            mount("none", point, "aufs", MS_REMOUNT, f"append:{branch}")
    except OSError:
        unmount(point)
        raise
