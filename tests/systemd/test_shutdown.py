"""When the machine ends, containers get their stop signal and their time; the stop of the service is no such end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd import machine as m

pytestmark = [pytest.mark.root, pytest.mark.slow]

# Takes its time after the signal, and ends with a code of its own.
POLITE = ("sh", "-c", "trap 'sleep 2; echo bye; exit 5' TERM; while :; do sleep 0.2; done")


@pytest.mark.parametrize("served", [True, False], ids=["with the daemon", "without a daemon"])
def test_the_machines_end_stops_containers(clean: None, busybox_root: Path, served: bool) -> None:
    """All units are stopped then: this one before the daemon, and it waits. Who hears nothing is killed after his time."""
    assert m.shown(m.SHUTDOWN, "ActiveState") == "active"
    m.Container.started(busybox_root, "polite", *POLITE)
    m.Container.started(busybox_root, "deaf", "sleep", "1000", options=("--stop-timeout", "1"))
    if not served:
        m.systemctl("stop", m.SERVICE)
        assert m.shown(m.SHUTDOWN, "ActiveState") == "active"
    m.systemctl("stop", m.SERVICE, m.SHUTDOWN)
    assert m.shown(m.SHUTDOWN, "Result") == "success"
    m.systemctl("start", m.SERVICE)
    codes = m.ardock("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "polite", "deaf")
    assert codes.splitlines() == ["exited 5", "exited 137"]
    assert m.ardock("logs", "polite") == "bye"


def test_both_units_are_stopped_when_the_machine_ends_in_this_order(clean: None) -> None:
    """What the manager itself has made of the files."""
    for unit in (m.SERVICE, m.SHUTDOWN):
        assert "shutdown.target" in m.shown(unit, "Conflicts").split()
    assert m.SERVICE in m.shown(m.SHUTDOWN, "After").split()
    assert m.SHUTDOWN in m.shown(m.SERVICE, "Wants").split()


def test_the_end_of_the_machine_with_no_container_is_quick(clean: None) -> None:
    """Nothing to stop is no failure."""
    m.systemctl("stop", m.SHUTDOWN)
    assert m.shown(m.SHUTDOWN, "Result") == "success"
    assert m.shown(m.SHUTDOWN, "ActiveState") == "inactive"
