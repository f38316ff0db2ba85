"""The floor program and the launch core make the same system calls, so that neither drifts from the other.

Both start two containers under strace. What is compared is the second: the child's calls from its first to execve, one by
one with the paths and names they are about, and the launcher's calls from one clone to the next, counted. Whoever changes one
side changes the other, or lists the difference here with its reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Final

import pytest

from bench import build, ours, peers
from bench.systems import Scratch

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and control groups need root"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.skipif(
        not Path("/sys/fs/cgroup/memory/tasks").exists(), reason="the floor program knows cgroup v1 only so far"
    ),
]

ROOT: Final = Path(__file__).resolve().parents[2]

# Calls that only one side's child makes, with the reason.
CHILD_DIFFERENCES: Final = (
    # Who launches from its own process may ignore any signal at any time, so all are set back; a keeper ignores SIGPIPE
    # alone, and so does the floor.
    r"\+rt_sigaction( SIG\w+)?",
)

# How many more calls of a kind the launch core's side makes for a container than the floor (less: negative).
PARENT_DIFFERENCES: Final = {
    # A folder that may be in any of the eight hierarchies is removed from all of them, one by one: by the keeper, after the
    # container's end. The floor knows in which three it made one.
    "unlinkat": 5,
    # Python's side waits for the end by a pidfd; who launches for a keeper opens none, since the keeper does.
    "pidfd_open": 1,
    "close": 1,
    # The child shares its launcher's memory and what it does to its ids makes that undumpable; in a process that is not a
    # keeper that is looked at before and set back after.
    "prctl": 2,
}

# The same call under two names: which one is the C library's choice, and Rust's.
SYNONYMS: Final = {"open": "openat", "wait4": "waitid"}

# What an interpreter does around a launch, not the launch core.
INTERPRETERS_OWN: Final = frozenset(
    {
        "brk",
        "futex",
        "getpid",
        "madvise",
        "mmap",
        "mprotect",
        "munmap",
        "mremap",
        "gettid",
        "sched_yield",
        "poll",
        "ppoll",
    }
)

Trace = list[tuple[str, str]]  # process id, call


def trace(command: Sequence[str], log: Path) -> Trace:
    """Run `command` under strace and return every call in the order in which they began."""
    subprocess.run(
        ["strace", "-f", "-qq", "-s", "256", "-o", str(log), *command],
        check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=50,
    )  # fmt: skip
    calls: Trace = []
    begun: dict[str, int] = {}
    for line in log.read_text().splitlines():
        pid, call = line.split(None, 1)
        if "resumed>" in call:
            place = begun.pop(pid)
            calls[place] = (pid, calls[place][1].removesuffix("<unfinished ...>") + call.partition("resumed>")[2])
        elif not call.startswith(("---", "+++")):
            if call.endswith("<unfinished ...>"):
                begun[pid] = len(calls)
            calls.append((pid, call))
    return calls


def launches(calls: Trace) -> list[int]:
    return [place for place, (_, call) in enumerate(calls) if re.match(r"clone3?\(.*CLONE_NEWPID", call)]


def last_child(calls: Trace) -> list[str]:
    """Return the calls of the last container's first process, up to its execve."""
    start = launches(calls)[-1]
    launcher = calls[start][0]
    before = {pid for pid, _ in calls[:start]}
    child = next(pid for pid, _ in calls[start:] if pid != launcher and pid not in before)
    own = [call for pid, call in calls if pid == child]
    return [shape(call) for call in own[: next(n for n, call in enumerate(own) if call.startswith("execve(")) + 1]]


def between_launches(calls: Trace) -> Counter[str]:
    """Count what the launching process calls, all its threads together, from one clone to the next."""
    first, second = launches(calls)[-2:]
    children = {pid for pid, call in calls if call.startswith("execve(") and pid != calls[0][0]}
    own = {pid for pid, _ in calls[: first + 1]} - children
    names = [call.partition("(")[0] for pid, call in calls[first:second] if pid in own]
    # A program that has ended already has no mount namespace to be held, and then none to be let go.
    names += ["close" for pid, call in calls[first:second] if pid in own and "/ns/mnt" in call and "ENOENT" in call]
    return Counter(SYNONYMS.get(name, name) for name in names)


def shape(call: str) -> str:
    """Return a call's name, signals and strings, without what differs between any two launches."""
    name, _, arguments = call.partition("(")
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\bSIG[A-Z0-9]+\b|\bPR_\w+|\bCAP_\w+', arguments.partition(") = ")[0])
    text = " ".join([name, *words])
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    text = re.sub(r"ardock-bench-[0-9a-z-]+/k1", "PARENT", text)
    text = re.sub(r"/store/(scratch/)?ID", "/store/ID", text)
    if name in {"sethostname", "write"} and len(words) == 1 and words[0] != '"0"':
        # Host name and file contents: another container's, another host's.
        return name
    return name if name == "execve" else text


def compare(floor: list[str], core: list[str]) -> list[str]:
    """Return the lines that only one of them has, `+` for the core."""
    diff = [line for line in unified_diff(floor, core, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]
    return [line for line in diff if not any(re.fullmatch(known, line) for known in CHILD_DIFFERENCES)]


Traces = Callable[[Scratch], tuple[Trace, Trace]]


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    def both(scratch: Scratch) -> tuple[Trace, Trace]:
        rootfs = build.rootfs(tmp_path / "rootfs")
        work = tmp_path / "work"
        work.mkdir()
        options = [
            "--rootfs",
            str(rootfs),
            "--group",
            f"{peers.GROUP}-drift",
            "-n",
            "2",
            "-j",
            "1",
            "--work",
            str(work),
        ]
        options += ["--scratch", scratch, "--volatile", *ours.seccomp_program(tmp_path)]
        floor = trace([str(build.floor()), *options], tmp_path / "floor.log")
        script = str(ROOT / "bench" / "direct.py")
        core = trace([sys.executable, script, str(rootfs), "2", scratch, str(tmp_path)], tmp_path / "core.log")
        return floor, core

    return both


@pytest.mark.parametrize("scratch", ["memory", "disk"])
def test_between_clone_and_execve_the_calls_are_the_same_in_the_same_order(traces: Traces, scratch: Scratch) -> None:
    floor, core = traces(scratch)
    assert compare(last_child(floor), last_child(core)) == []


def test_a_launch_takes_as_many_calls_of_each_kind_outside_of_the_child(traces: Traces) -> None:
    floor, core = traces("memory")
    by_floor, by_core = between_launches(floor), between_launches(core)
    names = (by_floor.keys() | by_core.keys()) - INTERPRETERS_OWN
    differences = {name: by_core[name] - by_floor[name] for name in names if by_core[name] != by_floor[name]}
    assert differences == PARENT_DIFFERENCES


def test_a_call_more_is_noticed() -> None:
    floor = ["unshare", 'mount "proc" "." "proc"', "execve"]
    core = ["unshare", "getuid", 'mount "proc" "." "proc"', "execve"]
    assert compare(floor, core) == ["+getuid"]
    assert compare(floor, [*floor[:1], 'mount "sysfs" "." "sysfs"', "execve"]) != []
