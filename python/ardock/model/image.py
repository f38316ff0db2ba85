"""Images: named root file systems."""

from __future__ import annotations

import msgspec


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A root file system in the engine's store, under its names.

    Attributes:
        id: ``sha256:`` and 64 hexadecimal digits: of the tree's content (names, types, modes, owners, contents, extended
            attributes), so that the same tree has the same id wherever it came from.
        names: ``name:tag`` each; empty where all were moved to other images.
        created_at: Wall clock of the import, ns since 1970.
        size: Bytes of its regular files.
        files: Number of its entries.
    """

    id: str
    names: tuple[str, ...] = ()
    created_at: int = 0
    size: int = 0
    files: int = 0
