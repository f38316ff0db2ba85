"""What a snapshot driver is: trees of files in layers, made and kept in whatever way the root folder's file system does best.

A *layer* is committed under its chain id (OCI image specification, ``config.md``, "Layer ChainID"), here the 64 hexadecimal
digits without ``sha256:``, and never changes. A *snapshot* is writable, stands on layers and has a key that its maker chooses.
``layers`` is everywhere a chain: chain ids, the topmost first, the lowest last.

Rules that every driver keeps (``tests/engine/snapshots/suite.py`` proves them for each):

- A layer is whole or not there. Whatever stops the process between any two steps, the next one to open the driver finds every
  layer that `Driver.commit` has returned for, and nothing half made: it has no key, no name, and takes no room.
- A snapshot that `Driver.prepare` has returned for is found again by its key in `Driver.keys`. Whoever made it knows whether it
  is still of use; the driver does not.
- What a chain shows does not depend on the driver: owners, modes, times, links, extended attributes, what was deleted. The
  root itself is ``0755``, root's, unless the topmost layer says otherwise: an entry for it in a layer below does not count.
- The methods block, are called in worker threads, and may run at the same time, but not two for one key. One process at a time
  has a driver: the engine's lock on its root folder sees to that.

The words of all errors begin with ``storage:``. `DiskFull` and `FolderUnusable` can come from every method that touches the
disk, and are not repeated below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from ardock.model.errors import InvalidArgument

DriverName = Literal["overlay", "btrfs", "vfs", "devicemapper", "aufs"]
Whiteouts = Literal["overlay", "apply", "aufs"]
Layout = Literal["overlay", "tree", "aufs"]

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class Mounts(NamedTuple):
    """What a root file system is put together of.

    Attributes:
        directories: Absolute, topmost first; merged as an overlay merges them where there are several.
        upper: Where an overlay above them is to write; empty where there is none of the driver's.
        writable: The one directory is itself to be written to: nothing goes above it.
    """

    directories: tuple[str, ...]
    upper: str = ""
    writable: bool = False


class Directories(NamedTuple):
    """One layer or snapshot and what is beneath it, as `_core.pack`, `_core.changes` and `_core.copy_tree` take them.

    Attributes:
        dirs: The directory to look at (one).
        below: What it is compared with: the merged parents, topmost first.
        layout: How the first tells of deletions: it is an overlay's upper directory (``overlay``), a whole tree (``tree``), or
            has Aufs' whiteouts (``aufs``).
    """

    dirs: tuple[str, ...]
    below: tuple[str, ...]
    layout: Layout

    @property
    def merged(self) -> tuple[str, ...]:
        """Directories that show the whole, topmost first."""
        return self.dirs if self.layout == "tree" else self.dirs + self.below


class Usage(NamedTuple):
    """Room on the disk.

    Attributes:
        bytes: Of its blocks, without what it shares with its parents; by the driver's best knowledge.
        inodes: Files, directories and all else.
    """

    bytes: int
    inodes: int


class Driver(Protocol):
    """One way to keep layers and snapshots.

    Attributes:
        name: Of ``--storage-driver``.
        whiteouts: How a layer is to be unpacked into a snapshot (`_core.LayerIngest`).
        independent: A layer may be unpacked without its parents being there, in any order.
        writes_below: Containers write into a prepared snapshot (`prepare`, `mounts` with a key). Else they run on the layers
            (`mounts` without a key) with a scratch of their own above.
    """

    @property
    def name(self) -> DriverName:
        """Of ``--storage-driver``."""

    @property
    def whiteouts(self) -> Whiteouts:
        """How a layer is to be unpacked into a snapshot (`_core.LayerIngest`)."""

    @property
    def independent(self) -> bool:
        """A layer may be unpacked without its parents being there, in any order."""

    @property
    def writes_below(self) -> bool:
        """Containers write into a prepared snapshot; else they run on the layers with a scratch of their own above."""

    def status(self) -> dict[str, str]:
        """What `info` tells of it besides its name, such as its pool and how full that is."""

    def prepare(self, key: str, layers: Sequence[str], *, size: int | None = None, container: bool = False) -> Path:
        """A new writable snapshot.

        Args:
            key: Its name: ``[a-z0-9][a-z0-9_.-]*``, at most 128 characters, and no chain id.
            layers: What it stands on. Where the driver is `independent` and it is for a layer, they need not be there.
            size: Most bytes that may be written to it.
            container: A container is to run on it, not a layer to be unpacked into it: it survives a loss of power, and its
                root has the attributes of the topmost layer's.

        Returns:
            The directory to unpack the next layer into. For `independent` drivers it is empty, else it shows `layers`.

        Raises:
            Conflict: There is one of this key.
            NotFound: A layer is not there.
            Unsupported: The size cannot be enforced here; it says what would have to be done.
        """

    def commit(self, key: str, name: str) -> None:
        """Make a snapshot the layer `name`: from then on it survives a loss of power.

        What is in it has to be on the disk already, as `_core.LayerIngest.finish` leaves it: a layer is not synced twice.
        Where the layer is there already, the snapshot is removed: both have the same content, whoever came first.

        Raises:
            NotFound: There is no such snapshot, nor such a layer.
        """

    def view(self, key: str, layers: Sequence[str]) -> Path:
        """A directory that shows `layers`, not to be written to; it stays until `remove`, or the driver's end.

        Raises:
            Conflict: There is one of this key.
            NotFound: A layer is not there.
        """

    def mounts(self, layers: Sequence[str], key: str | None = None) -> Mounts:
        """What `layers`, with the snapshot `key` on them, is put together of; usable until `release` or `remove` of the key.

        A snapshot is made ready where it is not (after a restart of the machine).

        Raises:
            NotFound: The snapshot, or a layer, is not there. Drivers that give the layers' own directories do not look.
        """

    def release(self, key: str) -> None:
        """Nobody uses what `mounts` gave for now: what it holds in the kernel may go. What is on the disk stays."""

    def directories(self, name: str, layers: Sequence[str]) -> AbstractContextManager[Directories]:
        """A layer or snapshot and its parents, to be looked at as long as the context is open.

        Args:
            name: A chain id or a key.
            layers: What it stands on (without itself).

        Raises:
            NotFound: It is not there.
        """

    def usage(self, name: str) -> Usage:
        """Room of a layer or snapshot (a chain id or a key).

        Raises:
            NotFound: It is not there.
        """

    def remove(self, name: str) -> None:
        """Remove a layer, snapshot or view; one that is not there is none.

        Who still runs on it does not hinder that: the name is free at once, and its room comes back when the last user is
        gone, at the latest when the driver is opened the next time.
        """

    def committed(self) -> set[str]:
        """Chain ids of all layers."""

    def keys(self) -> set[str]:
        """Keys of all snapshots."""

    def close(self) -> None:
        """Let go of what only this process holds. Snapshots on which containers run stay usable."""


def check_key(key: str) -> str:
    """`key` where it is one.

    Raises:
        InvalidArgument: It is none.
    """
    if not _KEY.fullmatch(key) or _NAME.fullmatch(key):
        raise InvalidArgument(f"storage: {key!r} is not the key of a snapshot", field="key")
    return key


def check_name(name: str) -> str:
    """`name` where it is a chain id's hexadecimal digits.

    Raises:
        InvalidArgument: It is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"storage: {name!r} is not a chain id of 64 hexadecimal digits", field="name")
    return name


def is_name(text: str) -> bool:
    """Whether it is a chain id, not a key."""
    return _NAME.fullmatch(text) is not None
