"""The messages between an engine and a keeper: the mirror of ``rust/keeper/src/message.rs``, field for field.

A packet is one MessagePack array of these. The meaning of each stands in the Rust file.
"""

from __future__ import annotations

import msgspec

from ardock.model.launch import ExecLaunch, LaunchError, LaunchSpec
from ardock.model.records import Timings

VERSION = 1
MAX_PACKET = 64 * 1024
MAX_FDS = 64
MAX_BLOB = 16 * 1024
MAX_SEALED = 16 * 1024 * 1024

# First index in the packet's descriptors, and how many.
Fds = tuple[int, int]
NO_FDS: Fds = (0, 0)


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A container's log: path beneath the store, rotation in bytes, files kept."""

    path: str
    max_size: int
    max_files: int


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the output streams."""

    capture: int | None = None
    log: Log | None = None
    direct: bool = False
    attach: bool = False


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="hello"):
    """First message of a connection."""

    version: int


class Sealed(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="sealed"):
    """The packet is in a sealed memfd."""


class Program(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="program"):
    """A seccomp program under its hash."""

    hash: str
    code: bytes


class RootMount(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="root"):
    """Keep a detached mount at /roots/<key>."""

    key: int
    fds: Fds


class Unroot(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="unroot"):
    """Let go of it."""

    key: int


class Launch(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="launch"):
    """Launch a container."""

    req: int
    id: str
    spec: LaunchSpec
    output: Output
    blob: bytes
    hold_ms: int = 0
    watch_oom: bool = False
    # Last, so that the outbox can put it in when it knows the packet.
    fds: Fds = NO_FDS


class Exec(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="exec"):
    """Join a program to a container."""

    req: int
    id: str
    exec: str
    spec: ExecLaunch
    output: Output
    hold_ms: int = 0
    fds: Fds = NO_FDS


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="signal"):
    """Send a signal to PID 1 of a container (or an exec's program)."""

    req: int
    id: str
    exec: str | None
    signal: int


class Resize(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="resize"):
    """Set the terminal's size."""

    req: int
    id: str
    exec: str | None
    rows: int
    cols: int


class CloseStdin(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="close_stdin"):
    """Close the keeper's copy of the standard input's pipe."""

    req: int
    id: str
    exec: str | None


class Attach(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="attach"):
    """Get descriptors of a container's stdio."""

    req: int
    id: str
    exec: str | None


class List(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="list"):
    """List everything."""

    req: int


class Captured(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="captured"):
    """Fetch a piece of captured output."""

    req: int
    id: str
    exec: str | None
    stream: int
    offset: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="ack"):
    """The engine has these exits safe."""

    ids: tuple[tuple[str, str | None], ...]


class GetInfo(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="info"):
    """Counters."""

    req: int


Request = (
    Hello
    | Sealed
    | Program
    | RootMount
    | Unroot
    | Launch
    | Exec
    | Signal
    | Resize
    | CloseStdin
    | Attach
    | List
    | Captured
    | Ack
    | GetInfo
)


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended."""

    code: int
    signal: int | None
    oom: bool
    finished_at: int
    stdout_total: int
    stderr_total: int
    stdout: bytes
    stderr: bytes
    seq: int
    duration_ns: int = 0


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Details of a start (``Started`` in Rust)."""

    pid: int
    start_ticks: int
    started_at: int
    timings: Timings
    started_boot: int = 0


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="welcome"):
    """Answer to hello."""

    version: int
    pid: int
    window: int
    capacity: int
    containers: int
    next_root: int = 0


class Started(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="started"):
    """The program runs."""

    req: int
    id: str
    exec: str | None
    started: Start
    fds: Fds


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="ended"):
    """The program ran and has ended; `req` is the launch's where `started` is there, else 0."""

    req: int
    id: str
    exec: str | None
    started: Start | None
    exit: Exit
    fds: Fds


class Oom(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="oom"):
    """The kernel has killed for want of memory; `kills` so far in all."""

    id: str
    kills: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="failed"):
    """The launch failed."""

    req: int
    id: str
    exec: str | None
    error: LaunchError


class Attached(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="attached"):
    """Answer to attach."""

    req: int
    streams: int
    fds: Fds


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="entry"):
    """One container, for list."""

    req: int
    id: str
    blob: bytes
    started: Start | None
    exit: Exit | None
    execs: tuple[tuple[str, Exit | None], ...]
    oom_kills: int = 0


class Piece(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="piece"):
    """Answer to captured."""

    req: int
    data: bytes


class Info(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="info"):
    """Answer to info."""

    req: int
    counters: tuple[tuple[str, int], ...]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="done"):
    """It was done."""

    req: int


class Error(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="error"):
    """It was refused; `req` 0: the connection is at fault and ends."""

    req: int
    code: str
    message: str


Reply = Welcome | Started | Ended | Oom | Failed | Attached | Entry | Piece | Info | Done | Error
