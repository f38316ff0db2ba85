"""A host that lacks something: `doctor` says so before anything fails, and what is tried fails with its reason and remedy.

Each host is made for the test: by a mount namespace whose control groups are read-only or not there, a control group that
was given nothing, a filter that answers as a kernel without seccomp does, a kernel that may load no module.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ardock.engine.host import Host, find_cgroups
from tests.cli.driver import Ardock

pytestmark = pytest.mark.root

CGROUPS = find_cgroups(Host())
v1_only = pytest.mark.skipif(CGROUPS.version != 1, reason="the control groups here are of version 2")
v2_only = pytest.mark.skipif(CGROUPS.version != 2, reason="the control groups here are of version 1")

READ_ONLY = """
while read -r _ place kind _; do
  case $kind in cgroup|cgroup2) mount -o remount,bind,ro "$place" ;; esac
done </proc/self/mounts
"""


@pytest.fixture
def ardock(busybox_root: Path) -> Iterator[Ardock]:
    """The command with state of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ardock-bad-", dir="/var/tmp"))
    command = Ardock(folder, busybox_root)
    yield command
    command.tidy()
    shutil.rmtree(folder, ignore_errors=True)


class Answer:
    """What a command said and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.error = done.stderr
        # As it was before lines were wrapped.
        self.words = " ".join((done.stdout + done.stderr).split())

    def __repr__(self) -> str:
        return f"<{self.code}: {self.words}>"


def on(script: str, words: list[str], *unshare: str) -> Answer:
    """Run a command in a mount namespace of its own, on what `script` has made of the host there."""
    line = f"set -e\n{script}\nexec {shlex.join(words)}"
    done = subprocess.run(
        ["unshare", "--mount", *unshare, "/bin/sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    return Answer(done)


def test_read_only_control_groups(ardock: Ardock) -> None:
    told = on(READ_ONLY, ardock.words("doctor"))
    assert told.code == 1
    assert "read-only: /sys/fs/cgroup" in told.words
    assert "mount -o remount,rw /sys/fs/cgroup" in told.words
    journals = set(Path("/dev/shm").glob("ardock-*"))
    tried = on(READ_ONLY, ardock.run_words("true"))
    assert set(Path("/dev/shm").glob("ardock-*")) == journals, "a keeper that could not start has left its journal"
    assert tried.code == 125, tried
    assert tried.out == ""
    assert "Read-only file system: /sys/fs/cgroup is mounted read-only: mount -o remount,rw" in tried.error
    assert "--privileged" in tried.error


def test_no_control_groups(ardock: Ardock) -> None:
    gone = "while grep -q ' cgroup2\\? ' /proc/self/mounts; do umount -R -l /sys/fs/cgroup; done"
    told = on(gone, ardock.words("doctor"))
    assert told.code == 1
    assert "no cgroup file system is mounted" in told.words
    tried = on(gone, ardock.run_words("true"))
    assert tried.code == 125, tried
    assert "no cgroup file system is mounted" in tried.error
    assert "mount -t cgroup2 cgroup2 /sys/fs/cgroup" in tried.error


@v1_only
@pytest.mark.parametrize(
    ("controller", "limit"),
    [("memory", "--memory=64m"), ("pids", "--pids-limit=10"), ("cpu", "--cpus=0.5"), ("cpuset", "--cpuset-cpus=0")],
)
def test_hierarchy_that_is_not_mounted_costs_its_limit_alone(ardock: Ardock, controller: str, limit: str) -> None:
    place = CGROUPS.v1[controller]
    gone = f"umount {place}"
    told = on(gone, ardock.words("doctor"))
    assert told.code == 0, told
    assert f"note {controller} controller no: {limit.split('=', maxsplit=1)[0]}" in told.words
    assert f"mount -t cgroup -o {controller}" in told.words
    assert on(gone, ardock.run_words("echo", "runs")).out == "runs\n"
    tried = on(gone, ardock.words("run", limit, "--rootfs", str(ardock.rootfs), "true"))
    assert tried.code == 125, tried
    assert f"limit of the {controller} controller: no {controller} hierarchy is mounted" in tried.error


@contextmanager
def delegated(name: str, controllers: str) -> Iterator[str]:
    """The script that enters a control group which was given these controllers, as the root of a namespace of its own."""
    top = Path(CGROUPS.v2) / f"ardock-test-{name}-{os.getpid()}"
    own = top / "own"
    own.mkdir(parents=True)
    try:
        for controller in controllers.split():
            # The machine's own root may have them off as yet.
            (Path(CGROUPS.v2) / "cgroup.subtree_control").write_text(f"+{controller}")
            (top / "cgroup.subtree_control").write_text(f"+{controller}")
        # The namespace's root is where its maker is, and the tree is seen from there once it is mounted in it.
        enter = f"echo $$ >{own}/cgroup.procs; exec unshare --cgroup --mount /bin/sh -c "
        yield enter
    finally:
        subprocess.run(
            ["/bin/sh", "-c", f"find {top} -depth -type d -exec rmdir {{}} +"],
            check=False,
            capture_output=True,
            timeout=30,
        )
        assert not top.exists(), [str(path) for path in top.rglob("cgroup.procs") if path.read_text()]


def within(enter: str, script: str) -> Answer:
    """Run a script there; its keeper has ended when this returns."""
    inner = f"umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 9\n{script}"
    return on("", ["/bin/sh", "-c", enter + shlex.quote(inner)])


def ended(ardock: Ardock) -> str:
    """The end of a script that has used an engine: its keepers are gone, and the groups that they stood in."""
    return f"""
for _ in $(seq 300); do
  ls {ardock.folder}/run/*/keepers/* >/dev/null 2>&1 || break
  sleep 0.1
done
"""


@v2_only
def test_nothing_delegated(ardock: Ardock) -> None:
    with delegated("none", "") as enter:
        told = within(enter, shlex.join(ardock.words("doctor")))
        assert told.code == 0, told
        assert "note delegation /sys/fs/cgroup/cgroup.controllers is empty" in told.words
        assert "Delegate=yes" in told.words
        runs = within(enter, shlex.join(ardock.run_words("echo", "runs")) + ended(ardock))
        assert runs.out == "runs\n", runs
        for limit in ("--memory=64m", "--pids-limit=10", "--cpus=0.5"):
            words = ardock.words("run", limit, "--rootfs", str(ardock.rootfs), "true")
            tried = within(enter, f"{shlex.join(words)}; code=$?\n{ended(ardock)}\nexit $code")
            assert tried.code == 125, tried
            assert "controller is not at hand" in tried.error
            assert "ardock doctor" in tried.error


@v2_only
def test_some_controllers_delegated_and_processes_where_groups_must_go(ardock: Ardock) -> None:
    """The processes of the namespace's root are moved into its `init`, since the kernel limits only groups beside them."""
    with delegated("some", "pids cpu") as enter:
        told = within(enter, shlex.join(ardock.words("doctor")))
        assert told.code == 0, told
        assert "moved to /sys/fs/cgroup/init" in told.words
        assert "note memory controller no: --memory" in told.words
        assert "ok pids controller yes" in told.words
        limited = ardock.words("run", "--pids-limit=10", "--cpus=0.5", "--rootfs", str(ardock.rootfs))
        script = shlex.join([*limited, "cat", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cpu.max"])
        runs = within(enter, f"{script}; cat /sys/fs/cgroup/cgroup.procs; cat /proc/self/cgroup\n{ended(ardock)}")
        assert runs.out.split() == ["10", "50000", "100000", "0::/init"], runs
    # A group of its own: into one that has limits beneath it a process may come only as into a threaded one.
    with delegated("another", "pids cpu") as enter:
        words = ardock.words("run", "--memory=64m", "--rootfs", str(ardock.rootfs), "true")
        tried = within(enter, f"{shlex.join(words)}; code=$?\n{ended(ardock)}\nexit $code")
        assert tried.code == 125, tried
        assert "memory.max = 67108864: the memory controller is not at hand" in tried.error


SECCOMP = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}

WITHOUT_SECCOMP = """
import ctypes, os, sys, trio, ardock
number = int(sys.argv[1])
program = bytes.fromhex(sys.argv[2])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
installed = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(program) // 8, program)), 0, 0)
assert installed == 0, os.strerror(ctypes.get_errno())
root, run_dir, rootfs = sys.argv[3:]

async def main():
    async with ardock.open_engine(root, run_dir, keep_inherited_seccomp=True) as engine:
        try:
            await engine.containers.run(["true"], rootfs=rootfs, scratch="memory")
        except ardock.LaunchFailed as error:
            print(error.code, error.step, error.message)
        result = await engine.containers.run(["echo", "runs"], rootfs=rootfs, scratch="memory", seccomp="unconfined")
        print(result.stdout.decode(), end="")

trio.run(main)
"""


def without_seccomp(number: int) -> str:
    """A program, in hexadecimal, that lets every system call through but seccomp(2), to which it answers with an errno."""
    architecture, call = SECCOMP[platform.machine()]
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    code = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 0, 2, architecture),
        (load, 0, 0, 0),  # seccomp_data.nr
        (equal, 1, 0, call),
        (answer, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
        (answer, 0, 0, 0x00050000 | number),  # SECCOMP_RET_ERRNO
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in code).hex()


@pytest.mark.skipif(
    platform.machine() not in SECCOMP, reason=f"the number of seccomp(2) on {platform.machine()} is not known"
)
@pytest.mark.parametrize("answer", ["ENOSYS", "EINVAL"])
def test_no_seccomp_in_the_kernel(ardock: Ardock, answer: str) -> None:
    """Without CONFIG_SECCOMP seccomp(2) says ENOSYS, without CONFIG_SECCOMP_FILTER alone EINVAL: seccomp(2)."""
    import errno

    folders = [str(ardock.folder / "root"), str(ardock.folder / "run")]
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(WITHOUT_SECCOMP), str(getattr(errno, answer))),
            *(without_seccomp(getattr(errno, answer)), *folders, str(ardock.rootfs)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    refused, *ran = done.stdout.splitlines()
    assert refused.startswith("launch_failed seccomp could not apply the seccomp policy: "), done
    assert "CONFIG_SECCOMP_FILTER" in refused
    assert "--security-opt seccomp=unconfined" in refused
    assert ran == ["runs"]


@pytest.fixture(params=["declared absent", "as a module that is not loaded"])
def no_overlay(request: pytest.FixtureRequest) -> Iterator[str]:
    """A kernel that has no overlay, or is used as if it had none; what the host is to be made by."""
    if request.param == "declared absent":
        yield "export ARDOCK_KERNEL_WITHOUT=overlay"
        return
    if not Path("/payload/project").is_dir():
        pytest.skip("only in an emulated machine (make test-vm): no module can be loaded by anyone meanwhile")
    if "overlay" in Path("/proc/filesystems").read_text().split():
        removed = subprocess.run(["rmmod", "overlay"], check=False, capture_output=True, timeout=60)
        if removed.returncode != 0:
            pytest.skip(f"overlay is in use: {removed.stderr.decode().strip()}")
    helper = Path("/proc/sys/kernel/modprobe")
    before = helper.read_text()
    helper.write_text("/bin/false")
    try:
        yield ""
    finally:
        helper.write_text(before)


def test_no_overlay_in_the_kernel(ardock: Ardock, no_overlay: str) -> None:
    """A folder runs without scratch, its masks in place; a scratch, on disk or in memory, is refused by name."""
    told = on(no_overlay, ardock.words("doctor"))
    assert told.code == 1, told
    assert "failed overlay file system" in told.words
    assert "--scratch none" in told.words
    for scratch in ("disk", "memory"):
        tried = on(no_overlay, ardock.words("run", "--scratch", scratch, "--rootfs", str(ardock.rootfs), "true"))
        assert tried.code == 125, tried
        assert "the kernel has no overlay file system" in tried.error
        assert "--scratch none" in tried.error
    # In one that may mount: what it makes writable is its own alone.
    script = (
        "ls -A /sys/firmware | wc -l; wc -c </proc/keys; touch /sys/firmware/x;"
        "mount -o remount,bind,rw /sys/firmware; touch /sys/firmware/x; ls /sys/firmware"
    )
    may = ["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"]
    words = ardock.words("run", *may, "--scratch", "none", "--rootfs", str(ardock.rootfs))
    for _ in range(2):
        runs = on(no_overlay, [*words, "/bin/sh", "-c", script])
        assert runs.out.split() == ["0", "0", "x"], runs
        assert "touch: /sys/firmware/x: Read-only file system" in runs.error


def test_root_of_a_user_namespace(ardock: Ardock) -> None:
    told = on("", ardock.words("doctor"), "--user", "--map-root-user")
    assert told.code == 1, told
    assert "failed user namespace" in told.words
    assert "ok system calls" in told.words
    tried = on("", ardock.run_words("true"), "--user", "--map-root-user")
    assert tried.code == 125, tried
    assert "the machine's root" in tried.error
    assert "unshare -Ur" in tried.error
