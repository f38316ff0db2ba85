"""ardock runs containers on Linux, as easily as subprocesses.

    async with ardock.open_engine() as engine:
        result = await engine.containers.run(["echo", "hi"], rootfs="/srv/busybox")

The public names are in this module, each imported from where it is when it is asked for (PEP 562), so that ``import ardock``
costs little: trio alone takes 140 ms.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ardock.client import connect
    from ardock.embedded import open_engine
    from ardock.interface import (
        Attachment,
        Containers,
        Engine,
        Events,
        Images,
        RunMany,
        RunningContainer,
        RunningProgram,
        Volumes,
    )
    from ardock.model.container import ContainerInfo, ContainerSummary, Created, EngineInfo, Listing
    from ardock.model.errors import (
        Ambiguous,
        ArdockError,
        Cancelled,
        CapacityExceeded,
        CommandNotExecutable,
        CommandNotFound,
        Conflict,
        ConnectionLost,
        ContentDamaged,
        DaemonUnavailable,
        DeadlineExceeded,
        DiskFull,
        EngineClosed,
        EngineLocked,
        FolderUnusable,
        InvalidArgument,
        KeeperLost,
        KeeperUnavailable,
        LaunchFailed,
        LaunchTimedOut,
        MalformedRequest,
        NotFound,
        NotPermitted,
        NotRunning,
        ProtocolViolation,
        RegistryUnavailable,
        Unsupported,
    )
    from ardock.model.events import Cursor, Event, Gap, Heartbeat
    from ardock.model.image import ImageInfo
    from ardock.model.logs import LogGap, LogQuery, LogRecord
    from ardock.model.records import Adopted, ExitRecord, RunResult, Timings
    from ardock.model.reference import Reference
    from ardock.model.registry import Credentials, RegistryOptions
    from ardock.model.spec import (
        ContainerOptions,
        ContainerSpec,
        Device,
        ExecSpec,
        LogOptions,
        Mount,
        ThrottleDevice,
        Ulimit,
        WeightDevice,
    )
    from ardock.model.volume import PrunedVolumes, VolumeInfo

_WHERE: Final = {
    "ardock.client": ("connect",),
    "ardock.embedded": ("open_engine",),
    "ardock.interface": (
        "Attachment",
        "Containers",
        "Engine",
        "Events",
        "Images",
        "RunMany",
        "RunningContainer",
        "RunningProgram",
        "Volumes",
    ),
    "ardock.model.container": (
        "ContainerInfo",
        "ContainerSummary",
        "Created",
        "EngineInfo",
        "Listing",
    ),
    "ardock.model.errors": (
        "Ambiguous",
        "ArdockError",
        "Cancelled",
        "CapacityExceeded",
        "CommandNotExecutable",
        "CommandNotFound",
        "Conflict",
        "ConnectionLost",
        "ContentDamaged",
        "DaemonUnavailable",
        "DeadlineExceeded",
        "DiskFull",
        "EngineClosed",
        "EngineLocked",
        "FolderUnusable",
        "InvalidArgument",
        "KeeperLost",
        "KeeperUnavailable",
        "LaunchFailed",
        "LaunchTimedOut",
        "MalformedRequest",
        "NotFound",
        "NotPermitted",
        "NotRunning",
        "ProtocolViolation",
        "RegistryUnavailable",
        "Unsupported",
    ),
    "ardock.model.events": (
        "Cursor",
        "Event",
        "Gap",
        "Heartbeat",
    ),
    "ardock.model.image": ("ImageInfo",),
    "ardock.model.logs": (
        "LogGap",
        "LogQuery",
        "LogRecord",
    ),
    "ardock.model.records": (
        "Adopted",
        "ExitRecord",
        "RunResult",
        "Timings",
    ),
    "ardock.model.reference": ("Reference",),
    "ardock.model.registry": ("Credentials", "RegistryOptions"),
    "ardock.model.spec": (
        "ContainerOptions",
        "ContainerSpec",
        "Device",
        "ExecSpec",
        "LogOptions",
        "Mount",
        "ThrottleDevice",
        "Ulimit",
        "WeightDevice",
    ),
    "ardock.model.volume": ("PrunedVolumes", "VolumeInfo"),
}
_MODULES: Final = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Adopted",
    "Ambiguous",
    "ArdockError",
    "Attachment",
    "Cancelled",
    "CapacityExceeded",
    "CommandNotExecutable",
    "CommandNotFound",
    "Conflict",
    "ConnectionLost",
    "ContainerInfo",
    "ContainerOptions",
    "ContainerSpec",
    "ContainerSummary",
    "Containers",
    "ContentDamaged",
    "Created",
    "Credentials",
    "Cursor",
    "DaemonUnavailable",
    "DeadlineExceeded",
    "Device",
    "DiskFull",
    "Engine",
    "EngineClosed",
    "EngineInfo",
    "EngineLocked",
    "Event",
    "Events",
    "ExecSpec",
    "ExitRecord",
    "FolderUnusable",
    "Gap",
    "Heartbeat",
    "ImageInfo",
    "Images",
    "InvalidArgument",
    "KeeperLost",
    "KeeperUnavailable",
    "LaunchFailed",
    "LaunchTimedOut",
    "Listing",
    "LogGap",
    "LogOptions",
    "LogQuery",
    "LogRecord",
    "MalformedRequest",
    "Mount",
    "NotFound",
    "NotPermitted",
    "NotRunning",
    "ProtocolViolation",
    "PrunedVolumes",
    "Reference",
    "RegistryOptions",
    "RegistryUnavailable",
    "RunMany",
    "RunResult",
    "RunningContainer",
    "RunningProgram",
    "ThrottleDevice",
    "Timings",
    "Ulimit",
    "Unsupported",
    "VolumeInfo",
    "Volumes",
    "WeightDevice",
    "connect",
    "open_engine",
]


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
