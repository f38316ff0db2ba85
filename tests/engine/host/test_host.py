"""`doctor` finds what a machine lacks, says how to mend it, and names the limit that is met first."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ardock.engine.host import Check, Host, Report, examine
from ardock.engine.host.bounds import DESCRIPTORS, KEEPER_DESCRIPTORS, KERNEL_MEMORY, SHRINKER_SHARE, SUPERBLOCKS
from tests.engine.host.machines import ALL_CAPABILITIES, MOUNTS_COMMON, MOUNTS_V2, Machine

TOP = Path(__file__).parents[3]
ROOT = Path("/var/lib/ardock")
RUN_DIR = Path("/run/ardock")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def examined(machine: Machine) -> Report:
    return examine(machine.host, ROOT, RUN_DIR)


def check(report: Report, name: str) -> Check:
    return next(check for check in report.checks if check.name == name)


def test_machine_with_everything_is_healthy(machine: Machine) -> None:
    report = examined(machine)
    assert [check for check in report.checks if check.status != "ok"] == []
    assert report.healthy


def test_machine_with_cgroup_v1_is_healthy(machine: Machine) -> None:
    machine.use_cgroup_v1()
    report = examined(machine)
    assert [check for check in report.checks if check.status != "ok"] == []
    assert check(report, "layout").found == "v1 (/sys/fs/cgroup)"


def test_this_machine_can_be_examined() -> None:
    report = examine(Host(), ROOT, RUN_DIR)
    assert report.checks
    assert report.bounds
    assert report.fits > 0
    if os.geteuid() == 0:
        assert [check for check in report.checks if check.status == "failed"] == []


FAULTS: dict[str, tuple[Callable[[Machine], None], str, str]] = {
    "not root": (lambda m: m.set_status(uid=1000, capabilities="0"), "root", "sudo"),
    "no capability": (
        lambda m: m.set_status(capabilities=f"{int(ALL_CAPABILITIES, 16) & ~(1 << 21):x}"),
        "capabilities",
        "--privileged",
    ),
    "a seccomp filter around us": (lambda m: m.set_status(seccomp=2), "inherited restrictions", "outside"),
    "no-new-privileges around us": (lambda m: m.set_status(nnp=1), "inherited restrictions", "outside"),
    "an old kernel": (lambda m: m.write("/proc/sys/kernel/osrelease", "5.10.0-9\n"), "version", "5.14"),
    "no mount_setattr": (lambda m: m.refused.update({442: errno.ENOSYS}), "system calls", "boot Linux"),
    "clone3 forbidden": (lambda m: m.refused.update({435: errno.EPERM}), "system calls", "seccomp profile"),
    "no overlay": (
        lambda m: m.write("/proc/filesystems", "nodev\ttmpfs\n"),
        "overlay file system",
        "modprobe overlay",
    ),
    "root of a user namespace": (lambda m: m.set_user_namespace(4026532277), "user namespace", "machine's root"),
    "no cgroup namespaces": (lambda m: m.remove("/proc/self/ns/cgroup"), "namespaces", "CONFIG_NAMESPACES"),
    "no seccomp": (
        lambda m: m.remove("/proc/sys/kernel/seccomp/actions_avail"),
        "seccomp filters",
        "CONFIG_SECCOMP_FILTER",
    ),
    "no cgroups": (lambda m: m.mounts(MOUNTS_COMMON), "layout", "mount -t cgroup2"),
    "read-only cgroups": (
        lambda m: m.mounts(MOUNTS_COMMON + MOUNTS_V2.replace("rw,nosuid", "ro,nosuid")),
        "layout",
        "rw",
    ),
    "a threaded group": (
        lambda m: m.be_in_container(controllers="cpu pids", kind="domain threaded"),
        "delegation",
        "cgroup.type is 'domain'",
    ),
    "a read-only root folder": (
        lambda m: m.mounts(MOUNTS_COMMON.replace("/ / rw", "/ / ro") + MOUNTS_V2),
        "root folder",
        "--root",
    ),
    "a root folder on an overlay": (
        lambda m: m.mounts(MOUNTS_COMMON.replace("ext4 /dev/sda1", "overlay overlay") + MOUNTS_V2),
        "root folder",
        "--scratch memory",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_keeps_containers_from_running_fails_its_check_and_says_how_to_mend_it(
    machine: Machine, fault: str
) -> None:
    break_it, name, remedy = FAULTS[fault]
    break_it(machine)
    report = examined(machine)
    found = check(report, name)
    assert found.status == "failed"
    assert remedy in found.remedy
    assert not report.healthy


LOSSES: dict[str, tuple[Callable[[Machine], None], str]] = {
    "memfds may not be executed": (lambda m: setattr(m, "memfd", errno.EACCES), "executable memfd"),
    "no CAP_SYS_RESOURCE": (
        lambda m: m.set_status(capabilities=f"{int(ALL_CAPABILITIES, 16) & ~(1 << 24):x}"),
        "CAP_SYS_RESOURCE",
    ),
    "no user namespaces": (lambda m: m.write("/proc/sys/user/max_user_namespaces", "0\n"), "user namespaces"),
    "swap is not counted": (lambda m: m.write("/proc/cmdline", "quiet swapaccount=0\n"), "swap accounting"),
    "little space": (lambda m: setattr(m, "room", type(m.room)(free_bytes=1 << 20, free_inodes=9)), "free space"),
    "nowhere in memory for records": (
        lambda m: m.mounts(
            "".join(x for x in MOUNTS_COMMON.splitlines(keepends=True) if "tmpfs tmpfs" not in x) + MOUNTS_V2
        ),
        "exit records",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_only_costs_something_is_a_note_with_a_remedy(machine: Machine, loss: str) -> None:
    lose_it, name = LOSSES[loss]
    lose_it(machine)
    report = examined(machine)
    assert check(report, name).status == "note"
    assert check(report, name).remedy
    assert report.healthy


def test_overlay_that_is_a_module_not_loaded_yet_is_there(machine: Machine) -> None:
    """/proc/filesystems names only what is loaded, and the first mount loads the rest."""
    machine.write("/proc/filesystems", "".join(f"nodev\t{x}\n" for x in ("tmpfs", "proc", "sysfs", "devpts", "mqueue")))
    machine.loadable = {"overlay"}
    assert check(examined(machine), "overlay file system").status == "ok"
    machine.features["overlay"] = False  # by ARDOCK_KERNEL_WITHOUT
    assert check(examined(machine), "overlay file system").status == "failed"


@pytest.mark.parametrize("file", ["overlay.ko", "overlay.ko.xz"])
def test_overlay_module_is_found_by_one_who_may_not_ask_the_kernel(machine: Machine, file: str) -> None:
    machine.write("/proc/filesystems", "nodev\ttmpfs\n")
    machine.may_ask = False
    assert check(examined(machine), "overlay file system").status == "failed"
    machine.write("/lib/modules/6.1.0-13-amd64/modules.dep", f"kernel/fs/overlayfs/{file}:\n")
    assert check(examined(machine), "overlay file system").status == "ok"


def test_system_calls_that_only_root_may_make_are_not_said_to_be_missing(machine: Machine) -> None:
    """`doctor` as a user says that root is missing; the kernel's refusals follow from that."""
    machine.set_status(uid=1000, capabilities="0")
    machine.refused.update({430: errno.EPERM})
    assert check(examined(machine), "system calls").status == "ok"
    machine.refused.update({430: errno.ENOSYS})
    assert check(examined(machine), "system calls").status == "failed"


def test_memfd_before_the_flag_existed_is_executable(machine: Machine) -> None:
    machine.memfd = errno.EINVAL
    assert check(examined(machine), "executable memfd").status == "ok"


def test_records_go_to_shared_memory_where_the_run_folder_is_on_a_disk(machine: Machine) -> None:
    machine.mounts("".join(x for x in MOUNTS_COMMON.splitlines(keepends=True) if " /run " not in x) + MOUNTS_V2)
    found = check(examined(machine), "exit records")
    assert found.status == "ok"
    assert "/dev/shm" in found.found


def test_journal_of_the_root_folder_is_told(machine: Machine) -> None:
    assert "journal write" in check(examined(machine), "journal").found
    (machine.root / "proc/fs/jbd2/sda1-8").rename(machine.root / "proc/fs/jbd2/sdb1-8")
    assert check(examined(machine), "journal").found == "none"


def test_storage_driver_is_the_recorded_one_or_the_one_to_come(machine: Machine) -> None:
    assert check(examined(machine), "storage driver").found == "overlay, from the first engine on"
    machine.mounts(MOUNTS_COMMON + MOUNTS_V2 + "60 27 8:2 / /var/lib/ardock rw - nfs4 server:/x rw\n")
    (machine.root / "var/lib/ardock").mkdir(parents=True)
    found = check(examined(machine), "storage driver")
    assert (found.status, found.found.partition(",")[0]) == ("note", "vfs")
    machine.write("/var/lib/ardock/snapshots/driver", "btrfs\nasked for\n")
    found = check(examined(machine), "storage driver")
    assert (found.status, found.found) == ("ok", "btrfs: the root folder was made with it (asked for)")


def test_root_folder_behind_a_link_is_judged_where_it_really_is(machine: Machine) -> None:
    """/var/lib/ardock may be a link to another disk."""
    machine.mounts(MOUNTS_COMMON + MOUNTS_V2 + "60 27 8:2 / /srv rw - vfat /dev/sdb1 rw\n")
    (machine.root / "srv/big").mkdir(parents=True)
    (machine.root / "var/lib/ardock").symlink_to(machine.root / "srv/big")
    assert "vfat" in check(examined(machine), "root folder").found


BINDING: dict[str, tuple[Callable[[Machine], None], str, int]] = {
    "process ids": (lambda m: m.write("/proc/sys/kernel/pid_max", "1000\n"), "kernel.pid_max", 1000 - 168),
    "threads": (lambda m: m.write("/proc/sys/kernel/threads-max", "500\n"), "kernel.threads-max", 500 - 168),
    "network namespaces": (
        lambda m: m.write("/proc/sys/user/max_net_namespaces", "100\n"),
        "user.max_net_namespaces",
        100,
    ),
    "open files": (lambda m: m.write("/proc/sys/fs/file-max", "2600\n"), "fs.file-max", 85),
    "epoll watches": (
        lambda m: m.write("/proc/sys/fs/epoll/max_user_watches", "400\n"),
        "fs.epoll.max_user_watches",
        100,
    ),
    "inodes": (
        lambda m: setattr(m, "room", type(m.room)(free_bytes=9 << 30, free_inodes=600)),
        "inodes of the root folder",
        100,
    ),
    "keyrings": (
        lambda m: m.write("/proc/sys/kernel/keys/root_maxkeys", "200\n"),
        "kernel.keys.root_maxkeys",
        200 - 4,
    ),
    "namespaces": (lambda m: None, "user.max_*_namespaces", 60_000),
}


@pytest.mark.parametrize("limit", BINDING)
def test_the_limit_that_is_met_first_is_named_with_its_number(machine: Machine, limit: str) -> None:
    tighten, name, fits = BINDING[limit]
    tighten(machine)
    report = examined(machine)
    assert (report.binding, report.fits) == (name, fits)
    assert report.bounds[0].name == name
    assert report.bounds[0].remedy


def test_memory_for_n_containers_is_what_the_formula_gives_back(machine: Machine) -> None:
    """Shrinker maps grow with the square of the number, so plain division would promise too much."""
    machine.write("/proc/meminfo", "MemTotal: 25165824 kB\nMemAvailable: 23068672 kB\n")
    report = examined(machine)
    assert report.binding == "memory (bytes)"
    n = report.fits
    taken = [m * KERNEL_MEMORY + SHRINKER_SHARE * SUPERBLOCKS * m * m for m in (n, n + 1)]
    assert taken[0] <= 23068672 * 1024 < taken[1]


@pytest.mark.parametrize("name", ["RLIMIT_NOFILE", "kernel.pty.max"])
def test_limits_of_some_containers_do_not_bind_all(machine: Machine, name: str) -> None:
    machine.write("/proc/self/limits", "Max open files            80                   80                   files\n")
    machine.write("/proc/sys/kernel/pty/max", "1031\n")
    report = examined(machine)
    bound = next(bound for bound in report.bounds if bound.name == name)
    assert not bound.counts
    assert bound.remark
    assert bound.fits < report.fits
    assert report.binding != name


def test_keepers_are_counted_as_they_count_themselves(machine: Machine) -> None:
    """The constants are the keeper's own; read from its sources, so that neither drifts."""
    sources = "".join(file.read_text() for file in (TOP / "rust/keeper/src").glob("*.rs"))
    if not sources:
        pytest.skip("the keeper's sources are not on this machine")
    assert f"MAX_DESCRIPTORS: u32 = {DESCRIPTORS};" in sources
    assert f"OTHER_DESCRIPTORS: u32 = {KEEPER_DESCRIPTORS};" in sources
    bound = next(bound for bound in examined(machine).bounds if bound.name == "RLIMIT_NOFILE")
    assert bound.fits == (20_000 - 1024) // 7


def test_no_limit_below_what_is_used_gives_a_negative_number(machine: Machine) -> None:
    machine.write("/proc/sys/kernel/pid_max", "100\n")
    assert examined(machine).fits == 0


def test_mount_points_with_spaces_are_read(machine: Machine) -> None:
    machine.mounts(MOUNTS_COMMON + MOUNTS_V2 + "60 27 8:2 / /var/lib/my\\040disk rw - xfs /dev/sdb1 rw\n")
    (machine.root / "var/lib/my disk").mkdir()
    mount = machine.host.mount_of(Path("/var/lib/my disk/ardock"))
    assert mount is not None
    assert mount.kind == "xfs"
