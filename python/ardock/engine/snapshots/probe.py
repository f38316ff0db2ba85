"""Which driver a root folder has: the one it was made with; else the one that is asked for; else what its file system can do."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ardock.engine.kernel_paths import kernel_features
from ardock.engine.snapshots.contract import Driver, DriverName
from ardock.engine.snapshots.errors import told
from ardock.engine.snapshots.options import DRIVERS, StorageOptions, check_for, parse
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.place import place_of
from ardock.engine.snapshots.quota import ProjectQuotas
from ardock.model.errors import FolderUnusable, InvalidArgument, Unsupported

_RECORD: Final = "driver"


class Storage(NamedTuple):
    """The driver of a root folder.

    Attributes:
        driver: It.
        reason: Why it is this one, as a clause for `info`.
        options: What was given for it.
        quotas: What limits directories of the root folder.
    """

    driver: Driver
    reason: str
    options: StorageOptions
    quotas: ProjectQuotas


class Record(NamedTuple):
    """What the root folder was made with: a driver's name, and the reason of then."""

    name: str
    reason: str


class Choice(NamedTuple):
    """A driver and why."""

    name: DriverName
    reason: str


def open_storage(
    root: Path, wanted: str | None = None, options: Mapping[str, str] | None = None, *, engine_id: str = "00000000"
) -> Storage:
    """Open the driver of the root folder `root`. Blocking.

    Args:
        root: The engine's root folder.
        wanted: Of ``--storage-driver``; None or empty: by what there is.
        options: Of ``--storage-opt``, by their names.
        engine_id: 8 hexadecimal digits.

    Raises:
        InvalidArgument: There is no such driver, the folder was made with another, or an option is none.
        Unsupported: The driver cannot be used here.
        FolderUnusable: The folder cannot be read or written.
    """
    parsed = parse(options or {})
    folder = root / "snapshots"
    with told("make the folder"):
        folder.mkdir(mode=0o700, exist_ok=True)
    recorded = read_record(root)
    choice = choose(root, wanted, recorded)
    check_for(choice.name, options or {})
    quotas = ProjectQuotas(root, engine_id)
    driver = _open(choice.name, folder / choice.name, root, quotas, parsed)
    if recorded is None:
        _write_record(folder, choice)
    return Storage(driver, choice.reason, parsed, quotas)


def choose(root: Path, wanted: str | None, recorded: Record | None) -> Choice:
    """Which driver it is to be.

    Raises:
        InvalidArgument: There is no such driver, or the folder was made with another.
    """
    if wanted:
        if wanted not in DRIVERS:
            raise InvalidArgument(
                f"storage_driver: there is no driver {wanted!r}: there are {', '.join(DRIVERS)}", field="storage_driver"
            )
        if recorded is not None and recorded.name != wanted:
            raise InvalidArgument(
                f"storage_driver: {wanted} was asked for, and the root folder {root} was made with {recorded.name}, which the "
                f"layers in it need: give {recorded.name}, or another root folder",
                field="storage_driver",
            )
        return Choice(wanted, "asked for by --storage-driver")
    if recorded is not None:
        if recorded.name not in DRIVERS:
            raise FolderUnusable(
                f"storage: {root}/snapshots/{_RECORD}: the folder was made with the driver {recorded.name!r}, which this version "
                "does not have"
            )
        return Choice(recorded.name, f"the root folder was made with it: {recorded.reason}")
    return probe(root)


def probe(root: Path) -> Choice:
    """The best driver for a root folder that has none yet."""
    from ardock.engine.snapshots.trial import overlay_problem

    place = place_of(root)
    problem = overlay_problem(root) if kernel_features()["overlay"] else "this kernel has no overlay file system"
    if not problem:
        return Choice("overlay", f"overlays work on the root folder's file system ({place.shown})")
    if place.kind == "btrfs":
        return Choice("btrfs", f"the root folder is on btrfs, and overlay cannot be used: {problem}")
    return Choice(
        "vfs",
        f"overlay cannot be used: {problem}; and the root folder's file system ({place.shown}) is not btrfs: each layer is a whole copy",
    )


def read_record(root: Path) -> Record | None:
    """What the root folder was made with; None where it is new.

    Raises:
        FolderUnusable: It cannot be read.
    """
    with told("read the driver's name"):
        try:
            text = (root / "snapshots" / _RECORD).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
    name, _, reason = text.partition("\n")
    return Record(name.strip(), reason.strip())


def _write_record(folder: Path, choice: Choice) -> None:
    """Whole or not at all: a crash in between leaves only the temporary file."""
    temporary = folder / f"{_RECORD}.new"
    with told("write the driver's name"):
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f"{choice.name}\n{choice.reason}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / _RECORD)


def _open(name: DriverName, folder: Path, root: Path, quotas: ProjectQuotas, options: StorageOptions) -> Driver:
    match name:
        case "overlay":
            return Overlay(folder)
        case "vfs":
            from ardock.engine.snapshots.vfs import Vfs

            return Vfs(folder, quotas)
        case "btrfs":
            from ardock.engine.snapshots.btrfs import Btrfs

            place = place_of(root)
            if place.kind != "btrfs":
                raise Unsupported(
                    f"storage_driver: btrfs needs a root folder on a btrfs, and {root} is on {place.shown}",
                    option="storage_driver",
                )
            return Btrfs(folder)
        case "devicemapper":
            from ardock.engine.snapshots.devicemapper import Devicemapper

            return Devicemapper(folder, options.devicemapper)
        case "aufs":
            from ardock.engine.snapshots.aufs import Aufs

            return Aufs(folder)


def tidy(driver: Driver, keys: Collection[str], names: Collection[str]) -> None:
    """Remove every snapshot and layer that nobody knows. Blocking; to be called once, when an engine opens.

    Args:
        driver: Of the engine.
        keys: Snapshots that stay.
        names: Layers that stay.
    """
    for key in driver.keys() - set(keys):
        driver.remove(key)
    for name in driver.committed() - set(names):
        driver.remove(name)
