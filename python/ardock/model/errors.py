# ruff: noqa: N818 - an error is named for what happened, as in trio; a suffix would say nothing
"""Every error that ardock raises on purpose, in one flat file.

One class per *reaction* a caller can have, each with a stable ``code`` (never reworded, safe to match on), the HTTP
status that a gateway answers with, and the exit code that a command line ends with. The docstring says whose fault
it is. Foreign exceptions are mapped to these at the edge where they arise.
"""

from __future__ import annotations

from typing import ClassVar


class ArdockError(Exception):
    """The base of all of them; never raised itself.

    Attributes:
        code: Stable identifier, lower case with underscores.
        http_status: What a REST gateway answers.
        exit_code: What a command line ends with (Docker: 125 the engine's trouble, 126 and 127 the command's).
        message: One clear sentence, without a trailing full stop.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: int = 125

    def __init__(self, message: str) -> None:
        """Keep the sentence."""
        super().__init__(message)
        self.message = message


class InvalidArgument(ArdockError):
    """The caller's fault: a value is malformed, out of range or contradicts another. Mend the request.

    Attributes:
        field: The name of the `ContainerSpec` field (or argument) at fault; empty where it is several.
    """

    code = "invalid_argument"
    http_status = 400

    def __init__(self, message: str, *, field: str = "") -> None:
        """Keep the field's name."""
        super().__init__(message)
        self.field = field


class NotFound(ArdockError):
    """The caller's fault: what is named (a root file system, a bind source, a user, a container) is not there."""

    code = "not_found"
    http_status = 404

    def __init__(self, message: str, *, field: str = "") -> None:
        """Keep the field's name."""
        super().__init__(message)
        self.field = field


class NotRunning(ArdockError):
    """Nobody's fault: the container (or the exec) has ended before it could be acted on."""

    code = "not_running"
    http_status = 409


class Conflict(ArdockError):
    """The caller's fault: it contradicts what is there (a name is taken, the container runs, an image is in use)."""

    code = "conflict"
    http_status = 409


class Ambiguous(ArdockError):
    """The caller's fault: the prefix of an id fits more than one. Give more digits."""

    code = "ambiguous"
    http_status = 400


class Cancelled(ArdockError):
    """Nobody's fault: the call was cancelled by its caller before it was done."""

    code = "cancelled"
    http_status = 499


class DeadlineExceeded(ArdockError):
    """The caller's limit: the deadline that came with the call passed.

    What was under way is undone or goes on, as the method's description says.
    """

    code = "deadline_exceeded"
    http_status = 504


class ConnectionLost(ArdockError):
    """Nobody's fault: the connection to the engine ended in the middle of the call, whose outcome is not known here.

    Repeat it with the same request id.
    """

    code = "connection_lost"
    http_status = 503


class DaemonUnavailable(ArdockError):
    """The host's fault: nobody serves the socket (or it may not be reached). Start ``ardock daemon``."""

    code = "daemon_unavailable"
    http_status = 503


class MalformedRequest(ArdockError):
    """The client's fault: what it sent is no message of the protocol, or no such method or field."""

    code = "malformed_request"
    http_status = 400


class Unsupported(ArdockError):
    """ardock's limit: a well-formed request for something that it does not do. It names the option.

    Attributes:
        option: The option at fault.
    """

    code = "unsupported"
    http_status = 501

    def __init__(self, message: str, *, option: str = "") -> None:
        """Keep the option's name."""
        super().__init__(message)
        self.option = option


class NotPermitted(ArdockError):
    """The user's fault: no privilege (run it as root), or a registry wants other credentials (``ardock login``)."""

    code = "not_permitted"
    http_status = 403


class RegistryUnavailable(ArdockError):
    """The registry's or the network's fault: it cannot be reached, broke off, or goes on failing. Try again later."""

    code = "registry_unavailable"
    http_status = 502


class ContentDamaged(ArdockError):
    """The sender's fault: bytes that came are not those that their digest or size names. Nothing of them is kept.

    Try again, or another source.
    """

    code = "content_damaged"
    http_status = 502


class EngineLocked(ArdockError):
    """Nobody's fault: another process owns this root folder. Use that one, or another folder.

    Attributes:
        owner: The owner's process id where it could be read, else 0.
    """

    code = "engine_locked"
    http_status = 409

    def __init__(self, message: str, *, owner: int = 0) -> None:
        """Keep the owner's process id."""
        super().__init__(message)
        self.owner = owner


class EngineClosed(ArdockError):
    """The caller's fault: the engine was closed (or is closing) when it was used."""

    code = "engine_closed"
    http_status = 503


class FolderUnusable(ArdockError):
    """The host's fault: the root or run folder cannot be made, written or is damaged (disk full, read-only, ...)."""

    code = "folder_unusable"
    http_status = 500


class DiskFull(ArdockError):
    """The host's fault: the file system of the root folder is full. Nothing of what was asked for was done; free space."""

    code = "disk_full"
    http_status = 507


class CapacityExceeded(ArdockError):
    """The host's limit: no further container fits. Wait for some to end, or raise the limit that it names."""

    code = "capacity_exceeded"
    http_status = 503


class LaunchFailed(ArdockError):
    """The kernel (or the root file system) refused a step of a launch; nothing is left of it.

    Attributes:
        step: The launch core's name of the step, such as ``"mount"``.
        subject: The path, name or value it was about; may be empty.
        errno: The kernel's error number; 0 where the reason is in words alone.
        hint: The reason or the remedy in words; may be empty.
    """

    code = "launch_failed"
    http_status = 500

    def __init__(self, message: str, *, step: str = "", subject: str = "", errno: int = 0, hint: str = "") -> None:
        """Keep the parts."""
        super().__init__(message)
        self.step = step
        self.subject = subject
        self.errno = errno
        self.hint = hint


class CommandNotFound(LaunchFailed):
    """The caller's fault: the program is not in the container (exit code 127, as a shell's)."""

    code = "command_not_found"
    http_status = 400
    exit_code = 127


class CommandNotExecutable(LaunchFailed):
    """The caller's fault: the program is there and cannot be executed (exit code 126, as a shell's)."""

    code = "command_not_executable"
    http_status = 400
    exit_code = 126


class LaunchTimedOut(LaunchFailed):
    """The host's fault: a step hung (dead network file system, frozen cgroup, tiny cpu quota) past the deadline."""

    code = "launch_timed_out"
    http_status = 504


class KeeperUnavailable(ArdockError):
    """The host's fault: the keeper process could not be started or reached."""

    code = "keeper_unavailable"
    http_status = 500


class KeeperLost(ArdockError):
    """Nobody's fault: the keeper died and took its containers with it. What ran is gone (exit 255, reason lost)."""

    code = "keeper_lost"
    http_status = 500
    exit_code = 255


class ProtocolViolation(ArdockError):
    """ardock's own fault: engine and keeper do not understand each other (mixed versions or a bug)."""

    code = "protocol_violation"
    http_status = 500
