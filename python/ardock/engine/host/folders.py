"""The file systems of the run folder and the root folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from ardock.engine.host.records import Check
from ardock.engine.host.system import Host, Mount

# overlayfs asks of an upper directory extended attributes of the `trusted` kind, d_type and RENAME_WHITEOUT
# ("Documentation/filesystems/overlayfs.rst"). These lack one of them, or are overlays themselves.
_NO_UPPER = frozenset({"overlay", "nfs", "nfs4", "cifs", "smb3", "vfat", "exfat", "ntfs3", "9p", "ceph", "aufs"})

LOW_SPACE = 1 << 30
"""Below this many free bytes in the root folder it is worth a word."""


def folders(host: Host, root: Path, run_dir: Path) -> Iterator[Check]:
    """Where the engine keeps its files: are they fit for it, and what do they cost?"""
    yield _records(host, run_dir)
    yield from _root(host, root)


def _records(host: Host, run_dir: Path) -> Check:
    """Exit records are appended where an append cannot wait for a disk."""
    group, name = "folders", "exit records"
    mount = host.mount_of(run_dir)
    if mount is not None and mount.kind == "tmpfs":
        return Check(group=group, name=name, status="ok", found=f"{run_dir} is in memory")
    shared = host.mount_of(Path("/dev/shm"))
    kind = mount.kind if mount is not None else "unknown"
    if shared is not None and shared.kind == "tmpfs" and shared.target == "/dev/shm":
        return Check(group=group, name=name, status="ok", found=f"in /dev/shm, since {run_dir} is on a disk ({kind})")
    return Check(
        group=group,
        name=name,
        status="note",
        found=f"on a disk ({kind}): each exit waits for it",
        remedy="mount -t tmpfs tmpfs /run, or --run-dir on a tmpfs",
    )


def _root(host: Host, root: Path) -> Iterator[Check]:
    group = "folders"
    mount = host.mount_of(root)
    if mount is None:
        yield Check(
            group=group,
            name="root folder",
            status="failed",
            found=f"{root}: not in the mount table",
            remedy="choose another by --root or ARDOCK_ROOT",
        )
        return
    yield _fitness(root, mount)
    yield _storage(host, root, mount)
    yield _journal(host, mount)
    yield _space(host, root)


def _fitness(root: Path, mount: Mount) -> Check:
    where = f"{root} on {mount.kind} ({mount.source})"
    found, remedy = where, ""
    if mount.readonly:
        found, remedy = f"{where}, read-only", "choose a writable folder by --root or ARDOCK_ROOT"
    elif mount.kind in _NO_UPPER or mount.kind.startswith("fuse"):
        found = f"{where}, which cannot take the writes of an overlay"
        remedy = "choose a folder on ext4, xfs, btrfs or tmpfs by --root or ARDOCK_ROOT, or use --scratch memory"
    return Check(group="folders", name="root folder", status="failed" if remedy else "ok", found=found, remedy=remedy)


def _storage(host: Host, root: Path, mount: Mount) -> Check:
    """Which snapshot driver the root folder has, or would get from the next engine (which tries whether overlays work)."""
    recorded = (host.text(root / "snapshots" / "driver") or "").split("\n")
    if recorded[0]:
        found = f"{recorded[0]}: the root folder was made with it" + (f" ({recorded[1]})" if recorded[1:] else "")
        return Check(group="folders", name="storage driver", status="ok", found=found)
    fit = host.has_filesystem("overlay") and mount.kind not in _NO_UPPER and not mount.kind.startswith("fuse")
    if fit or mount.kind == "btrfs":
        name = "overlay" if fit else "btrfs"
        return Check(group="folders", name="storage driver", status="ok", found=f"{name}, from the first engine on")
    return Check(
        group="folders",
        name="storage driver",
        status="note",
        found="vfs, from the first engine on: overlays do not work there, and each layer and container is a whole copy",
        remedy="choose a folder on ext4, xfs or btrfs by --root or ARDOCK_ROOT",
    )


def _journal(host: Host, mount: Mount) -> Check:
    """Making an overlay whose upper is on a journalling file system writes to the journal: 0.4 to 3.5 ms measured."""
    if mount.kind in {"tmpfs", "ramfs"}:
        found = "none: scratch costs no disk"
    elif mount.kind in {"ext2", "ext3", "ext4"}:
        # /proc/fs/jbd2 has a folder DEVICE-INODE for each journal.
        device = Path(mount.source).name
        journals = host.path("/proc/fs/jbd2")
        there = journals.is_dir() and any(entry.name.startswith(f"{device}-") for entry in journals.iterdir())
        found = "yes: scratch on disk costs a journal write a container" if there else "none"
    else:
        found = f"{mount.kind} keeps one: scratch on disk costs a write a container"
    costly = found.startswith("yes") or "keeps one" in found
    return Check(
        group="folders",
        name="journal",
        status="ok",
        found=found + ("; --scratch memory does not" if costly else ""),
    )


def _space(host: Host, root: Path) -> Check:
    try:
        space = host.space(root)
    except OSError as error:
        problem = errno.errorcode.get(error.errno or 0, str(error))
        return Check(group="folders", name="free space", status="note", found=f"not known ({problem})")
    inodes = "" if space.free_inodes is None else f", {space.free_inodes:,} inodes"
    low = space.free_bytes < LOW_SPACE
    return Check(
        group="folders",
        name="free space",
        status="note" if low else "ok",
        found=f"{space.free_bytes / (1 << 30):,.1f} GiB{inodes}",
        remedy="make room, or choose another folder by --root or ARDOCK_ROOT" if low else "",
    )
