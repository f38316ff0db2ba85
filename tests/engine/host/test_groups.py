"""`doctor` says which limits a machine's control groups allow, and how to have those that they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ardock.engine.host import Check, Report, examine, find_cgroups
from tests.engine.host.machines import MOUNTS_COMMON, MOUNTS_V1, MOUNTS_V2, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def examined(machine: Machine) -> Report:
    return examine(machine.host, Path("/var/lib/ardock"), Path("/run/ardock"))


def check(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def without(controller: str) -> str:
    """A mount table of version 1 that lacks a controller."""
    return MOUNTS_COMMON + "".join(line for line in MOUNTS_V1.splitlines(keepends=True) if controller not in line)


def offer(machine: Machine, controllers: str) -> None:
    machine.write("/sys/fs/cgroup/cgroup.controllers", f"{controllers}\n")


def v2_without_memory(machine: Machine) -> None:
    offer(machine, "cpu pids cpuset")
    machine.write("/proc/cgroups", "cpu\t0\t1\t1\n")


def memory_switched_off(machine: Machine) -> None:
    offer(machine, "cpu pids cpuset")
    machine.write("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n")


def memory_switched_off_by_hand(machine: Machine) -> None:
    memory_switched_off(machine)
    machine.write("/proc/cmdline", "quiet cgroup_disable=memory\n")


def cpu_on_version_1(machine: Machine) -> None:
    offer(machine, "memory pids cpuset")
    machine.write("/proc/cgroups", "cpu\t3\t1\t1\n")


def memory_on_version_2_alone(machine: Machine) -> None:
    machine.mounts(without("memory") + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")
    machine.write("/sys/fs/cgroup/unified/cgroup.controllers", "memory\n")


MISSING: dict[str, tuple[Callable[[Machine], None], str, str, str]] = {
    "v2 without memory": (v2_without_memory, "memory controller", "--memory", "boot a kernel with CONFIG_MEMCG"),
    "v2 with memory switched off": (
        memory_switched_off_by_hand,
        "memory controller",
        "--memory",
        "boot without cgroup_disable=memory",
    ),
    "v2 with memory switched off by the distribution": (
        memory_switched_off,
        "memory controller",
        "--memory",
        "boot with cgroup_enable=memory",
    ),
    "v2 with cpu on version 1": (cpu_on_version_1, "cpu controller", "--cpus", "cgroup_no_v1=cpu"),
    "v2 without cpuset": (
        lambda m: offer(m, "cpu memory pids"),
        "cpuset controller",
        "--cpuset-cpus",
        "CONFIG_CPUSETS",
    ),
    "a container that was given no pids": (
        lambda m: m.be_in_container(controllers="cpu memory cpuset"),
        "pids controller",
        "--pids-limit",
        "'+pids' to the cgroup.subtree_control of the groups above",
    ),
    "a container that was given nothing": (
        lambda m: m.be_in_container(controllers=""),
        "delegation",
        "no limit can be set",
        "Delegate=yes",
    ),
    "a machine that offers nothing": (lambda m: offer(m, ""), "delegation", "no limit can be set", "cgroup_no_v1=all"),
    "v1 without blkio": (
        lambda m: m.mounts(without("blkio")),
        "blkio controller",
        "--device-read-bps",
        "mount -t cgroup -o blkio blkio /sys/fs/cgroup/blkio",
    ),
    "v1 without pids": (
        lambda m: m.mounts(without("pids")),
        "pids controller",
        "--pids-limit",
        "mount -t cgroup -o pids pids /sys/fs/cgroup/pids",
    ),
    "v1 without devices": (lambda m: m.mounts(without("devices")), "devices controller", "CAP_MKNOD", "-o devices"),
    "v2 without device programs": (
        lambda m: setattr(m, "device_programs", "could not load a program: Invalid argument"),
        "device rules",
        "CAP_MKNOD",
        "CONFIG_CGROUP_BPF",
    ),
    "hybrid with memory on version 2": (
        memory_on_version_2_alone,
        "memory controller",
        "--memory",
        "cgroup_no_v1=all",
    ),
}


@pytest.mark.parametrize("missing", MISSING)
def test_missing_controller_costs_its_limits_and_nothing_else(machine: Machine, missing: str) -> None:
    """Containers without that limit run; the option that will be refused is named, and what brings the controller."""
    take, name, option, remedy = MISSING[missing]
    take(machine)
    report = examined(machine)
    found = check(report, name)
    assert found.status == "note"
    assert option in found.found
    assert remedy in found.remedy
    assert report.healthy


def test_ardock_in_a_container_says_that_it_moves_the_processes_there(machine: Machine) -> None:
    """The kernel lets no group hold processes and have limits for groups beneath it."""
    machine.be_in_container(controllers="cpu memory pids cpuset", processes="1\n7\n0\n")
    report = examined(machine)
    assert "3 processes" in check(report, "delegation").found
    assert "/sys/fs/cgroup/init" in check(report, "delegation").found
    assert report.healthy
    machine.be_in_container(controllers="cpu memory pids", enabled="cpu memory pids", processes="")
    assert check(examined(machine), "delegation").found == "inside of a container"


def test_mount_that_hides_another_decides_whether_groups_can_be_made(machine: Machine) -> None:
    over = MOUNTS_V2.replace("31 23", "60 31").replace("rw,nosuid", "ro,nosuid")
    machine.mounts(MOUNTS_COMMON + MOUNTS_V2 + over)
    assert check(examined(machine), "layout").status == "failed"
    machine.mounts(MOUNTS_COMMON + over + MOUNTS_V2)
    assert check(examined(machine), "layout").status == "ok"


def test_hybrid_layout_sets_limits_by_version_1(machine: Machine) -> None:
    machine.mounts(MOUNTS_COMMON + MOUNTS_V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")
    found = find_cgroups(machine.host)
    assert (found.layout, found.version) == ("hybrid", 1)
    assert found.v1["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
