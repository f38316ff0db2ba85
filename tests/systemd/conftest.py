"""The installed service in a machine where systemd is PID 1; everywhere else a skip."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import CGROUP, SERVICE, SHUTDOWN, ardock, run, systemctl

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"

# What stands for python3 in packaging/install: the machine has neither ensurepip nor a network, but the package and what
# it needs in another environment.
_PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 2
/usr/bin/python3 -m venv --without-pip "$3" || exit 1
site=$(echo "$3"/lib/python3*/site-packages)
echo "{site}" >"$site/payload.pth"
echo "raise SystemExit" >"$site/pip.py"
"""


@pytest.fixture(scope="session")
def machine() -> None:
    """A machine to do with as one likes, with systemd as PID 1."""
    if os.environ.get("ARDOCK_VM") != "1" or Path("/proc/1/comm").read_text().strip() != "systemd":
        pytest.skip("needs a machine of its own with systemd as PID 1: make test-vm VM=systemd")


@pytest.fixture(scope="session")
def installed(machine: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `make install` installs, and nothing started yet."""
    import ardock as package

    python = tmp_path_factory.mktemp("install") / "python"
    python.write_text(_PYTHON.format(site=Path(package.__file__).parents[1]))
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python)}
    wheel = "/payload/ardock.whl"  # which the stand-in does not read
    done = subprocess.run(
        [PACKAGING / "install", wheel, "/usr/local"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stderr.write(done.stderr)
    run("systemd-sysusers")
    systemctl("daemon-reload")


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
    """The service runs, without containers; afterwards as well, with what the manager says where a test has failed."""
    systemctl("start", SERVICE, SHUTDOWN)
    yield
    systemctl("reset-failed", SERVICE, check=False)
    systemctl("start", SERVICE, SHUTDOWN)
    if names := ardock("ps", "-aq").split():
        ardock("rm", "-f", *names)
    assert not [path for path in CGROUP.glob("ardock-*/*/*") if len(path.name) == 64]
