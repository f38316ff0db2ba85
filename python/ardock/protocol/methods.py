"""The methods of the API, declared once (those of images in `ardock.protocol.image_methods`: few commands need them).

A method is a record of its parameters, the type of its result, and what streams it has; the server binds each to the engine,
the clients make calls from it, ``ardock schema`` and the reference page are written from it.

All records travel as MessagePack maps; fields that have their default may be left out, unknown ones are refused.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ardock.model.container import ContainerInfo, Created, EngineInfo, Filters, Listing, WaitCondition
from ardock.model.events import Cursor, Event, Gap, Heartbeat
from ardock.model.logs import LogGap, LogQuery, LogRecord
from ardock.model.records import ExitRecord, Timings
from ardock.model.registry import Credentials
from ardock.model.spec import ContainerSpec, ExecSpec
from ardock.model.volume import PrunedVolumes, VolumeInfo

# Handed on: whoever knows a method knows these, too.
from ardock.protocol.method import Method as Method  # noqa: PLC0414
from ardock.protocol.method import NoParams as NoParams  # noqa: PLC0414
from ardock.protocol.method import Nothing as Nothing  # noqa: PLC0414
from ardock.protocol.method import Params as Params  # noqa: PLC0414


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels.

    Attributes:
        code: Stable identifier, as in `ardock.model.errors`.
        message: One clear sentence.
        details: Further attributes of that error: ``field``, ``option``, ``owner``, ``step``, ``subject``, ``errno``, ``hint``.
    """

    code: str
    message: str
    details: dict[str, str | int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A `RunResult` as it travels; the fields are the same.

    `stdout` and `stderr` are here where they are short (`INLINE_OUTPUT` bytes together), else they came as bytes of channels
    1 and 2 before this.
    """

    id: str
    index: int = 0
    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    streamed: bool = False
    truncated: bool = False
    stdout_total: int = 0
    stderr_total: int = 0
    signal: int | None = None
    oom_killed: bool = False
    timed_out: bool = False
    started_at: int = 0
    finished_at: int = 0
    timings: Timings | None = None
    error: ErrorInfo | None = None


INLINE_OUTPUT: Final = 256 << 10


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first record of `containers.spawn` and `containers.exec`: the program runs.

    Attributes:
        id: The container.
        exec_id: The exec; None for a container's first program.
        pid: Process id on the host.
        started_at: Wall clock, ns since 1970.
        timings: Where the launch's time went.
    """

    id: str
    exec_id: str | None = None
    pid: int = 0
    started_at: int = 0
    timings: Timings | None = None


class Attached(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="attached"):
    """The first record of `containers.attach`: the container is there, and its streams follow.

    Attributes:
        tty: Its output is a terminal's, on channel 1.
    """

    tty: bool = False


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="missed"):
    """A further record of `containers.attach`: rotation passed the reader by.

    Attributes:
        total: Bytes of output that it has not got so far.
    """

    total: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `engine.version`.

    Attributes:
        version: ardock's.
        protocol: This protocol's; raised when a client of the former one would no longer understand.
        engine: The engine's id.
        pid: Process id of its owner.
    """

    version: str
    protocol: int
    engine: str
    pid: int


PROTOCOL: Final = 1


class Create(Params, frozen=True, kw_only=True):
    """Parameters of `containers.create`."""

    spec: ContainerSpec
    remove: bool = False


class Ref(Params, frozen=True, kw_only=True):
    """A container: its id, a prefix of it that fits no other, or its name."""

    ref: str


class Stop(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.stop` and `containers.restart`."""

    timeout: float | None = None
    signal: int | str | None = None


class Kill(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.kill`."""

    signal: int | str = "SIGKILL"
    exec_id: str | None = None


class Rename(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.rename`."""

    name: str


class Wait(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.wait`."""

    condition: WaitCondition = "not-running"


class Remove(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.remove`; `volumes`: its anonymous volumes, too."""

    force: bool = False
    volumes: bool = False


class ListContainers(Params, frozen=True, kw_only=True):
    """Parameters of `containers.list`."""

    all: bool = False
    filters: Filters = msgspec.field(default_factory=dict)
    limit: int | None = None


class Logs(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.logs`."""

    query: LogQuery = LogQuery()


class Attach(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.attach`."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True


class Run(Params, frozen=True, kw_only=True):
    """Parameters of `containers.run`. `input` None is /dev/null."""

    spec: ContainerSpec
    input: bytes | None = None
    max_output: int = 1 << 20


class RunMany(Params, frozen=True, kw_only=True):
    """Parameters of `containers.run_many`; the specs come as records of the client's stream, which it ends."""

    max_output: int = 1 << 20
    in_flight: int | None = None


class Spawn(Params, frozen=True, kw_only=True):
    """Parameters of `containers.spawn`."""

    spec: ContainerSpec


class ExecCall(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.exec` and `containers.exec_detached`."""

    spec: ExecSpec


class ExecRun(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.exec_run`."""

    spec: ExecSpec
    input: bytes | None = None
    max_output: int = 1 << 20


class ExecId(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `containers.exec_detached`."""

    exec_id: str


class Resize(Ref, frozen=True, kw_only=True):
    """Parameters of `containers.resize`."""

    rows: int
    columns: int
    exec_id: str | None = None


class Subscribe(Params, frozen=True, kw_only=True):
    """Parameters of `events.subscribe`; see `ardock.interface.Events.subscribe`. `since_time` and `until` in ns since 1970."""

    since: Cursor | None = None
    since_time: int | None = None
    until: int | None = None
    filters: Filters = msgspec.field(default_factory=dict)
    heartbeat: float = 10.0


class CreateVolume(Params, frozen=True, kw_only=True):
    """Parameters of `volumes.create`; see `ardock.interface.Volumes.create`."""

    name: str = ""
    driver: str = "local"
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class ListVolumes(Params, frozen=True, kw_only=True):
    """Parameters of `volumes.list`; `sizes`: count what each holds."""

    filters: Filters = msgspec.field(default_factory=dict)
    sizes: bool = False


class VolumeRef(Params, frozen=True, kw_only=True):
    """A volume, by its name."""

    name: str


class RemoveVolume(VolumeRef, frozen=True, kw_only=True):
    """Parameters of `volumes.remove`; `force`: it is no error where there is none."""

    force: bool = False


class PruneVolumes(Params, frozen=True, kw_only=True):
    """Parameters of `volumes.prune`; `all`: not anonymous ones alone."""

    all: bool = False
    filters: Filters = msgspec.field(default_factory=dict)


class Volumes(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `volumes.list`."""

    volumes: list[VolumeInfo]


class Login(Params, frozen=True, kw_only=True):
    """Parameters of `registry.login`.

    Attributes:
        server: The registry: ``docker.io``, or its ``host[:port]``.
        credentials: For it.
    """

    server: str
    credentials: Credentials


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Result of `registry.login`.

    Attributes:
        identity_token: What stands for these credentials from now on, where the registry gives such a token; else empty.
    """

    identity_token: str = ""


VERSION: Final = Method(
    name="engine.version", params=NoParams, result=Version, doc="The versions of the engine and of this protocol."
)
INFO: Final = Method(name="engine.info", params=NoParams, result=EngineInfo, doc="About the engine.")
CREATE: Final = Method(
    name="containers.create",
    params=Create,
    result=Created,
    mutates=True,
    doc="Make a container without starting it.",
)
START: Final = Method(
    name="containers.start",
    params=Ref,
    result=Nothing,
    mutates=True,
    doc="Start a container; answered when its program runs. Once under way it is not undone by cancelling.",
)
STOP: Final = Method(
    name="containers.stop",
    params=Stop,
    result=Nothing,
    mutates=True,
    doc="Send the stop signal, wait, then SIGKILL; answered when it has ended. Cancelled, the container may go on.",
)
RESTART: Final = Method(
    name="containers.restart", params=Stop, result=Nothing, mutates=True, doc="Stop it if it runs, then start it."
)
KILL: Final = Method(
    name="containers.kill",
    params=Kill,
    result=Nothing,
    mutates=True,
    doc="Send a signal to a container's first program or to that of an exec.",
)
RENAME: Final = Method(
    name="containers.rename", params=Rename, result=Nothing, mutates=True, doc="Give a container another name."
)
WAIT: Final = Method(
    name="containers.wait",
    params=Wait,
    result=ExitRecord,
    doc="Wait until a container has ended, ends next, or is removed; answered after its removal too.",
)
REMOVE: Final = Method(name="containers.remove", params=Remove, result=Nothing, mutates=True, doc="Remove a container.")
INSPECT: Final = Method(name="containers.inspect", params=Ref, result=ContainerInfo, doc="All about one container.")
LIST: Final = Method(
    name="containers.list",
    params=ListContainers,
    result=Listing,
    doc="Containers, newest first, and the number of the last event that is reflected in them.",
)
LOGS: Final = Method(
    name="containers.logs",
    params=Logs,
    result=Nothing,
    receives="records",
    items=(LogRecord, LogGap),
    doc="A container's log in order; answered at its end.",
)
ATTACH: Final = Method(
    name="containers.attach",
    params=Attach,
    result=Nothing,
    sends="bytes",
    receives="bytes",
    items=(Attached, Missed),
    doc="A container's streams, its output from the start; answered when the output has ended. Cancelled, it detaches.",
)
RUN: Final = Method(
    name="containers.run",
    params=Run,
    result=Outcome,
    mutates=True,
    receives="bytes",
    doc="Run a throw-away container to its end. Cancelled, or its client gone (with a request id: for 30 s), it is killed.",
)
RUN_MANY: Final = Method(
    name="containers.run_many",
    params=RunMany,
    result=Nothing,
    mutates=True,
    sends="records",
    receives="records",
    item_in=ContainerSpec,
    items=(Outcome,),
    doc="Run many throw-away containers; results in the order in which they end. Cancelled, what still runs is killed.",
)
SPAWN: Final = Method(
    name="containers.spawn",
    params=Spawn,
    result=ExitRecord,
    mutates=True,
    sends="bytes",
    receives="bytes",
    items=(Started,),
    doc="Start a throw-away container with its streams; answered when it has ended. Cancelled, it is killed.",
)
EXEC: Final = Method(
    name="containers.exec",
    params=ExecCall,
    result=ExitRecord,
    mutates=True,
    sends="bytes",
    receives="bytes",
    items=(Started,),
    doc="Join a program to a running container; answered when it has ended. Cancelled, it is killed.",
)
EXEC_DETACHED: Final = Method(
    name="containers.exec_detached",
    params=ExecCall,
    result=ExecId,
    mutates=True,
    doc="Join a program that nobody waits for; answered when it runs.",
)
EXEC_RUN: Final = Method(
    name="containers.exec_run",
    params=ExecRun,
    result=Outcome,
    mutates=True,
    receives="bytes",
    doc="Join a program and wait for its end. Cancelled, it is killed.",
)
RESIZE: Final = Method(
    name="containers.resize",
    params=Resize,
    result=Nothing,
    mutates=True,
    doc="Set the size of a container's or an exec's terminal.",
)
CURSOR: Final = Method(
    name="events.cursor", params=NoParams, result=Cursor, doc="The place in the journal after the last event."
)
SUBSCRIBE: Final = Method(
    name="events.subscribe",
    params=Subscribe,
    result=Nothing,
    receives="records",
    items=(Event, Gap, Heartbeat),
    doc="Events in order; answered when `until` is reached.",
)

CREATE_VOLUME: Final = Method(
    name="volumes.create",
    params=CreateVolume,
    result=VolumeInfo,
    mutates=True,
    doc="Make a volume, or find the one that is there.",
)
VOLUMES: Final = Method(name="volumes.list", params=ListVolumes, result=Volumes, doc="Volumes, by name.")
VOLUME: Final = Method(name="volumes.inspect", params=VolumeRef, result=VolumeInfo, doc="About one volume.")
REMOVE_VOLUME: Final = Method(
    name="volumes.remove",
    params=RemoveVolume,
    result=Nothing,
    mutates=True,
    doc="Remove a volume that no container has among its mounts.",
)
PRUNE_VOLUMES: Final = Method(
    name="volumes.prune",
    params=PruneVolumes,
    result=PrunedVolumes,
    mutates=True,
    doc="Remove the anonymous (or all) volumes that no container has among its mounts. Cancelled, some are removed.",
)

LOGIN: Final = Method(
    name="registry.login",
    params=Login,
    result=LoggedIn,
    doc="See whether a registry takes these credentials; the engine does not keep them.",
)
