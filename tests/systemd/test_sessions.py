"""Containers that were started in-process from a session (or any scope) stay when it ends, whatever is killed with it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd import machine as m

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def folders(installed: None) -> Iterator[tuple[str, ...]]:
    """The options of an engine that no daemon has; afterwards nothing of its runs."""
    with tempfile.TemporaryDirectory(prefix="ardock-s-") as name:
        options = ("--root", f"{name}/root", "--run-dir", f"{name}/run")
        yield options
        if names := m.ardock(*options, "ps", "-aq").split():
            m.ardock(*options, "rm", "-f", *names)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_end_of_a_scope_does_not_end_containers(folders: tuple[str, ...], busybox_root: Path, how: str) -> None:
    """`stop` is what logind does with a session's scope where KillUserProcesses=yes: SIGTERM to all in it, later SIGKILL."""
    command = [
        m.ARDOCK,
        *folders,
        "run",
        "-d",
        "--name",
        "stays",
        "--rootfs",
        str(busybox_root),
        *m.LIMITS,
        "sleep",
        "1000",
    ]
    script = 'ardock=$1; shift; "$ardock" "$@"; exec sleep 1000'
    scope = "session-like.scope"
    words = ["systemd-run", "--scope", f"--unit={scope}", "--collect", "--slice=user.slice", "-p", "MemoryMax=512M"]
    with subprocess.Popen([*words, "sh", "-c", script, "sh", *command], stdin=subprocess.DEVNULL) as session:
        slept = lambda: b"sleep" in Path(f"/proc/{session.pid}/cmdline").read_bytes()[:6]  # noqa: E731
        m.until(slept, "the session's last program")
        group = m.group_of(session.pid)
        assert group.name == scope
        stays = m.ardock(*folders, "inspect", "--format", "{{.State.Pid}}", "stays")
        assert m.members(group) == [session.pid]
        if how == "kill":
            m.systemctl("kill", "-s", "KILL", scope)
        else:
            m.systemctl("stop", scope)
        session.wait(m.PATIENCE)
    m.until(lambda: not group.exists(), "the scope's end")
    assert m.ardock(*folders, "inspect", "--format", "{{.State.Status}} {{.State.Pid}}", "stays") == f"running {stays}"
    assert m.limits(m.group_of(stays)) == m.FILES
    assert m.ardock(*folders, "exec", "stays", "echo", "here") == "here"
