"""`devicemapper`: each layer is a thin device with a file system on it, made as a snapshot of its parent's.

In the folder each has a directory::

    device      its number in the pool, its size, and what it took when it was made or committed
    mnt/        where it is mounted while somebody looks at it; the tree is in mnt/root

A snapshot is mounted from `prepare` on, and again by `mounts` after a restart of the machine; a layer while it is looked at. The
directories are named as those of other drivers (`ardock.engine.snapshots.shelf`); a directory with a mount in it is renamed like
any other. ``.base`` is the empty file system that layers without a parent begin with, ``.pool`` what the pool is made of.
"""

from __future__ import annotations

import os
import secrets
import shlex
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ardock.engine.failpoints import reach
from ardock.engine.snapshots.contract import Directories, Mounts, Usage, check_key, is_name
from ardock.engine.snapshots.errors import missing, told
from ardock.engine.snapshots.options import DeviceMapperOptions
from ardock.engine.snapshots.root import plain_root
from ardock.engine.snapshots.shelved import Shelved
from ardock.engine.snapshots.system import MS_RDONLY, mount, sync_file_system, unmount, unmount_idle
from ardock.engine.snapshots.thinpool import ThinPool, run_program, write_durably
from ardock.model.errors import Conflict, FolderUnusable, Unsupported

_DEVICE: Final = "device"
_MOUNT: Final = "mnt"
_ROOT: Final = "root"
_BASE: Final = ".base"
_POOL: Final = ".pool"


class _Device(msgspec.Struct):
    """What is written down of a device.

    Attributes:
        number: In the pool.
        size: Bytes.
        fs: Kind of its file system.
        bytes: What it took when it was made: that it shares with its parent. Of a layer: what it takes itself.
        inodes: Idem.
    """

    number: int
    size: int
    fs: str
    bytes: int = 0
    inodes: int = 0


class Devicemapper(Shelved):
    """The driver; implements `ardock.engine.snapshots.contract.Driver`."""

    name = "devicemapper"
    whiteouts = "apply"

    def __init__(self, folder: Path, options: DeviceMapperOptions | None = None) -> None:
        """In `folder`, which is made where missing, with the pool; removes what an earlier process left half done.

        Raises:
            Unsupported: The kernel or a program is missing.
            FolderUnusable: The pool cannot be opened.
        """
        self._options = options or DeviceMapperOptions()
        with told("make the folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._pool = ThinPool(folder / _POOL, self._options)
        # Who looks at a layer or snapshot: mounted by the first, taken off by the last.
        self._users: Counter[Path] = Counter()
        # Snapshots on which nobody runs: they are mounted no longer than they are looked at.
        self._resting: set[Path] = set()
        self._views: dict[str, Path] = {}
        self._held: set[Path] = set()
        self._mounting = threading.RLock()
        super().__init__(folder)
        # Layers that an earlier process had mounted to look at.
        for name in self.committed():
            self._take_off(self._shelf.layer(name))
        if not (folder / _BASE).exists():
            self._make_base(folder)

    def status(self) -> dict[str, str]:
        """The pool, and how full it is."""
        status = self._pool.status()
        return {
            "pool": self._pool.device,
            "pool data": _share(status.data, self._options.blocksize),
            "pool metadata": _share(status.metadata, 4096),
            "base device": f"{self._options.basesize} bytes of {self._options.fs}",
        }

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A snapshot of the topmost layer's device, mounted."""
        source = self._shelf.find(layers[0]) if layers else self._shelf.folder / _BASE
        origin = _read(source)
        if size is not None and size < origin.size:
            raise Unsupported(
                f"storage: the driver devicemapper can give a container more than the {origin.size} bytes of what it stands on, and "
                f"not less: ask for at least that, or begin a root folder with a smaller dm.basesize",
                option="scratch_size",
            )
        self._clear()
        self._pool.check_room()

        def fill(path: Path) -> None:
            with told("prepare a snapshot"):
                path.mkdir(mode=0o700)
                device = _Device(self._pool.number(), origin.size if size is None else size, origin.fs)
                _write(path, device)
                reach("devicemapper.prepare.recorded")
                self._pool.make(device.number, origin.number)
                self._put_on(path)
                reach("devicemapper.prepare.mounted")
                if device.size > origin.size:
                    self._grow(path, device)
                device.bytes, device.inodes = _taken(path)
                _write(path, device)
                if not container:
                    plain_root(path / _MOUNT / _ROOT)

        return self._shelf.make(key, fill, durable=container) / _MOUNT / _ROOT

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """The topmost layer's device, mounted read-only; an empty directory where there is none."""
        check_key(key)
        with self._mounting:
            if key in self._views:
                raise Conflict(f"storage: there is a view {key} already")
            if not layers:
                self._views[key] = self._view_place(key)
                return self._views[key]
            path = self._shelf.find(layers[0])
            self._use(path)
            self._views[key] = path
        return path / _MOUNT / _ROOT

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """Where the device is mounted. A layer's stays so until it is removed, or the driver is closed."""
        if key is not None:
            path = self._shelf.find(key)
            with self._mounting, told("mount a snapshot"):
                self._put_on(path)
                self._resting.discard(path)
            return Mounts((str(path / _MOUNT / _ROOT),), writable=True)
        if not layers:
            return Mounts(())
        path = self._shelf.find(layers[0])
        with self._mounting:
            if path not in self._held:
                self._use(path)
                self._held.add(path)
        return Mounts((str(path / _MOUNT / _ROOT),))

    def release(self, key: str) -> None:
        """Take the device off, and out of the kernel; once nobody looks at it any more."""
        path = self._shelf.snapshot(key)
        with self._mounting, told("take off a snapshot"):
            if path.is_dir():
                self._resting.add(path)
                if not self._users[path]:
                    self._take_off(path)

    @contextmanager
    def directories(self, name: str, layers: Sequence[str]) -> Iterator[Directories]:
        """Its tree, and its parent's, both mounted meanwhile."""
        paths = [self._shelf.find(name), *(self._shelf.find(layer) for layer in layers[:1])]
        for number, path in enumerate(paths):
            try:
                self._use(path)
            except BaseException:
                for used in paths[:number]:
                    self._unuse(used)
                raise
        try:
            trees = [str(path / _MOUNT / _ROOT) for path in paths]
            yield Directories((trees[0],), tuple(trees[1:]), "tree")
        finally:
            for path in paths:
                self._unuse(path)

    def usage(self, name: str) -> Usage:
        """What its file system has more than its parent's had."""
        path = self._shelf.find(name)
        device = _read(path)
        if is_name(name):
            return Usage(device.bytes, device.inodes)
        self._use(path)
        try:
            size, inodes = _taken(path)
        finally:
            self._unuse(path)
        return Usage(max(0, size - device.bytes), max(0, inodes - device.inodes) + 1)

    def remove(self, name: str) -> None:
        """A rename; the device goes at once, or with its last user."""
        if is_name(name):
            with self._mounting:
                self._held.discard(self._shelf.layer(name))
                self._users.pop(self._shelf.layer(name), None)
            self._shelf.remove(self._shelf.layer(name))
        else:
            with self._mounting:
                viewed = self._views.pop(name, None)
                if viewed is not None and viewed == self._shelf.view(name):
                    self._shelf.remove(viewed)
                elif viewed is not None:
                    self._unuse(viewed)
            with self._mounting:
                self._resting.discard(self._shelf.snapshot(name))
                self._users.pop(self._shelf.snapshot(name), None)
            self._shelf.remove(self._shelf.snapshot(name))
        self._clear()

    def close(self) -> None:
        """Take off the layers, and the pool where no snapshot is mounted."""
        with self._mounting, told("take off layers"):
            for path in list(self._users):
                if is_name(path.name) or path in self._resting:
                    self._take_off(path)
            self._users.clear()
            self._held.clear()
            self._views.clear()
        self._clear()
        self._pool.close()

    # --- mounting ---

    def _use(self, path: Path) -> None:
        with self._mounting, told("mount a layer"):
            if not path.is_dir():
                raise missing("layer", path.name)
            if self._put_on(path) and not is_name(path.name):
                self._resting.add(path)
            self._users[path] += 1

    def _unuse(self, path: Path) -> None:
        with self._mounting:
            if path not in self._users:
                return  # removed meanwhile
            self._users[path] -= 1
            if self._users[path] > 0:
                return
            del self._users[path]
            if is_name(path.name) or path in self._resting:
                with told("take off a layer"):
                    self._take_off(path)

    def _put_on(self, path: Path) -> bool:
        """Mount it; whether it was not."""
        point = path / _MOUNT
        if point.is_mount():
            return False
        device = _read(path)
        point.mkdir(mode=0o700, exist_ok=True)
        source = self._pool.activate(device.number, device.size)
        # A snapshot has the very uuid of what it was made from, which XFS does not mount a second time otherwise. The rest of
        # an ext4's inode tables need not be zeroed: nothing is there, and each would take room in the pool.
        options = ["nouuid"] if device.fs == "xfs" else ["noinit_itable"]
        options += filter(None, self._options.mountopt.split(","))
        mount(source, point, device.fs, MS_RDONLY if is_name(path.name) else 0, ",".join(options))
        return True

    def _take_off(self, path: Path) -> None:
        """Unmount it and have the kernel forget its device, as far as nobody uses them."""
        point = path / _MOUNT
        if point.is_mount():
            unmount(point)
        try:
            device = _read(path)
        except FileNotFoundError:
            return
        self._pool.deactivate(device.number)

    def _finish(self, path: Path) -> None:
        """Make a snapshot a layer: all of it is on its device, and nobody writes to it any more."""
        with self._mounting:
            self._put_on(path)
            point = path / _MOUNT
            sync_file_system(point)
            device = _read(path)
            size, inodes = _taken(path)
            # Its root counts, too, which its parent's file system had already.
            device.bytes, device.inodes = max(0, size - device.bytes), max(0, inodes - device.inodes) + 1
            unmount_idle(point)
            self._pool.deactivate(device.number)
            # What the kernel could not write it tells by the pool's mode alone: a file system is unmounted without an error.
            self._pool.check_room()
            _write(path, device)

    def _destroy(self, path: Path) -> None:
        """Remove a device's directory, with the device; left for later where somebody still uses it."""
        # One at a time: whoever comes after may find it gone.
        with self._mounting:
            unmount(path / _MOUNT)
            if (path / _DEVICE).exists() and not self._pool.delete(_read(path).number):
                return
            self._shelf.remove_tree(path)

    def _clear(self) -> None:
        """Remove what was still in use when it was to be removed."""
        with told("remove a snapshot"):
            for entry in self._shelf.gone():
                self._destroy(entry)

    # --- file systems ---

    def _make_base(self, folder: Path) -> None:
        aside = folder / f".new-{secrets.token_hex(8)}"
        with told("make the base device"):
            aside.mkdir(mode=0o700)
            device = _Device(self._pool.number(), self._options.basesize, self._options.fs)
            _write(aside, device)
            self._pool.make(device.number, None)
            path = self._pool.activate(device.number, device.size)
            more = shlex.split(self._options.mkfsarg)
            if device.fs == "xfs":
                run_program("mkfs.xfs", "-q", "-f", "-K", *more, path)
            else:
                options = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
                run_program("mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, *more, path)
            self._put_on(aside)
            tree = aside / _MOUNT / _ROOT
            tree.mkdir()
            tree.chmod(0o755)
            sync_file_system(aside / _MOUNT)
            unmount_idle(aside / _MOUNT)
            self._pool.deactivate(device.number)
            aside.rename(folder / _BASE)
            self._shelf.sync()

    def _grow(self, path: Path, device: _Device) -> None:
        if device.fs == "xfs":
            run_program("xfs_growfs", str(path / _MOUNT))
        else:
            run_program("resize2fs", f"/dev/mapper/{self._pool.thin_name(device.number)}")


def _read(path: Path) -> _Device:
    try:
        return msgspec.json.decode((path / _DEVICE).read_bytes(), type=_Device)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FolderUnusable(f"storage: {path / _DEVICE}: damaged: {error}") from error


def _write(path: Path, device: _Device) -> None:
    write_durably(path / _DEVICE, msgspec.json.encode(device))


def _taken(path: Path) -> tuple[int, int]:
    """Bytes and inodes of a mounted device's file system that are in use."""
    found = os.statvfs(path / _MOUNT)
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree


def _share(blocks: tuple[int, int], size: int) -> str:
    used, whole = blocks
    return f"{used * size} of {whole * size} bytes"
