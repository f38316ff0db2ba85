"""Whether overlays can be used on a file system: by trying, out of everybody's sight."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

from ardock import _core
from ardock.engine.snapshots.system import in_own_mounts, mount


def overlay_problem(root: Path) -> str:
    """Why layers cannot be kept in `root` as an overlay needs them; empty where they can.

    A file below is deleted through an overlay: that takes the upper directory's extended attributes, the types of its entries
    and a whiteout (Documentation/filesystems/overlayfs.rst, "upperdir"). The mount is in a namespace of its own, which ends
    with the thread.
    """
    folder = root / f".probe-{secrets.token_hex(8)}"

    def attempt() -> None:
        lower, upper, work, merged = (folder / name for name in ("lower", "upper", "work", "merged"))
        for each in (folder, lower, upper, work, merged):
            each.mkdir(mode=0o700)
        (lower / "file").touch()
        in_own_mounts(lambda: _delete_in_overlay(lower, upper, work, merged))
        found = (upper / "file").lstat()
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != 0:
            raise OSError(0, "a deletion left no whiteout")

    try:
        attempt()
    except OSError as error:
        return f"the kernel refuses it there ({error.strerror or error})"
    finally:
        _core.remove_tree(str(folder))
    return ""


def _delete_in_overlay(lower: Path, upper: Path, work: Path, merged: Path) -> None:
    # A path with a comma or colon in it would need escapes; the working directory is this thread's own.
    folder = lower.parent
    names = (lower.name, upper.name, work.name)
    mount("overlay", merged, "overlay", 0, "lowerdir={},upperdir={},workdir={}".format(*names), within=folder)
    (merged / "file").unlink()
