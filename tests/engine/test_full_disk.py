"""A full disk under an engine: what is new is refused, and all that is there can be listed, stopped and removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.on_full_disk import SCENARIOS

TOP = Path(__file__).parents[2]


@pytest.mark.root
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_a_full_disk(scenario: str, tmp_path: Path, rootfs: str, engine_ids: set[str]) -> None:
    """Each in a mount namespace of its own, on a tmpfs of 12 MiB."""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.engine.on_full_disk", scenario, str(tmp_path / "run"), rootfs],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    engine_ids.add(done.stdout.strip())
