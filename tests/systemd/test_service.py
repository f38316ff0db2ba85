"""The service as installed: readiness, sockets, its control group, its lines in the journal."""

from __future__ import annotations

import grp
import os
import re
import shutil
import signal
import stat
from pathlib import Path

import pytest

from tests.systemd import machine as m

pytestmark = [pytest.mark.root, pytest.mark.slow]

SOCKET = Path("/run/ardock/ardock.sock")


def test_the_service_is_ready_when_systemctl_start_returns(clean: None, busybox_root: Path) -> None:
    """Type=notify: the socket is there by then, of the group that sysusers made; commands are its clients."""
    m.systemctl("stop", m.SERVICE)
    assert not SOCKET.exists()
    m.systemctl("start", m.SERVICE)
    assert (m.shown(m.SERVICE, "ActiveState"), m.shown(m.SERVICE, "SubState")) == ("active", "running")
    assert m.shown(m.SERVICE, "StatusText").startswith("serving /var/lib/ardock as engine ")
    details = SOCKET.stat()
    assert stat.S_IMODE(details.st_mode) == 0o660
    assert details.st_gid == grp.getgrnam("ardock").gr_gid
    assert m.ardock("run", "--rm", "--rootfs", str(busybox_root), "echo", "hello") == "hello"
    m.ardock("create", "--name", "made", "--rootfs", str(busybox_root), "sh", "-c", "exit 3")
    m.ardock("start", "made")
    assert m.ardock("wait", "made") == "3"


def test_nothing_of_a_container_is_in_the_services_control_group(clean: None, busybox_root: Path) -> None:
    """The daemon alone is; the keeper and the containers are beneath the engine's own group at the hierarchy's root."""
    one = m.Container.started(busybox_root, "one", "sleep", "1000")
    main = int(m.shown(m.SERVICE, "MainPID"))
    assert m.members(m.group_of(main)) == [main]
    engine = re.match(r"ardock-[0-9a-f]{8}", one.group.relative_to(m.CGROUP).as_posix())
    assert engine is not None
    keeper = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert m.group_of(keeper).parent == m.CGROUP / engine[0]
    tree = m.run("systemd-cgls", "--no-pager", f"/system.slice/{m.SERVICE}")
    assert "sleep" not in tree


def test_a_stop_and_a_start_are_clean_lines_in_the_journal(clean: None, busybox_root: Path) -> None:
    """Nothing of processes left over, of a stop that took too long, or of a traceback."""
    cursor = m.run("journalctl", "-n", "0", "--show-cursor").rpartition("cursor: ")[2]
    m.Container.started(busybox_root, "stays", *m.COUNTING)
    m.systemctl("restart", m.SERVICE)
    m.systemctl("stop", m.SERVICE)
    assert m.shown(m.SERVICE, "Result") == "success"
    m.systemctl("start", m.SERVICE)
    lines = m.run("journalctl", "-u", m.SERVICE, "--after-cursor", cursor, "-o", "cat").splitlines()
    assert [line for line in lines if "msg=serving" in line]
    assert [line for line in lines if "msg=ended" in line]
    bad = re.compile(r"left-over|remain|unclean|Traceback|level=(warn|error)|timed out|Failed|Unknown", re.IGNORECASE)
    assert [line for line in lines if bad.search(line)] == []


def test_a_daemon_that_is_killed_is_started_again(clean: None) -> None:
    """Restart=on-failure."""
    before = m.shown(m.SERVICE, "MainPID")
    os.kill(int(before), signal.SIGKILL)
    m.until(lambda: m.shown(m.SERVICE, "MainPID") not in ("0", before) and m.serving(), "another daemon")
    assert m.shown(m.SERVICE, "NRestarts") != "0"
    assert m.ardock("ps", "-q") == ""


def test_the_units_are_well_formed(installed: None) -> None:
    """By systemd's own eyes."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in (m.SERVICE, m.SHUTDOWN):
        said = m.run("systemd-analyze", "verify", f"/usr/local/lib/systemd/system/{unit}")
        assert [line for line in said.splitlines() if "ardock" in line] == []


def test_the_daemons_limits_are_those_of_the_unit(clean: None) -> None:
    """Descriptors and tasks for thousands of containers."""
    limits = Path(f"/proc/{m.shown(m.SERVICE, 'MainPID')}/limits").read_text()
    assert re.search(r"^Max open files +1048576 +1048576 ", limits, re.MULTILINE)
    assert (m.group_of(m.shown(m.SERVICE, "MainPID")) / "pids.max").read_text().strip() == "max"
    assert Path(f"/proc/{m.shown(m.SERVICE, 'MainPID')}/oom_score_adj").read_text().strip() == "-500"
