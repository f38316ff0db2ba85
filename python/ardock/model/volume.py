"""Volumes: directories of the engine's that outlive containers."""

from __future__ import annotations

from typing import Final

import msgspec

ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"
"""Docker's label of a volume that nobody gave a name."""


class VolumeInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume of the local driver.

    Attributes:
        name: Required. Docker's rule: a letter or digit, then letters, digits, ``_``, ``.`` and ``-``; 2 to 255 characters.
        driver: ``"local"``.
        options: What it was made with: ``type``, ``device`` and ``o`` of a file system that is mounted while containers use the
            volume; none for a plain directory.
        labels: The user's own key-value pairs, and `ANONYMOUS_LABEL` where nobody gave it a name.
        created_at: Wall clock, ns since 1970.
        mountpoint: Absolute path of its directory on the engine's machine. A file system of `options` is mounted for containers
            alone and does not show there.
        users: Ids of the containers that have it among their mounts, running or not.
        size: Bytes of its regular files; None where it was not asked for.
    """

    name: str
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    created_at: int = 0
    mountpoint: str = ""
    users: tuple[str, ...] = ()
    size: int | None = None


class PrunedVolumes(msgspec.Struct, frozen=True, kw_only=True):
    """What `prune` has removed.

    Attributes:
        removed: Names.
        reclaimed: Bytes of their regular files.
    """

    removed: list[str]
    reclaimed: int
