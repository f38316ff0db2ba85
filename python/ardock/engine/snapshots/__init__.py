"""Snapshot drivers: layers of images and roots of containers on the disk, behind one contract."""

from ardock.engine.snapshots.aufs import Aufs
from ardock.engine.snapshots.btrfs import Btrfs
from ardock.engine.snapshots.contract import Directories, Driver, DriverName, Layout, Mounts, Usage, Whiteouts
from ardock.engine.snapshots.devicemapper import Devicemapper
from ardock.engine.snapshots.options import DRIVERS, StorageOptions
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.probe import Storage, open_storage, tidy
from ardock.engine.snapshots.quota import ProjectQuotas
from ardock.engine.snapshots.vfs import Vfs

__all__ = [
    "DRIVERS",
    "Aufs",
    "Btrfs",
    "Devicemapper",
    "Directories",
    "Driver",
    "DriverName",
    "Layout",
    "Mounts",
    "Overlay",
    "ProjectQuotas",
    "Storage",
    "StorageOptions",
    "Usage",
    "Vfs",
    "Whiteouts",
    "open_storage",
    "tidy",
]
