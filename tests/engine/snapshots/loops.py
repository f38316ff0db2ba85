"""File systems of a test's own, on loop files; skipped visibly where the kernel or a program is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def file_system(
    folder: Path, kind: str, *, size: int = 512 << 20, make: tuple[str, ...] = (), options: str = ""
) -> Iterator[Path]:
    """A new file system of that kind, mounted beneath `folder`."""
    program = f"mkfs.{kind}"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    image, point = folder / f"{kind}.img", folder / kind
    with image.open("wb") as file:
        file.truncate(size)
    point.mkdir()
    try:
        subprocess.run([program, *make, image], capture_output=True, text=True, check=True)
        wanted = ",".join(filter(None, ("loop", options)))
        subprocess.run(["mount", "-t", kind, "-o", wanted, image, point], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        image.unlink()
        pytest.skip(f"no {kind} on a loop file here: {error.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", point], capture_output=True, check=True)
        image.unlink()
