"""The keeper's and the launch core's errors to the model's: pure."""

from __future__ import annotations

import errno
import os
from typing import Final

from ardock.model.errors import (
    ArdockError,
    CapacityExceeded,
    CommandNotExecutable,
    CommandNotFound,
    InvalidArgument,
    LaunchFailed,
    LaunchTimedOut,
    NotFound,
    NotRunning,
    ProtocolViolation,
)
from ardock.model.launch import LaunchError
from ardock.model.messages import Error

# The phrases of rust/launch/src/error.rs, each completing "could not ..."; a test holds the two together.
PHRASES: Final = {
    "spec": "accept the specification",
    "cgroup": "set up the control group",
    "stdio": "open the standard streams",
    "scratch": "make the scratch directory",
    "clone": "start a process",
    "join_namespace": "join the namespace",
    "join_cgroup": "enter the control group",
    "cgroup_namespace": "make a cgroup namespace",
    "tmpfs": "mount the container's tmpfs",
    "root": "mount the root file system",
    "dev": "set up /dev",
    "proc": "mount /proc",
    "pts": "mount /dev/pts",
    "shm": "mount /dev/shm",
    "mqueue": "mount /dev/mqueue",
    "sys": "mount /sys",
    "sys_cgroup": "mount /sys/fs/cgroup",
    "mount": "mount",
    "file": "provide the file",
    "sysctl": "set the kernel parameter",
    "mask": "mask the path",
    "readonly": "make the path read-only",
    "pivot": "enter the root file system",
    "hostname": "set the host name",
    "loopback": "set the loopback link up",
    "session": "start the session",
    "cwd": "enter the working directory",
    "streams": "connect the standard streams",
    "rlimit": "set the resource limit",
    "oom_score": "set the OOM score",
    "apparmor": "apply the AppArmor profile",
    "no_new_privileges": "set no_new_privs",
    "capabilities": "set the capabilities",
    "ids": "set the user and group ids",
    "death_signal": "set the parent death signal",
    "seccomp": "apply the seccomp policy",
    "close_fds": "close inherited descriptors",
    "exec": "execute",
    "deadline": "finish in time",
}


def sentence(error: LaunchError) -> str:
    """The error as one sentence, the same as Rust's ``Display`` of it."""
    text = f"could not {PHRASES.get(error.step, error.step)}"
    if error.subject:
        text += f" {error.subject}"
    if error.errno:
        text += f": {os.strerror(error.errno)}"
    if error.hint:
        text += f": {error.hint}"
    return text


# What rust/keeper/src/exits.rs and rust/launch/src/launch/explain.rs say of an exec that came too late.
_ENDED: Final = "the container has ended"


def launch_error(error: LaunchError) -> LaunchFailed | InvalidArgument | NotRunning:
    """A failed launch, as the class that tells the caller what to do about it."""
    if error.hint == _ENDED:
        return NotRunning(sentence(error))
    if error.step == "spec":
        return InvalidArgument(sentence(error))
    kind = LaunchFailed
    if error.step == "deadline":
        kind = LaunchTimedOut
    elif error.exit_code == 127:
        kind = CommandNotFound
    elif error.exit_code == 126:
        kind = CommandNotExecutable
    return kind(sentence(error), step=error.step, subject=error.subject, errno=error.errno, hint=error.hint)


def from_host(step: str, subject: str, number: int, hint: str, field: str) -> ArdockError:
    """An error of the host-side look-ups (root file system, bind source, user), by its errno."""
    message = f"{field}: {sentence(LaunchError(step=step, subject=subject, errno=number, hint=hint, exit_code=125))}"
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return NotFound(message, field=field)
    if number:
        return LaunchFailed(message, step=step, subject=subject, errno=number, hint=hint)
    return InvalidArgument(message, field=field)


def refusal(error: Error) -> ArdockError:
    """A keeper's refusal."""
    match error.code:
        case "not_found":
            return NotFound(error.message)
        case "not_running":
            return NotRunning(error.message)
        case "busy":
            return CapacityExceeded(error.message)
        case "invalid" | "exists" | "version":
            return ProtocolViolation(error.message)
        case _:
            return LaunchFailed(error.message)
