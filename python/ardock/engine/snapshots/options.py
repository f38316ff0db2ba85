"""`--storage-opt` of the daemon: which options there are, and for which driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ardock.engine.snapshots.contract import DriverName
from ardock.model.errors import InvalidArgument
from ardock.model.sizes import parse_size

DRIVERS: Final[tuple[DriverName, ...]] = ("overlay", "btrfs", "vfs", "devicemapper", "aufs")
"""All that there are."""

_FILE_SYSTEMS: Final = ("ext4", "xfs")
_SECTOR: Final = 512


class DeviceMapperOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of ``devicemapper``; the names are Docker's, with ``dm.`` before them.

    Attributes:
        thinpooldev: Name or path of a thin pool that is there; empty: one on loop files in the driver's folder.
        basesize: Bytes of a container's file system, unless it asks for more.
        fs: ``ext4`` or ``xfs``.
        loopdatasize: Bytes of the pool's data file, which grows as it is filled.
        loopmetadatasize: Idem of its metadata file.
        blocksize: Bytes that are allocated at once.
        mkfsarg: More arguments for mkfs.
        mountopt: More options for mounting, separated by commas.
    """

    thinpooldev: str = ""
    basesize: int = 10 << 30
    fs: str = "ext4"
    loopdatasize: int = 100 << 30
    loopmetadatasize: int = 2 << 30
    blocksize: int = 64 << 10
    mkfsarg: str = ""
    mountopt: str = ""


class StorageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All options.

    Attributes:
        size: Most bytes of a container's root where it does not say so itself; None is no limit.
        devicemapper: Of that driver.
    """

    size: int | None = None
    devicemapper: DeviceMapperOptions = DeviceMapperOptions()


def parse(options: Mapping[str, str]) -> StorageOptions:
    """The options by their names.

    Raises:
        InvalidArgument: There is no such option, or its value is none; field ``storage_options``.
    """
    size: int | None = None
    words: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for name, value in options.items():
        match name:
            case "size":
                size = _size(name, value)
            case "dm.basesize" | "dm.loopdatasize" | "dm.loopmetadatasize" | "dm.blocksize":
                sizes[name.removeprefix("dm.")] = _size(name, value)
            case "dm.fs" | "dm.thinpooldev" | "dm.mkfsarg" | "dm.mountopt":
                words[name.removeprefix("dm.")] = value
            case _:
                raise _wrong(f"there is no option {name!r}: there are {', '.join(NAMES)}")
    devicemapper = msgspec.structs.replace(DeviceMapperOptions(), **words, **sizes)
    if devicemapper.fs not in _FILE_SYSTEMS:
        raise _wrong(f"dm.fs={devicemapper.fs}: give {' or '.join(_FILE_SYSTEMS)}")
    # Documentation/admin-guide/device-mapper/thin-provisioning.rst, "data_block_size".
    if not 64 << 10 <= devicemapper.blocksize <= 1 << 30 or devicemapper.blocksize % (64 << 10):
        raise _wrong(f"dm.blocksize={devicemapper.blocksize}: give a multiple of 64k, from 64k to 1g")
    return StorageOptions(size=size, devicemapper=devicemapper)


NAMES: Final = ("size", *(f"dm.{name}" for name in DeviceMapperOptions.__struct_fields__))
"""The options' names."""


def check_for(driver: DriverName, options: Mapping[str, str]) -> None:
    """Refuse what the driver would ignore.

    Raises:
        InvalidArgument: An option is another driver's.
    """
    for name in options:
        if name.startswith("dm.") and driver != "devicemapper":
            raise _wrong(f"{name} is an option of the driver devicemapper, and this engine's is {driver}")


def _size(name: str, value: str) -> int:
    size = parse_size(value, f"storage_options: {name}")
    if size < _SECTOR:
        raise _wrong(f"{name}={value}: it must be more than 0")
    return size


def _wrong(sentence: str) -> InvalidArgument:
    return InvalidArgument(f"storage_options: {sentence}", field="storage_options")
