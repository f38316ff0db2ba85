"""Control groups that dead keepers left behind: found and ended. Blocking; for a thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ardock import _core
from ardock.engine.keepers import mapping
from ardock.model.errors import LaunchFailed

# Seconds.
_PATIENCE: Final = 2.0


def left_behind(engine_id: str) -> set[str]:
    """Names of the keepers' folders (``k1``, ``keeper-1``, ...) beneath ``ardock-<engine id>``, in any hierarchy."""
    found: set[str] = set()
    for folder in _folders(engine_id):
        found.update(entry.name for entry in folder.iterdir() if entry.is_dir())
    return found


def remove_empty(engine_id: str, names: set[str], *, and_engine: bool) -> None:
    """Remove keepers' folders from hierarchies that limit nothing, too: a keeper enters every one.

    Args:
        engine_id: The engine.
        names: The folders.
        and_engine: The engine's own folder, too. Not while a keeper may be starting, which has just made it.
    """
    for folder in _folders(engine_id):
        for path in (*(folder / name for name in names), *((folder,) if and_engine else ())):
            with contextlib.suppress(OSError):  # Another keeper is in it, or it is not there.
                path.rmdir()


def _folders(engine_id: str) -> list[Path]:
    """``ardock-<engine id>`` in each hierarchy that has it."""
    found: list[Path] = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mountpoint, kind, *_ = line.split(" ")
        folder = Path(mountpoint) / f"ardock-{engine_id}"
        if kind in ("cgroup", "cgroup2") and folder.is_dir():
            found.append(folder)
    return found


class Groups:
    """All hierarchies, from a thread of ours that sees them whatever this process's mount namespace shows."""

    def __init__(self, launcher: _core.Launcher) -> None:
        """Use `launcher`."""
        self._launcher = launcher

    def end_all(self, parent: str) -> None:
        """Kill what runs in `parent` and the groups beneath it, and remove them.

        Raises:
            LaunchFailed: It could not be done: a process that the kernel cannot end, say.
        """
        try:
            for name in self._launcher.cgroup_children(parent):
                self._end(parent, name)
            folder, _, own = parent.rpartition("/")
            self._end(folder, own)
        except _core.HostError as error:
            step, subject, number, hint, _ = error.args
            text = mapping.from_host(step, subject, number, hint, f"control group {parent}").message
            raise LaunchFailed(text, step=step, subject=subject, errno=number, hint=hint) from None

    def _end(self, parent: str, name: str) -> None:
        self._launcher.kill_cgroup(parent, name)
        # A process that is dead holds its group until its parent (init, by now) has collected it.
        self._launcher.remove_cgroup(parent, name, patience=_PATIENCE)


@contextmanager
def opened() -> Iterator[Groups]:
    """The hierarchies, for as long as the context lasts.

    Raises:
        LaunchFailed: They could not be opened.
    """
    try:
        launcher = _core.Launcher()
    except _core.HostError as error:
        step, subject, number, hint, _ = error.args
        text = mapping.from_host(step, subject, number, hint, "control groups").message
        raise LaunchFailed(text, step=step, subject=subject, errno=number, hint=hint) from None
    try:
        yield Groups(launcher)
    finally:
        launcher.close()
