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
        readonly: Mount points that cannot be written, as inside a container without privileges.
    """

    layout: Layout
    v1: dict[str, str]
    v2: str
    v2_controllers: frozenset[str]
    readonly: tuple[str, ...]

    @property
    def version(self) -> int:
        """The version that limits are set by: 1 or 2, 0 where there is none."""
        return {"v1": 1, "hybrid": 1, "v2": 2, "none": 0}[self.layout]

    def has(self, controller: str) -> bool:
        """Whether a limit of this controller can be set."""
        return controller in (self.v2_controllers if self.version == 2 else self.v1)


def find_cgroups(host: Host) -> Cgroups:
    """Read the layout from the mount table."""
    v1: dict[str, str] = {}
    v2 = ""
    readonly: list[str] = []
    for mount in host.mounts():
        if mount.kind == "cgroup":
            controllers = mount.options.intersection(V1_CONTROLLERS)
            v1.update(dict.fromkeys(controllers, mount.target))
        elif mount.kind == "cgroup2":
            v2 = mount.target
            controllers = frozenset({"v2"})
        else:
            continue
        if mount.readonly and controllers:
            readonly.append(mount.target)
    layout = _LAYOUTS[bool(v1), bool(v2)]
    offered = (host.text(f"{v2}/cgroup.controllers") or "").split() if v2 else []
    return Cgroups(layout=layout, v1=v1, v2=v2, v2_controllers=frozenset(offered), readonly=tuple(readonly))
