"""A container as others see it: what `inspect` and `list` give."""

from __future__ import annotations

from typing import Literal

import msgspec

from ardock.model.records import ExitRecord, Timings
from ardock.model.spec import ContainerSpec

# The moves between them are the table of `ardock.engine.containers.lifecycle`.
Status = Literal["created", "starting", "running", "paused", "restarting", "exited", "removing", "dead"]
# What `wait` waits for, in Docker's words.
WaitCondition = Literal["not-running", "next-exit", "removed"]
# Docker's list and event filters: name to values; values of one name are alternatives, names are all required.
Filters = dict[str, tuple[str, ...]]


class ContainerInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One container, whole.

    Attributes:
        id: 64 hexadecimal digits.
        name: Unique in its engine while it exists.
        spec: What was asked for.
        remove: It is removed when it has ended (``--rm``).
        status: Where it is in its life.
        created_at: Wall clock, ns since 1970.
        started_at: Of its last run; 0 before the first. Wall clock, ns since 1970.
        started_boot: The same on CLOCK_BOOTTIME, in ns, for durations that no clock step spoils; 0 where not known.
        finished_at: Of its last run; 0 before the first end. Wall clock, ns since 1970.
        run: How often it was started.
        pid: Process id on the host; 0 unless it runs.
        exit: How its last run ended; None before the first end.
        error: Why its last start failed; empty where it did not.
        timings: Where its last launch's time went.
        image_id: Digest of the image it was made from; empty with `rootfs` or `layers`.
        restarts: How often it was restarted.
        execs: Ids of the execs that run in it.
        log: Path of its log beneath the engine's root folder; empty where it keeps none.
        apparmor: The AppArmor profile of its last run; ``"unconfined"``; empty before the first and on a host without AppArmor.
    """

    id: str
    name: str
    spec: ContainerSpec
    remove: bool = False
    status: Status = "created"
    created_at: int = 0
    started_at: int = 0
    started_boot: int = 0
    finished_at: int = 0
    run: int = 0
    pid: int = 0
    exit: ExitRecord | None = None
    error: str = ""
    timings: Timings | None = None
    image_id: str = ""
    restarts: int = 0
    execs: tuple[str, ...] = ()
    log: str = ""
    apparmor: str = ""


class ContainerSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `list`; the fields are those of `ContainerInfo`.

    Attributes:
        id: 64 hexadecimal digits.
        name: Its name.
        image: The image's name, or the path of its root file system.
        argv: Program and arguments (shortened where very long).
        created_at: Wall clock, ns since 1970.
        status: Where it is in its life.
        started_at: Wall clock, ns since 1970.
        started_boot: CLOCK_BOOTTIME, ns.
        finished_at: Wall clock, ns since 1970.
        exit_code: Of its last run; None before the first end.
        pid: 0 unless it runs.
        labels: The user's labels.
        mounts: Sources of its binds and names of its volumes.
        network: Its network mode.
        remove: It is removed when it has ended.
    """

    id: str
    name: str
    image: str = ""
    argv: tuple[str, ...] = ()
    created_at: int = 0
    status: Status = "created"
    started_at: int = 0
    started_boot: int = 0
    finished_at: int = 0
    exit_code: int | None = None
    pid: int = 0
    labels: dict[str, str] = {}
    mounts: tuple[str, ...] = ()
    network: str = "none"
    remove: bool = False


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What `list` gives: containers, and the point in the journal at which that is true.

    Follow the events from there and nothing is missed, nor told twice.

    Attributes:
        containers: Newest first, as Docker's.
        epoch: The journal's epoch.
        seq: The number of the last event that is reflected in `containers`.
        boottime: CLOCK_BOOTTIME of the engine's machine at that moment, ns; for "up since".
    """

    containers: list[ContainerSummary]
    epoch: str
    seq: int
    boottime: int = 0


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """What `create` gives.

    Attributes:
        id: 64 hexadecimal digits.
        name: The name given or made up.
    """

    id: str
    name: str


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `engine.info` gives.

    Attributes:
        id: 8 hexadecimal digits.
        version: ardock's version.
        root: The root folder.
        run_dir: This engine's part of the run folder.
        pid: Process id of the engine's owner.
        kernel: Release of the kernel.
        architecture: The machine's.
        cgroup: ``"v1"``, ``"v2"`` or ``"hybrid"``.
        scratch: The default scratch.
        storage_driver: How layers of images are kept: ``overlay``, ``btrfs``, ``vfs``, ``devicemapper`` or ``aufs``.
        storage_reason: Why that one, as a clause.
        storage_status: What the driver tells of itself, such as how full its pool is.
        apparmor: The AppArmor profile of a container that asks for none; ``"unconfined"`` where it could not be loaded, empty
            on a host without AppArmor.
        kernel_paths: What is done on this kernel where newer ones have more, by what it is for.
        containers: Number of containers by status.
        images: Number of images.
        epoch: The journal's epoch.
        seq: Number of the journal's last event.
        journal_bytes: What the journal holds.
        keepers: Number of keepers.
        started_at: When the owner opened the engine; wall clock, ns since 1970.
    """

    id: str
    version: str = ""
    root: str = ""
    run_dir: str = ""
    pid: int = 0
    kernel: str = ""
    architecture: str = ""
    cgroup: str = ""
    scratch: str = ""
    storage_driver: str = ""
    storage_reason: str = ""
    storage_status: dict[str, str] = {}
    apparmor: str = ""
    kernel_paths: dict[str, str] = {}
    containers: dict[str, int] = {}
    images: int = 0
    epoch: str = ""
    seq: int = 0
    journal_bytes: int = 0
    keepers: int = 0
    started_at: int = 0
