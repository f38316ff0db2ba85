"""A full disk refuses what would need room, by name, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.engine.folders import Folders

TOP = Path(__file__).parents[2]


def test_create_is_refused_and_stop_remove_and_list_go_on(folders: Folders, rootfs: str) -> None:
    """In a mount namespace of its own, on a tmpfs of 24 MiB."""
    folders["root"].mkdir()
    done = subprocess.run(
        [
            *("unshare", "-m", sys.executable, "-m", "tests.engine.engine_on_full_disk"),
            *(str(folders["root"]), str(folders["run_dir"]), rootfs),
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
