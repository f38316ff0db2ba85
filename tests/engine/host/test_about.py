"""`info` tells of the engine on a root folder from outside: by its files and its lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ardock.engine.host import Host, about
from tests.engine.host.machines import Machine

ROOT = Path("/var/lib/ardock")
RUN_DIR = Path("/run/ardock")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_unused_root_folder_has_no_engine(machine: Machine) -> None:
    found = about(machine.host, ROOT, RUN_DIR)
    assert (found.engine_id, found.owner, found.keepers) == ("", None, 0)


def test_keepers_of_this_engine_alone_are_counted(machine: Machine) -> None:
    machine.write("/var/lib/ardock/engine-id", "0123abcd\n")
    for path in ("0123abcd/keepers/1", "0123abcd/keepers/2", "fedcba98/keepers/1"):
        (machine.root / "run/ardock" / path).mkdir(parents=True)
    machine.write("/run/ardock/0123abcd/keepers/note", "")
    found = about(machine.host, ROOT, RUN_DIR)
    assert (found.engine_id, found.keepers) == ("0123abcd", 2)


@pytest.mark.parametrize("version", [1, 2])
def test_controllers_are_those_of_the_version_that_limits(machine: Machine, version: int) -> None:
    if version == 1:
        machine.use_cgroup_v1()
    found = about(machine.host, ROOT, RUN_DIR)
    assert found.cgroup_version == version
    assert {"cpu", "memory", "pids"} <= set(found.cgroup_controllers)


def test_owner_is_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        assert about(Host(), tmp_path, RUN_DIR).owner is None
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert about(Host(), tmp_path, RUN_DIR).owner == os.getpid()
    finally:
        os.close(descriptor)
    assert about(Host(), tmp_path, RUN_DIR).owner is None


def test_looking_does_not_take_the_lock(tmp_path: Path) -> None:
    """An engine that starts at that moment must not be refused."""
    lock = tmp_path / "lock"
    lock.touch()
    about(Host(), tmp_path, RUN_DIR)
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_default_capabilities_are_dockers_fourteen(machine: Machine) -> None:
    found = about(machine.host, ROOT, RUN_DIR)
    assert len(found.capabilities) == 14
    assert "CAP_SYS_ADMIN" not in found.capabilities
