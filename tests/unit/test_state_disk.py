"""A full disk: what is new is refused, what ends is written down, and nothing that was taken is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.state_on_full_disk import SCENARIOS

TOP = Path(__file__).parents[2]


@pytest.mark.root
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_a_full_disk(scenario: str) -> None:
    """Each in a mount namespace of its own, on a tmpfs of 16 MiB."""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "tests.unit.state_on_full_disk", scenario],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
