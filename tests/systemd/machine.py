"""A machine of systemd's with the installed service, and what one looks at in it: units, containers, control groups."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

CGROUP: Final = Path("/sys/fs/cgroup")
ARDOCK: Final = "/usr/local/bin/ardock"
SERVICE: Final = "ardock.service"
SHUTDOWN: Final = "ardock-shutdown.service"
# The emulator is slow; a hang is still told in the end.
PATIENCE: Final = 300.0

# Every limit that is tested here, with what must stand in the file of its control group.
LIMITS: Final = ("--memory", "48m", "--cpus", "0.5", "--pids-limit", "40", "--cpuset-cpus", "0")
FILES: Final = {"memory.max": str(48 << 20), "cpu.max": "50000 100000", "pids.max": "40", "cpuset.cpus": "0"}
# The second disk of the machine is given to containers; the first one, which is the root's, is not.
GIVEN: Final = "/dev/vdb"
KEPT_BACK: Final = "/dev/vda"
DEVICE: Final = ("--device", f"{GIVEN}:/dev/given:r")
# Read the one, make a node of the other and read it: what the host's root could be read by.
TRY_DEVICES: Final = """
head -c 512 /dev/given | wc -c
mknod /dev/kept-back b {major} {minor} 2>&1 && head -c 512 /dev/kept-back 2>&1 | tail -n 1
rm -f /dev/kept-back
"""


def run(*words: str, check: bool = True) -> str:
    """A command's output, both streams."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stdout}"
    return done.stdout.strip()


def systemctl(*words: str, check: bool = True) -> str:
    """`systemctl WORDS`."""
    return run("systemctl", "--no-pager", *words, check=check)


def ardock(*words: str, check: bool = True) -> str:
    """`ardock WORDS`, as installed."""
    return run(ARDOCK, *words, check=check)


def shown(unit: str, name: str) -> str:
    """A property of a unit."""
    return systemctl("show", "--property", name, "--value", unit)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.1)


def serving() -> bool:
    """Is the service up?"""
    return shown(SERVICE, "ActiveState") == "active"


def group_of(pid: int | str) -> Path:
    """The control group of a process."""
    return CGROUP / Path(f"/proc/{pid}/cgroup").read_text().strip().partition("::/")[2]


def members(group: Path) -> list[int]:
    """The processes of a control group."""
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def limits(group: Path) -> dict[str, str]:
    """What stands in the files of its limits."""
    return {name: (group / name).read_text().strip() for name in FILES}


def device_trial() -> list[str]:
    """The words that try devices inside."""
    number = os.stat(KEPT_BACK).st_rdev
    return ["sh", "-c", TRY_DEVICES.format(major=os.major(number), minor=os.minor(number))]


def assert_devices_as_ruled(said: str) -> None:
    """The disk that was given can be read; the other one neither by its number nor otherwise."""
    lines = said.splitlines()
    assert lines[0] == "512", said
    assert "Operation not permitted" in lines[-1], said


class Container(NamedTuple):
    """A container that runs, and what must not change of it."""

    name: str
    pid: int
    group: Path

    @classmethod
    def started(cls, root: Path, name: str, *command: str, options: tuple[str, ...] = ()) -> Container:
        """One with every limit and a device, that runs `command`."""
        ardock("run", "-d", "--name", name, "--rootfs", str(root), *LIMITS, *DEVICE, *options, *command)
        return cls.known(name)

    @classmethod
    def known(cls, name: str) -> Container:
        """The running container of this name."""
        pid = int(ardock("inspect", "--format", "{{.State.Pid}}", name))
        return cls(name, pid, group_of(pid))

    def assert_untouched(self) -> None:
        """It runs where it ran, within the same limits, and has the devices that it had and no others."""
        assert Path(f"/proc/{self.pid}").exists(), f"{self.name} is gone"
        assert group_of(self.pid) == self.group
        assert self.pid in members(self.group)
        assert limits(self.group) == FILES
        wanted = {"cpu", "cpuset", "memory", "pids"}
        assert wanted <= set((CGROUP / "cgroup.subtree_control").read_text().split())
        assert wanted <= set((self.group / "cgroup.controllers").read_text().split())

    def assert_answers(self) -> None:
        """It is the engine's, running, and its devices are as ruled."""
        state = json.loads(ardock("inspect", "--format", "{{json .State}}", self.name))
        assert (state["Status"], state["Pid"]) == ("running", self.pid)
        assert_devices_as_ruled(ardock("exec", self.name, *device_trial()))

    def numbers(self) -> list[int]:
        """What `counting` has written so far."""
        return [int(line) for line in ardock("logs", self.name).splitlines()]


# A program whose log tells whether a line was lost.
COUNTING: Final = ("sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 1; done")


def assert_new_containers_are_limited(root: Path) -> None:
    """One that is started now has its limits and its devices, too."""
    script = "; ".join(f"echo {name} $(cat /sys/fs/cgroup/{name})" for name in FILES)
    said = ardock("run", "--rm", "--rootfs", str(root), *LIMITS, *DEVICE, "sh", "-c", f"{script}; {device_trial()[2]}")
    lines = said.splitlines()
    assert dict(line.split(" ", 1) for line in lines[: len(FILES)]) == FILES
    assert_devices_as_ruled("\n".join(lines[len(FILES) :]))
