"""The example of docs/events.md does what the text below it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.folders import Folders

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.mark.root
def test_the_example_follows_a_container_from_create_to_destroy(folders: Folders) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    arguments = f"{str(folders['root'])!r}, {str(folders['run_dir'])!r}"
    code = code.replace("open_engine()", f"open_engine({arguments})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(number, action) for number, action, *_ in lines] == [
        ("1", "create"),
        ("2", "start"),
        ("3", "die"),
        ("4", "destroy"),
    ]
    assert lines[2][-1] == "3"
