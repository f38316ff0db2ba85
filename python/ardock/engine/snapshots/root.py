"""The root directory of a layer that stands on others."""

from __future__ import annotations

import os
from pathlib import Path


def plain_root(path: Path) -> None:
    """Give `path`, a copy of a parent's root, what a new layer's root has: ``0755``, root's, no extended attributes.

    So a chain shows the same root whatever the driver: one that unpacks each layer into a directory of its own could not
    know its parents'. Docker's overlay2 does so, too.
    """
    for name in os.listxattr(path):
        os.removexattr(path, name)
    os.chown(path, 0, 0)
    path.chmod(0o755)
