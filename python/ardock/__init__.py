"""ardock runs containers on Linux, as easily as subprocesses.

    async with ardock.open_engine() as engine:
        result = await engine.containers.run(["echo", "hi"], rootfs="/srv/busybox")

The public names are in this module; the engine is imported only when it is asked for, so that ``import ardock`` costs
little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ardock.model import (
    Adopted,
    ArdockError,
    CapacityExceeded,
    CommandNotExecutable,
    CommandNotFound,
    ContainerOptions,
    ContainerSpec,
    Device,
    EngineClosed,
    EngineLocked,
    ExecSpec,
    ExitRecord,
    FolderUnusable,
    InvalidArgument,
    KeeperLost,
    KeeperUnavailable,
    LaunchFailed,
    LaunchTimedOut,
    LogOptions,
    Mount,
    NotFound,
    NotPermitted,
    NotRunning,
    ProtocolViolation,
    RunResult,
    Timings,
    Ulimit,
    Unsupported,
)

if TYPE_CHECKING:
    from ardock.engine import Engine, RunningContainer, RunningProgram, open_engine

__all__ = [
    "Adopted",
    "ArdockError",
    "CapacityExceeded",
    "CommandNotExecutable",
    "CommandNotFound",
    "ContainerOptions",
    "ContainerSpec",
    "Device",
    "Engine",
    "EngineClosed",
    "EngineLocked",
    "ExecSpec",
    "ExitRecord",
    "FolderUnusable",
    "InvalidArgument",
    "KeeperLost",
    "KeeperUnavailable",
    "LaunchFailed",
    "LaunchTimedOut",
    "LogOptions",
    "Mount",
    "NotFound",
    "NotPermitted",
    "NotRunning",
    "ProtocolViolation",
    "RunResult",
    "RunningContainer",
    "RunningProgram",
    "Timings",
    "Ulimit",
    "Unsupported",
    "open_engine",
]

_ENGINE_NAMES = frozenset({"Engine", "RunningContainer", "RunningProgram", "open_engine"})


def __getattr__(name: str) -> object:
    """Import the engine on first use (PEP 562): trio alone costs 140 ms."""
    if name in _ENGINE_NAMES:
        from ardock import engine

        value: object = getattr(engine, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
