"""Whatever systemd does with the tree that it owns, and with the service: containers, their limits and devices stay."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.systemd import machine as m

pytestmark = [pytest.mark.root, pytest.mark.slow]


def _kill_the_daemon() -> None:
    before = m.shown(m.SERVICE, "MainPID")
    m.systemctl("kill", "-s", "KILL", m.SERVICE)
    m.until(lambda: m.shown(m.SERVICE, "MainPID") not in ("0", before) and m.serving(), "another daemon")


def _another_unit_with_limits_comes_and_goes() -> None:
    """systemd enables controllers at the root for it, and takes those away again that no unit needs."""
    limits = ("MemoryMax=64M", "CPUQuota=20%", "TasksMax=20", "AllowedCPUs=0", "IOWeight=50", "DevicePolicy=closed")
    properties = [word for limit in limits for word in ("-p", limit)]
    m.run("systemd-run", "--unit=another", "--collect", *properties, "sleep", "1000")
    m.until(lambda: m.shown("another.service", "ActiveState") == "active", "the other unit")
    assert (m.CGROUP / "system.slice/another.service/memory.max").read_text().strip() == str(64 << 20)
    m.systemctl("set-property", "--runtime", "another.service", "CPUWeight=20")
    m.systemctl("stop", "another.service")
    m.systemctl("daemon-reload")


def _the_slice_of_all_services_is_limited_and_freed() -> None:
    """A control group above the daemon's own."""
    m.systemctl("set-property", "--runtime", "system.slice", "MemoryHigh=3G", "AllowedCPUs=1")
    m.systemctl("revert", "system.slice")
    m.systemctl("daemon-reload")


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda: m.systemctl("daemon-reload"), id="daemon-reload"),
        pytest.param(lambda: m.systemctl("daemon-reexec"), id="daemon-reexec"),
        pytest.param(lambda: m.systemctl("restart", m.SERVICE), id="restart"),
        pytest.param(_kill_the_daemon, id="kill"),
        pytest.param(_another_unit_with_limits_comes_and_goes, id="another-unit"),
        pytest.param(_the_slice_of_all_services_is_limited_and_freed, id="system-slice"),
    ],
)
def test_containers_survive(clean: None, busybox_root: Path, happens: Callable[[], object]) -> None:
    """They run on, where they ran, within the same limits and with the same devices; and so do those started later."""
    before = m.Container.started(busybox_root, "before", *m.COUNTING)
    before.assert_answers()
    before.assert_untouched()
    happens()
    before.assert_untouched()
    before.assert_answers()
    m.assert_new_containers_are_limited(busybox_root)
    before.assert_untouched()
    said = before.numbers()
    assert said == list(range(len(said)))


def test_containers_survive_the_stop_of_the_service(clean: None, busybox_root: Path, tmp_path: Path) -> None:
    """For as long as nobody serves them: logs are whole, and the exit code of one that ended meanwhile is known."""
    before = m.Container.started(busybox_root, "before", *m.COUNTING)
    share = ("-v", f"{tmp_path}:/share")
    waits = ("sh", "-c", "until [ -e /share/go ]; do sleep 0.2; done; exit 7")
    ends = m.Container.started(busybox_root, "ends", *waits, options=share)
    m.systemctl("stop", m.SERVICE)
    assert m.shown(m.SERVICE, "ActiveState") == "inactive"
    (tmp_path / "go").touch()
    m.until(lambda: not Path(f"/proc/{ends.pid}").exists(), "the end of the container that ends by itself")
    before.assert_untouched()
    m.systemctl("daemon-reload")
    m.systemctl("daemon-reexec")
    before.assert_untouched()
    time.sleep(3)  # seconds of which the log must tell
    m.systemctl("start", m.SERVICE)
    before.assert_untouched()
    before.assert_answers()
    assert m.ardock("wait", "ends") == "7"
    said = before.numbers()
    assert said == list(range(len(said)))
    assert len(said) > 3
    m.assert_new_containers_are_limited(busybox_root)
