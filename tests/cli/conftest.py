"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, Tmux


@pytest.fixture
def ardock(busybox_root: Path) -> Iterator[Ardock]:
    """The command with state of its own. The folder's path is short: sockets are beneath it."""
    folder = Path(tempfile.mkdtemp(prefix="ardock-cli-"))
    command = Ardock(folder, busybox_root)
    yield command
    command.rootfs = busybox_root
    command.tidy()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    """A terminal."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ardock-tmux-"))
    terminal = Tmux(folder / "socket", folder)
    yield terminal
    terminal.close()
    shutil.rmtree(folder, ignore_errors=True)
