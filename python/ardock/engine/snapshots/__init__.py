"""Snapshot drivers: layers of images and roots of containers on the disk, behind one contract."""

from ardock.engine.snapshots.btrfs import Btrfs
from ardock.engine.snapshots.contract import Directories, Driver, DriverName, Layout, Mounts, Usage, Whiteouts
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.vfs import Vfs

__all__ = ["Btrfs", "Directories", "Driver", "DriverName", "Layout", "Mounts", "Overlay", "Usage", "Vfs", "Whiteouts"]
