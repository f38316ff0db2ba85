"""`ardock._core.launch` without engine and keeper: what the engine plans for a flagless run, launched from this process.

Run as a program (`python bench/direct.py ROOTFS N memory|disk FOLDER`), it starts N containers one after the other: what the
test that compares the floor with the launch core looks at.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import msgspec
from msgspec import structs

from ardock import ContainerSpec, _core
from ardock.engine import facts
from ardock.engine.containers import defaults, plan
from ardock.engine.containers.resolved import Placement, Resolved, User
from ardock.model.launch import Stdio
from bench import build
from bench.systems import CPUS, MEMORY, PIDS, TEXT_LENGTH, Place

if TYPE_CHECKING:
    from types import TracebackType

_TEXT = "x" * TEXT_LENGTH


class DirectLauncher:
    """Containers of one kind, started one at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._store = place.folder / "store"
        self._parent = f"ardock-bench-{os.getpid()}/k1"
        self._planned_id = os.urandom(32).hex()
        self._number = 0

    def __enter__(self) -> Self:
        """Make the launcher's thread, its root and its control groups, and encode the spec."""
        place = self._place
        (self._store / "scratch").mkdir(parents=True)
        root = _core.open_root(str(place.rootfs))
        uid, gid, groups, home = _core.resolve_user([root], "", [])
        digest, code = _core.seccomp_compile(
            None, defaults.DEFAULT_CAPABILITIES, no_new_privileges=False, joining=False
        )
        self._launcher = _core.Launcher(str(self._store))
        self._launcher.add_root(0, root)
        os.close(root)
        self._launcher.add_seccomp(digest, code)
        self._launcher.make_cgroup_parent(self._parent)
        asked = ContainerSpec(
            argv=(build.PROGRAM, _TEXT) if place.captures else ("/bin/true",), rootfs=str(place.rootfs),
            scratch=place.scratch, memory=MEMORY, cpus=CPUS, pids_limit=PIDS,
        )  # fmt: skip
        resolved = Resolved(roots=(0,), user=User(uid, gid, tuple(groups), home), seccomp=digest)
        placement = Placement(keeper=1, cgroup_parent=self._parent, scratch_dir="/store/scratch")
        known = facts.gather(hidden=(), scratch=place.scratch)
        # Planned once for all, as the engine does: what differs is put into the encoded spec.
        planned = plan.plan(asked, known, resolved, placement, container_id=self._planned_id).spec
        if not place.captures:
            planned = structs.replace(planned, stdio=Stdio(stdout="null", stderr="null"))
        self._encoded = msgspec.msgpack.encode(planned)
        return self

    def run(self) -> float:
        """Start one container, collect its exit, clean up; the ms from before the launch to the exit."""
        began = time.perf_counter()
        self._number += 1
        identity = f"{self._number:012x}".ljust(64, "0")
        text = self._place.text(f"{self._number:09}").encode()
        spec = self._encoded.replace(self._planned_id.encode(), identity.encode())
        spec = spec.replace(self._planned_id[:12].encode(), identity[:12].encode()).replace(_TEXT.encode(), text)
        launched = self._launcher.launch(spec, [])
        code = os.waitstatus_to_exitcode(os.waitpid(launched.pid, 0)[1])
        output = os.read(launched.stdout, 4096) if launched.stdout is not None else b""
        latency = (time.perf_counter() - began) * 1000
        for fd in (launched.pidfd, launched.stdout, launched.stderr):
            if fd is not None:
                os.close(fd)
        self._launcher.remove_cgroup(self._parent, identity)
        if self._place.scratch == "disk":
            shutil.rmtree(self._store / "scratch" / identity)
        if code != 0 or (self._place.captures and output != text):
            raise RuntimeError(f"container {self._number}: exit code {code}, output {output!r}")
        return latency

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove everything."""
        self._launcher.remove_cgroup_parent(self._parent)
        self._launcher.remove_cgroup_parent(self._parent.partition("/")[0])
        self._launcher.close()
        shutil.rmtree(self._store, ignore_errors=True)


def main() -> None:
    """Start as many as the command line says."""
    rootfs, count, scratch, folder = sys.argv[1:5]
    place = Place("disk" if scratch == "disk" else "memory", False, Path(folder), Path(rootfs))
    with DirectLauncher(place) as launcher:
        for _ in range(int(count)):
            launcher.run()


if __name__ == "__main__":
    main()
