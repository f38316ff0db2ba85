"""Who has volumes: containers, as far as volumes know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ardock.model.spec import ContainerSpec


class User(Protocol):
    """A container, as far as volumes know one."""

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def spec(self) -> ContainerSpec:
        """Its spec, with the names of its anonymous volumes."""

    @property
    def alive(self) -> bool:
        """A program of it runs or is about to."""

    @property
    def pid(self) -> int:
        """Process id on the host, while it runs."""


# The containers that have each volume among their mounts, by its name.
Users = Callable[[], Mapping[str, Sequence[User]]]


def volume_names(spec: ContainerSpec) -> list[str]:
    """The volumes among a container's mounts."""
    return [mount.source for mount in spec.mounts if mount.type == "volume"]


def anonymous_names(container: User) -> list[str]:
    """Volumes that go with a container where nobody else has them."""
    return [mount.source for mount in container.spec.mounts if mount.type == "volume" and mount.anonymous]
