"""All containers of one engine, by id and by name. In memory: what `list` and `inspect` read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ardock.engine.containers import names
from ardock.engine.containers.container import SHORT_ID, Container
from ardock.model.errors import Ambiguous, Conflict, InvalidArgument, NotFound

_ID_LENGTH: Final = 64
_PREFIX: Final = re.compile(r"^[0-9a-f]{1,64}$")


class Table:
    """Containers in the order of their creation.

    Attributes:
        making: The images of containers that are being made, by the containers' ids.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self.making: dict[str, str] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Container]:
        """All of them, oldest first."""
        return iter(list(self._by_id.values()))

    def newest_first(self) -> Iterator[Container]:
        """All of them, newest first."""
        return reversed(list(self._by_id.values()))

    def free_name(self, wanted: str | None) -> str:
        """`wanted`, checked; or one made up.

        Raises:
            InvalidArgument: It is not one.
            Conflict: It is taken.
        """
        if wanted is None:
            return names.make_up(self._by_name)
        name = names.check(wanted)
        holder = self._by_name.get(name)
        if holder is not None:
            raise Conflict(
                f"the container name {name!r} is in use by container {holder.id[:SHORT_ID]}: "
                "remove or rename that one to use the name again"
            )
        return name

    def add(self, container: Container) -> None:
        """Put one in, whose name is free."""
        self._by_id[container.id] = container
        self._by_name[container.name] = container

    def rename(self, container: Container, name: str) -> None:
        """Give it another name, which is free."""
        del self._by_name[container.name]
        container.name = name
        self._by_name[name] = container
        container.touch()

    def remove(self, container: Container) -> None:
        """Take one out."""
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) is container:
            del self._by_name[container.name]

    def get(self, container_id: str) -> Container | None:
        """By whole id."""
        return self._by_id.get(container_id)

    def find(self, ref: str) -> Container:
        """By id, by name, or by a prefix of an id that fits no other, in this order, as Docker looks.

        Raises:
            NotFound: There is none.
            Ambiguous: The prefix fits several.
            InvalidArgument: It is empty.
        """
        found = self._by_id.get(ref) or self._by_name.get(ref.removeprefix("/"))
        if found is not None:
            return found
        if not ref:
            raise InvalidArgument("ref: an id or a name is expected, not an empty one", field="ref")
        fitting: list[Container] = []
        if _PREFIX.match(ref) and len(ref) < _ID_LENGTH:
            fitting = [container for key, container in self._by_id.items() if key.startswith(ref)]
        if len(fitting) > 1:
            some = ", ".join(container.id[:SHORT_ID] for container in fitting[:3])
            raise Ambiguous(f"{ref!r} is the beginning of {len(fitting)} container ids ({some}...): give more digits")
        if not fitting:
            raise NotFound(f"no such container: {ref!r}", field="ref")
        return fitting[0]

    def volume_users(self) -> dict[str, list[Container]]:
        """The containers that have each volume among their mounts, by its name."""
        users: dict[str, list[Container]] = {}
        for container in self._by_id.values():
            for mount in container.spec.mounts:
                if mount.type == "volume" and mount.source:
                    users.setdefault(mount.source, []).append(container)
        return users

    def users_of(self, image_id: str) -> list[str]:
        """Short ids of the containers that were made from an image, or are being made."""
        found = [container.id[:SHORT_ID] for container in self._by_id.values() if container.image_id == image_id]
        return found + [
            key[:SHORT_ID] for key, image in self.making.items() if image == image_id and key not in self._by_id
        ]
