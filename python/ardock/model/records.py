"""What a container's life leaves: exit records, results of runs, what an earlier engine left behind."""

from __future__ import annotations

from typing import Literal

import msgspec

from ardock.model.errors import ArdockError


class Timings(msgspec.Struct, frozen=True):
    """µs spent in each part of a launch (``rust/launch/src/timings.rs``).

    Attributes:
        queue: Waiting in the keeper and in the launcher's queue; not part of `total`.
        prepare: Reading and preparing the specification.
        cgroup: Making and limiting control groups.
        stdio: Scratch directories, pipes, terminal.
        clone: clone3 until the child's first instruction.
        join: Entering control groups.
        root: The root file system.
        mounts: Everything mounted on it.
        process: Host name, ids, limits, capabilities, seccomp.
        exec: execve.
        total: From the launcher's reading of the request to execve.
    """

    queue: int = 0
    prepare: int = 0
    cgroup: int = 0
    stdio: int = 0
    clone: int = 0
    join: int = 0
    root: int = 0
    mounts: int = 0
    process: int = 0
    exec: int = 0
    total: int = 0


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended.

    Attributes:
        id: The container.
        exec_id: The exec, where it was one.
        exit_code: 128 + signal where a signal ended it; 255 where it was lost.
        signal: The signal that ended it.
        oom_killed: The kernel killed a process of the container for want of memory.
        reason: ``"exited"``; or ``"lost"``: its keeper died and took it along; or ``"host-rebooted"``: it ran when the machine
            went down. Its exit code is not known then, and told as 255.
        started_at: Wall clock, ns since 1970; 0 where not known.
        finished_at: Wall clock, ns since 1970.
    """

    id: str
    exec_id: str | None = None
    exit_code: int
    signal: int | None = None
    oom_killed: bool = False
    reason: Literal["exited", "lost", "host-rebooted"] = "exited"
    started_at: int = 0
    finished_at: int = 0


class RunResult(msgspec.Struct, kw_only=True):
    """What `run` returns: a program that ran and has ended (or, from `run_many`, could not be started).

    Attributes:
        id: The container's id, 64 hexadecimal digits.
        index: Which spec of a `run_many` it was, from 0.
        exit_code: As a shell would give it: 128 + signal for a signal; 125 to 127 where it was not started.
        stdout: Standard output, the first `max_output` bytes of it.
        stderr: Standard error, idem (empty with a terminal).
        truncated: A stream was longer than `max_output`.
        stdout_total: Bytes written to standard output in all.
        stderr_total: Bytes written to standard error in all.
        signal: The signal that ended it.
        oom_killed: The kernel killed a process of the container for want of memory.
        timed_out: Its `timeout` passed and it was killed.
        started_at: Wall clock, ns since 1970.
        finished_at: Wall clock, ns since 1970.
        timings: Where the launch's time went.
        error: From `run_many` only: why it was not started (or was lost); `run` raises it instead.
    """

    id: str
    index: int = 0
    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False
    stdout_total: int = 0
    stderr_total: int = 0
    signal: int | None = None
    oom_killed: bool = False
    timed_out: bool = False
    started_at: int = 0
    finished_at: int = 0
    timings: Timings = Timings()
    error: ArdockError | None = None


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """A container that an earlier engine on this root folder left behind, and what had become of it.

    Attributes:
        id: The container.
        name: Its name.
        outcome: ``"running"``: it goes on; ``"exited"``: it had ended by itself; ``"lost"``: its keeper had died with it, or the
            machine was started anew.
        exit: How it ended; None while it runs.
    """

    id: str
    name: str = ""
    outcome: Literal["running", "exited", "lost"]
    exit: ExitRecord | None = None
