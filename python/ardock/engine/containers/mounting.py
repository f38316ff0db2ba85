"""Which mounts a container is to have, of all that ask for some: pure but for the table.

The order is Docker's (moby, ``daemon/volumes.go``): what the user names wins over ``--volumes-from``, and anonymous volumes, the
user's and those of the image's config, take what places are left.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final

from msgspec import structs

from ardock.engine.containers.table import Table
from ardock.model.errors import InvalidArgument
from ardock.model.spec import ContainerSpec, Mount

_MODES: Final = {"": None, "ro": True, "rw": False, "z": None, "Z": None}


def has_volumes(spec: ContainerSpec) -> bool:
    """It asks for volumes, so there is something to do before it can be made.

    Raises:
        InvalidArgument: Its mounts are none (a Struct that was made in Python is not checked by itself).
    """
    if not (spec.mounts or spec.volumes_from):
        return False
    try:
        return bool(spec.volumes_from) or any(mount.type == "volume" for mount in spec.mounts)
    except (AttributeError, TypeError) as error:
        raise InvalidArgument(f"mounts: a sequence of Mount is expected: {error}", field="mounts") from None


def expanded(spec: ContainerSpec, table: Table) -> tuple[Mount, ...]:
    """All mounts of a container that is to be made; anonymous volumes have no names yet.

    Raises:
        InvalidArgument: An entry of `volumes_from` is malformed.
        NotFound: It names no container.
        Ambiguous: It fits several.
    """
    taken = {_place(mount.target) for mount in spec.mounts if not _is_anonymous(mount)}
    taken.update(map(_place, spec.tmpfs))
    others: dict[str, Mount] = {}
    for entry in spec.volumes_from:
        # Of several that mount something there the last one counts.
        others.update((_place(mount.target), mount) for mount in _from_container(entry, table))
    others = {place: mount for place, mount in others.items() if place not in taken}
    taken.update(others)
    mounts: list[Mount] = []
    for mount in spec.mounts:
        if not _is_anonymous(mount):
            mounts.append(mount)
        elif _place(mount.target) not in taken:
            taken.add(_place(mount.target))
            mounts.append(structs.replace(mount, source="", anonymous=False))
    return (*mounts, *others.values())


def _is_anonymous(mount: Mount) -> bool:
    return mount.type == "volume" and (mount.anonymous or not mount.source)


def _place(target: str) -> str:
    return "/" + posixpath.normpath(target).lstrip("/")


def _from_container(entry: str, table: Table) -> Iterable[Mount]:
    ref, _, mode = entry.partition(":")
    if mode not in _MODES or not ref:
        raise InvalidArgument(
            f"volumes_from: {entry!r} is not CONTAINER[:ro|rw]: give a container's id or name", field="volumes_from"
        )
    read_only = _MODES[mode]
    for mount in table.find(ref).spec.mounts:
        # What the image has was copied when the volume was made, or was not to be.
        yield structs.replace(
            mount,
            read_only=mount.read_only or bool(read_only),
            no_copy=mount.type == "volume",
            create_source=False,
            inherited=True,
        )
