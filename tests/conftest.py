"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of nothing but a static busybox, a passwd and a group file; skipped where there is no busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed (busybox-static)")
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "etc", "root", "tmp", "home"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.copy2(busybox, root / "bin" / "busybox")
    try:
        listed = subprocess.run([root / "bin" / "busybox", "--list"], capture_output=True, text=True, check=True)
    except OSError as error:
        pytest.skip(f"busybox does not run: {error}")
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "bin" / "data").write_text("no program\n")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\naudio:x:29:\n")
    return root


@pytest.fixture(scope="session", autouse=True)
def hang_up_heard() -> None:
    """A runner under nohup ignores SIGHUP, and so would every program that a test starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip visibly what needs root."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: containers are made with it")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(skip)
