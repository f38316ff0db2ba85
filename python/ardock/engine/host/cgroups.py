"""Which control groups the host has: version 1, 2 or both (cgroups(7), "Documentation/admin-guide/cgroup-v2.rst")."""

from __future__ import annotations

from typing import Literal

import msgspec

from ardock.engine.host.system import Host

Layout = Literal["v1", "v2", "hybrid", "none"]

V1_CONTROLLERS = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")

_LAYOUTS: dict[tuple[bool, bool], Layout] = {
    (True, True): "hybrid",
    (True, False): "v1",
    (False, True): "v2",
    (False, False): "none",
}


class Cgroups(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of a host's control groups.

    Attributes:
        layout: ``"v2"``; ``"v1"``; ``"hybrid"``: controllers on version 1 with a version 2 hierarchy beside them;
            ``"none"``.
        v1: Mount point of each version 1 controller.
        v2: Mount point of the version 2 hierarchy; empty without one.
        v2_controllers: What the root of the version 2 hierarchy offers.
        v2_enabled: Those of them that groups beneath the root have already.
        v2_type: The root's cgroup.type; empty for the machine's own root, which has none. Any other is a group somewhere
            inside of the tree that a cgroup namespace shows as the root: ardock runs in a container.
        v2_processes: How many processes are in the root itself; 0 for the machine's own root, which may have any.
        readonly: Mount points that cannot be written, as inside a container without privileges.
    """

    layout: Layout
    v1: dict[str, str]
    v2: str
    v2_controllers: frozenset[str]
    v2_enabled: frozenset[str]
    v2_type: str
    v2_processes: int
    readonly: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version that limits are set by: 1 or 2, 0 where there is none."""
        return {"v1": 1, "hybrid": 1, "v2": 2, "none": 0}[self.layout]

    def has(self, controller: str) -> bool:
        """Whether a limit of this controller can be set; by its name on version 2."""
        return self.name_of(controller) in (self.v2_controllers if self.version == 2 else self.v1)

    def name_of(self, controller: str) -> str:
        """A controller's name here, by that on version 2."""
        return "blkio" if controller == "io" and self.version == 1 else controller


def find_cgroups(host: Host) -> Cgroups:
    """Read the layout from the mount table."""
    v1: dict[str, str] = {}
    v2 = ""
    # Of several mounts on one place the last is seen.
    readonly: dict[str, bool] = {}
    for mount in host.mounts():
        if mount.kind == "cgroup":
            controllers = mount.options.intersection(V1_CONTROLLERS)
            if not controllers:  # a tree without any, such as systemd's
                continue
            v1.update(dict.fromkeys(controllers, mount.target))
        elif mount.kind == "cgroup2":
            v2 = v2 or mount.target
        else:
            continue
        readonly[mount.target] = mount.readonly

    def words(file: str) -> list[str]:
        return (host.text(f"{v2}/{file}") or "").split() if v2 else []

    kind = " ".join(words("cgroup.type"))
    return Cgroups(
        layout=_LAYOUTS[bool(v1), bool(v2)],
        v1=v1,
        v2=v2,
        v2_controllers=frozenset(words("cgroup.controllers")),
        v2_enabled=frozenset(words("cgroup.subtree_control")),
        v2_type=kind,
        v2_processes=len(words("cgroup.procs")) if kind else 0,
        readonly=tuple(target for target, alone in readonly.items() if alone),
    )
