"""Holding a container still for a moment, so that what is read of its files fits together.

The kernel's freezer stops all of a control group's processes at once and lets them go on as if nothing had been, which
SIGSTOP, whose effect their parents see, does not (kernel: Documentation/admin-guide/cgroup-v2.rst, ``cgroup.freeze``; v1:
cgroup-v1/freezer-subsystem.rst).
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ardock.model.errors import LaunchFailed

_UNIFIED: Final = Path("/sys/fs/cgroup")
_V1_FREEZER: Final = Path("/sys/fs/cgroup/freezer")
# Seconds for processes in the middle of a system call that is not to be interrupted.
_PATIENCE: Final = 10.0


@contextmanager
def frozen(pid: int, engine_id: str, container_id: str) -> Iterator[None]:
    """All processes of the container of `pid` stand still as long as the context is open; blocks.

    On version 1 they are moved to a group of the freezer's hierarchy, where containers have none otherwise (each hierarchy more
    costs every launch), and back.

    Raises:
        LaunchFailed: They cannot be frozen; step ``freeze``.
    """
    with contextlib.ExitStack() as stack:
        try:
            if _V1_FREEZER.is_dir():
                stack.enter_context(_moved(pid, engine_id, container_id))
            else:
                group = _UNIFIED / _own(_group(pid, ""), engine_id)
                stack.callback(_thaw, group / "cgroup.freeze", "0")
                _write(group / "cgroup.freeze", "1")
                _await(lambda: "frozen 1" in (group / "cgroup.events").read_text(encoding="ascii"), group)
        except OSError as error:
            raise LaunchFailed(
                f"cannot freeze container {container_id[:12]}: {error.filename}: {error.strerror} (or let it run meanwhile: --pause=false)",
                step="freeze",
                subject=str(error.filename or ""),
                errno=error.errno or 0,
            ) from error
        yield


@contextmanager
def _moved(pid: int, engine_id: str, container_id: str) -> Iterator[None]:
    home = _V1_FREEZER / _group(pid, "freezer").lstrip("/")
    # Its group in any hierarchy where it has one of its own tells which processes are the container's.
    members = next(
        (path for name in ("pids", "memory", "cpu", "devices") if (path := _folder(pid, name)) is not None), None
    )
    if members is None:
        raise FileNotFoundError(2, "it has no control group of its own", f"/proc/{pid}/cgroup")
    parent = _V1_FREEZER / f"ardock-{engine_id}"
    group = parent / f"frozen-{container_id[:12]}"
    group.mkdir(parents=True, exist_ok=True)
    try:
        _move(members, group)
        _write(group / "freezer.state", "FROZEN")
        # What was forked while they were moved.
        while _move(members, group):
            _write(group / "freezer.state", "FROZEN")
        _await(lambda: (group / "freezer.state").read_text(encoding="ascii").strip() == "FROZEN", group)
        yield
    finally:
        _thaw(group / "freezer.state", "THAWED")
        _move(group, home)
        _await(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"), group)
        group.rmdir()
        with contextlib.suppress(OSError):
            parent.rmdir()


def _move(source: Path, target: Path) -> int:
    """Move all processes beneath `source` that are not in `target`; how many they were."""
    there = set((target / "cgroup.procs").read_text(encoding="ascii").split())
    moved = 0
    for procs in source.rglob("cgroup.procs"):
        for process in procs.read_text(encoding="ascii").split():
            if process not in there:
                # It may have ended.
                with contextlib.suppress(ProcessLookupError):
                    _write(target / "cgroup.procs", process)
                    moved += 1
    return moved


def _folder(pid: int, controller: str) -> Path | None:
    group = _group(pid, controller)
    path = _UNIFIED / controller / group.lstrip("/")
    return path if "/ardock-" in group and path.is_dir() else None


def _group(pid: int, controller: str) -> str:
    """A process's group in the hierarchy of a controller (empty: version 2)."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        _, names, group = line.split(":", 2)
        if controller in names.split(","):
            return group
    raise FileNotFoundError(2, f"no control group of {controller or 'version 2'}", f"/proc/{pid}/cgroup")


def _own(group: str, engine_id: str) -> str:
    """The container's own group: what runs in it may have made groups beneath, and moved to one.

    Raises:
        FileNotFoundError: It is none of this engine's: the process has ended, and another has its id.
    """
    parts = group.strip("/").split("/")
    start = parts.index(f"ardock-{engine_id}") if f"ardock-{engine_id}" in parts else None
    if start is None or len(parts) < start + 3:
        raise FileNotFoundError(2, "no group of a container", group)
    return "/".join(parts[: start + 3])


def _thaw(path: Path, text: str) -> None:
    """Its processes may have been killed meanwhile, and the group be gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        try:
            _write(path, text)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _await(reached: Callable[[], bool], group: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(110, f"its processes were not frozen (or thawed) within {_PATIENCE:g} s", str(group))
        time.sleep(0.001)
