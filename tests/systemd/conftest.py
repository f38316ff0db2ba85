"""The installed service in a machine where systemd is PID 1; everywhere else a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import CGROUP, SERVICE, SHUTDOWN, ardock, run, systemctl, until


@pytest.fixture(scope="session")
def machine() -> None:
    """A machine to do with as one likes, with systemd as PID 1."""
    if os.environ.get("ARDOCK_VM") != "1" or Path("/proc/1/comm").read_text().strip() != "systemd":
        pytest.skip("needs a machine of its own with systemd as PID 1: make test-vm VM=systemd")


@pytest.fixture(scope="session")
def installed(machine: None) -> None:
    """What `make install` installs, and nothing started yet."""
    run(str(Path(__file__).with_name("install")))


@pytest.fixture(scope="session")
def service(installed: None) -> Iterator[None]:
    """The service, enabled and started, and at the end no container of its."""
    systemctl("enable", "--now", SERVICE)
    yield
    systemctl("start", SERVICE)
    if names := ardock("ps", "-aq").split():
        ardock("rm", "-f", *names)
    systemctl("stop", SHUTDOWN, SERVICE)


@pytest.fixture
def clean(service: None) -> Iterator[None]:
    """The service runs, without containers; and so it is afterwards."""
    systemctl("start", SERVICE, SHUTDOWN)
    yield
    systemctl("reset-failed", SERVICE, check=False)
    systemctl("start", SERVICE, SHUTDOWN)
    if names := ardock("ps", "-aq").split():
        ardock("rm", "-f", *names)
    # Folders go in the background, after the containers have been told of as gone.
    until(lambda: not [path for path in CGROUP.glob("ardock-*/*/*") if len(path.name) == 64], "the last group's end")
