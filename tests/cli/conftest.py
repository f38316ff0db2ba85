"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, Tmux


@pytest.fixture(scope="session")
def busybox_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system: busybox with all its names, and little else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox-static is not installed")
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.copy2(busybox, root / "bin" / "busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nguest:x:1000:\nplus:x:2000:\n")
    return root


@pytest.fixture
def ardock(busybox_tree: Path) -> Iterator[Ardock]:
    """The command with state of its own. The folder's path is short: sockets are beneath it."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    folder = Path(tempfile.mkdtemp(prefix="ardock-cli-"))
    yield Ardock(folder, busybox_tree)
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
