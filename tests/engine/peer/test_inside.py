"""What a program sees of itself, compared with docker's: each difference stands below, with its reason."""

from __future__ import annotations

import re
from typing import Final

from ardock.engine import own_engine
from tests.engine.folders import Folders
from tests.engine.peer.conftest import DockerRun

# Lines of /proc/self/status that say what the program does or where it stands, not what it was given. Docker hands on
# the ignored signals of whoever started dockerd; ardock none, which is asserted.
VOLATILE: Final = re.compile(
    r"(SigIgn|Vm|Rss|Hugetlb|voluntary_ctxt|nonvoluntary_ctxt|Tgid|Ngid|Pid|PPid|NS|SigQ|Threads|State)"
)
FILES: Final = ("oom_score_adj", "loginuid", "sessionid", "personality", "coredump_filter", "timerslack_ns")
# Newer Docker masks it (moby 28, CVE-2025-52565's neighbourhood: it tells of other containers' load); Debian 12's does not.
MASKED_HERE: Final = {"/proc/interrupts"}
# Docker shows all hierarchies of cgroup v1, ardock those that limit the container.
CGROUPS: Final = re.compile(r"/sys/fs/cgroup/.*")
# Docker's mark of itself.
DOCKERS_OWN: Final = {".dockerenv"}


async def inside(folders: Folders, rootfs: str, script: str) -> str:
    """Run a script in a container of ardock's."""
    async with own_engine(**folders) as engine:
        result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode()


async def test_the_process_is_given_what_docker_gives(docker_run: DockerRun, folders: Folders, rootfs: str) -> None:
    files = "; ".join(f"echo {name}: $(cat /proc/self/{name})" for name in FILES)
    script = f"cat /proc/self/status /proc/self/limits; {files}; echo umask: $(umask); echo id: $(id)"

    def stable(text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if not VOLATILE.match(line)]

    shown = await inside(folders, rootfs, script)
    assert "SigIgn:\t0000000000000000" in shown
    ours = stable(shown)
    theirs = stable(docker_run(script))
    assert ours == theirs
    assert any(line.startswith("CapEff:") for line in ours)
    assert any(line.startswith("Seccomp:\t2") for line in ours)


async def test_the_file_systems_are_where_and_how_docker_has_them(
    docker_run: DockerRun, folders: Folders, rootfs: str
) -> None:
    def mounts(text: str) -> dict[str, tuple[str, frozenset[str]]]:
        """Target to type and the flags that limit what can be done there."""
        table = {}
        for line in text.splitlines():
            left, right = line.split(" - ")
            target, options = left.split(" ")[4:6]
            if not CGROUPS.fullmatch(target):
                flags = frozenset(options.split(",")) & {"ro", "nosuid", "nodev", "noexec"}
                table[target] = (right.split(" ")[0], flags)
        return table

    ours = mounts(await inside(folders, rootfs, "cat /proc/self/mountinfo"))
    theirs = mounts(docker_run("cat /proc/self/mountinfo"))
    assert set(ours) - MASKED_HERE == set(theirs)
    for target, (kind, flags) in theirs.items():
        our_kind, our_flags = ours[target]
        if target.startswith("/etc/"):
            # Docker binds files of the host's disk, ardock files of the container's own tmpfs, which is nosuid.
            assert our_flags == flags | {"nosuid"}, target
        elif target.startswith(("/proc/", "/sys/firmware")) and our_kind not in ("proc", "sysfs"):
            # Masks: docker's are its container's /dev/null and a tmpfs each, ardock's on one that cannot be written.
            assert "ro" in our_flags, target
        elif target == "/sys/fs/cgroup":
            # A program could fill Docker's (it is writable); ardock's is not.
            assert our_flags == flags | {"ro"}, target
        else:
            assert (our_kind, our_flags) == (kind, flags), target


async def test_descriptors_devices_and_environment_are_dockers(
    docker_run: DockerRun, folders: Folders, rootfs: str
) -> None:
    script = (
        "readlink /proc/self/fd/0; for fd in 1 2; do readlink /proc/self/fd/$fd | sed 's/:.*//'; done;"
        "ls /dev; ls -l /dev | sed 's/ .*//' | sort; tr '\\0' '\\n' < /proc/self/environ | sed 's/=.*//' | sort;"
        "cat /proc/self/cgroup | sed 's/.*://' | sort -u; ls -a /"
    )

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if line not in DOCKERS_OWN and not line.startswith("total")]

    ours = lines(await inside(folders, rootfs, script))
    # The cgroup namespace is asked for: on v1 docker's default is the host's, which shows where the host has it.
    theirs = lines(docker_run(script, "--cgroupns", "private"))
    assert ours == theirs
