"""Control groups that dead keepers left behind: found and ended. Blocking; for a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ardock import _core
from ardock.engine.keepers import mapping
from ardock.model.errors import LaunchFailed


def left_behind(engine_id: str) -> set[str]:
    """Names of the keepers' folders (``k1``, ...) beneath ``ardock-<engine id>``, in any hierarchy."""
    found: set[str] = set()
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mountpoint, kind, *_ = line.split(" ")
        folder = Path(mountpoint) / f"ardock-{engine_id}"
        if kind in ("cgroup", "cgroup2") and folder.is_dir():
            found.update(entry.name for entry in folder.iterdir() if entry.is_dir())
    return found


class Groups:
    """All hierarchies, from a thread of ours that sees them whatever this process's mount namespace shows."""

    def __init__(self, launcher: _core.Launcher) -> None:
        """Use `launcher`."""
        self._launcher = launcher

    def end_all(self, parent: str) -> int:
        """Kill what runs in the groups beneath `parent` and remove them and `parent`; how many processes there were.

        Raises:
            LaunchFailed: It could not be done: a process that the kernel cannot end, say.
        """
        seen = 0
        try:
            for name in self._launcher.cgroup_children(parent):
                seen += self._launcher.kill_cgroup(parent, name)
                self._launcher.remove_cgroup(parent, name)
            self._launcher.remove_cgroup_parent(parent)
        except _core.HostError as error:
            step, subject, number, hint, _ = error.args
            text = mapping.from_host(step, subject, number, hint, f"control group {parent}").message
            raise LaunchFailed(text, step=step, subject=subject, errno=number, hint=hint) from None
        return seen


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
