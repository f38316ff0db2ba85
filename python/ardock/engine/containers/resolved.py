"""What had to be looked up on the host before a container could be planned: plain data between looking and deciding."""

from __future__ import annotations

from typing import Literal

import msgspec

from ardock.model.launch import DeviceNode


class User(msgspec.Struct, frozen=True):
    """A user of the container, resolved by the root's own passwd and group.

    Attributes:
        uid: User id.
        gid: Group id.
        groups: Supplementary groups.
        home: Home directory.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


OutputKind = Literal["capture", "direct", "tap", "log"]
# ``plain``: nothing is made before the launch. ``snapshot``: the driver gives the root, which is written to itself. ``limited``:
# the scratch directory is made beforehand and has a quota.
Way = Literal["plain", "snapshot", "limited"]


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of the look-ups for one spec. Equal ones give equal plans, so this is part of a plan's cache key.

    Attributes:
        roots: Keys of the root's layers (``/roots/<key>`` in the keeper's namespace), topmost first.
        user: Who the program runs as.
        binds: For each bind and volume in the spec's `mounts`, in order: it is a file (or device), not a directory.
        host_shm: The host's /dev/shm is one more descriptor after those.
        devices: Nodes to make in /dev: the spec's, or with `privileged` all of the host's.
        disks: Path, major and minor number of each block device that the spec limits.
        masks: Paths in the container where the engine's own folders would show.
        seccomp: Hash of the seccomp program; None is unconfined.
    """

    roots: tuple[int, ...]
    user: User
    binds: tuple[bool, ...] = ()
    host_shm: bool = False
    devices: tuple[DeviceNode, ...] = ()
    disks: tuple[tuple[str, int, int], ...] = ()
    masks: tuple[str, ...] = ()
    seccomp: str | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container goes and what becomes of its streams: what a plan depends on besides spec and host.

    Attributes:
        keeper: The keeper's number.
        cgroup_parent: ``ardock-<engine id>/k<n>``.
        scratch_dir: The keeper's folder of scratch directories, as it sees it: ``/store/scratch/k<n>``.
        input: Standard input is the message's first descriptor.
        output: What becomes of its output: ``capture`` (kept for its caller), ``direct`` (the pipes themselves go to the
            engine), ``tap`` (a copy goes to the engine from the start) or ``log`` (at most the log has it).
        capture: Bytes captured of each stream, with ``capture``.
        kept: The container outlives this run: so do its scratch directory and log.
        scratch: The scratch directory, where it is not named after the run.
        log: The log's path beneath the root folder, where it is not named after the run.
        way: How its root came to be.
    """

    keeper: int
    cgroup_parent: str
    scratch_dir: str
    input: bool = False
    output: OutputKind = "direct"
    capture: int | None = None
    kept: bool = False
    scratch: str = ""
    log: str = ""
    way: Way = "plain"
