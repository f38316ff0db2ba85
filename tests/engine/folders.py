"""The arguments of `open_engine` that say where it lives."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict


class Folders(TypedDict):
    """A test's own folders."""

    root: Path
    run_dir: Path
