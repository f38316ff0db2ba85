"""Snapshot drivers: layers of images and roots of containers on the disk, behind one contract."""

from ardock.engine.snapshots.contract import Directories, Driver, DriverName, Layout, Mounts, Usage, Whiteouts
from ardock.engine.snapshots.options import DRIVERS, StorageOptions
from ardock.engine.snapshots.probe import Storage, open_storage, tidy
from ardock.engine.snapshots.quota import ProjectQuotas

__all__ = [
    "DRIVERS",
    "Directories",
    "Driver",
    "DriverName",
    "Layout",
    "Mounts",
    "ProjectQuotas",
    "Storage",
    "StorageOptions",
    "Usage",
    "Whiteouts",
    "open_storage",
    "tidy",
]
