"""What an engine offers, wherever it runs: `open_engine` gives it in-process, `connect` over a socket.

One interface, two implementations (`ardock.engine.Engine`, `ardock.client.RemoteEngine`), one test suite for both. A
container is named by its id, by a prefix of it that fits no other, or by its name: ``ref`` below.

What happens when a caller goes away in the middle is part of the interface: `run`, `run_many`, `spawn`, `exec` and `exec_run`
end what they started (the program is killed and awaited); every other call is done whole or not at all, and cancelling one
that waits (`wait`, `logs`, `attach`, `subscribe`, `stop`) leaves the container as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, Unpack

from trio.abc import ReceiveStream, SendStream, Stream

from ardock.model.container import ContainerInfo, Created, EngineInfo, Filters, Listing, WaitCondition
from ardock.model.events import Cursor, EventItem
from ardock.model.image import (
    Change,
    DiskUsage,
    HistoryEntry,
    ImageDetails,
    ImageInfo,
    Loaded,
    Progress,
    Pruned,
    Pushed,
    StoreCheck,
)
from ardock.model.logs import LogItem, LogQuery
from ardock.model.records import ExitRecord, RunResult, Timings
from ardock.model.registry import Credentials
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec
from ardock.model.volume import PrunedVolumes, VolumeInfo

DEFAULT_MAX_OUTPUT = 1 << 20
OnProgress = Callable[[Progress], None]


class Closing(Protocol):
    """What is closed when it is left as an async context manager."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it. Safe to call again, and when cancelled."""

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """`aclose`."""
        await self.aclose()


class OutputStream(ReceiveStream):
    """A program's standard output or error: b"" at its end."""

    async def read_all(self) -> bytes:
        """All bytes up to the end."""
        chunks: list[bytes] = []
        while chunk := await self.receive_some(1 << 16):
            chunks.append(bytes(chunk))
        return b"".join(chunks)


class RunningProgram(Closing, Protocol):
    """A program that was started, with its streams; an async context manager that kills it when left."""

    @property
    def id(self) -> str:
        """The container's id."""

    @property
    def exec_id(self) -> str | None:
        """The exec's id; None for the container's first program."""

    @property
    def pid(self) -> int:
        """Process id on the host."""

    @property
    def started_at(self) -> int:
        """Wall clock, ns since 1970."""

    @property
    def timings(self) -> Timings:
        """Where the launch's time went."""

    @property
    def stdin(self) -> SendStream | None:
        """Where `stdin_open` (and no terminal): its standard input. `aclose` it to end the input."""

    @property
    def stdout(self) -> OutputStream | None:
        """Without a terminal: its standard output. Ends when nobody can write to it any more."""

    @property
    def stderr(self) -> OutputStream | None:
        """Without a terminal: its standard error."""

    @property
    def terminal(self) -> Stream | None:
        """With `tty`: the terminal, for both directions; reading gives b"" once the program has closed it."""

    @property
    def exit(self) -> ExitRecord | None:
        """How it ended; None while it runs."""

    async def wait(self) -> ExitRecord:
        """Wait for its end; any number of tasks may, also afterwards."""

    async def kill(self, signal: int | str = "SIGKILL") -> None:
        """Send a signal to it."""

    async def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""

    async def aclose(self) -> None:
        """Kill it if it still runs, await its end, close its streams."""


class RunningContainer(RunningProgram, Protocol):
    """A throw-away container that was started."""

    async def stop(self, timeout: float | None = None) -> ExitRecord:
        """Send its stop signal, wait, then SIGKILL."""

    async def exec(self, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to it."""


class Attachment(Closing, Protocol):
    """A container's streams; leaving it detaches, and the container goes on.

    `stdin`, `stdout` and `stderr` (or `terminal`) are there as they were asked for. Output comes from the container's start:
    attached before the start, at the reader's pace; to a running one, from its log, where a reader that rotation passes by
    misses bytes (`missed` counts them).
    """

    @property
    def stdin(self) -> SendStream | None:
        """Where it was asked for and there is no terminal: standard input."""

    @property
    def stdout(self) -> OutputStream | None:
        """Where it was asked for and there is no terminal: standard output."""

    @property
    def stderr(self) -> OutputStream | None:
        """Where it was asked for and there is no terminal: standard error."""

    @property
    def terminal(self) -> Stream | None:
        """With a terminal: both directions."""

    @property
    def missed(self) -> int:
        """Bytes of output that rotation has passed the reader by."""

    async def aclose(self) -> None:
        """Detach."""


class RunMany(Closing, Protocol):
    """Results of many containers in the order in which they end; an async iterator and context manager."""

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> RunResult:
        """The next container that has ended."""

    async def aclose(self) -> None:
        """Kill what still runs and await its end."""


class Containers(Protocol):
    """The containers of one engine. Errors are those of `ardock.model.errors`."""

    # Thrown away when they end:

    async def run(
        self,
        argv: Sequence[str] | ContainerSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - subprocess.run's name for it
        max_output: int = DEFAULT_MAX_OUTPUT,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Run a container to its end and return its exit code and output. Cancelled, it kills the container."""

    def run_many(
        self,
        specs: Iterable[ContainerSpec],
        *,
        max_output: int = DEFAULT_MAX_OUTPUT,
        in_flight: int | None = None,
    ) -> RunMany:
        """Run many; one that cannot be started is a result with `error` set and the others go on."""

    async def spawn(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start one and return it running, with its streams."""

    # Kept until they are removed:

    async def create(
        self, argv: Sequence[str] | ContainerSpec, *, remove: bool = False, **options: Unpack[ContainerOptions]
    ) -> Created:
        """Make a container without starting it.

        Args:
            argv: Program and arguments; or a whole `ContainerSpec`, which `options` then change.
            remove: Remove it when it has ended. Such a one is not written down before it starts.
            options: The fields of `ContainerSpec`.

        Raises:
            Conflict: The name is taken.
            DiskFull: It cannot be written down.
        """

    async def start(self, ref: str) -> None:
        """Start a created or ended container. Conflict: it runs."""

    async def stop(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """Send its stop signal, wait `timeout` seconds (None: the container's own), then SIGKILL; returns when it has ended.

        One that does not run is left as it is. Cancelled in between, the container may go on.
        """

    async def restart(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """`stop`, then `start`."""

    async def kill(self, ref: str, signal: int | str = "SIGKILL", *, exec_id: str | None = None) -> None:
        """Send a signal to its first program, or to that of one of its execs. NotRunning: it has ended."""

    async def rename(self, ref: str, name: str) -> None:
        """Give it another name. Conflict: that is taken."""

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitRecord:
        """Wait for its end; answered after its removal too, for the engine's retention time."""

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and its writable layer and log. Conflict: it runs and `force` (which kills it) is not given.

        With `volumes` its anonymous volumes go, too, but for those that other containers have; without they stay, to be removed
        by themselves. Those of a container that is removed when it has ended always go with it.
        """

    async def inspect(self, ref: str) -> ContainerInfo:
        """All about one."""

    async def list(self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None) -> Listing:  # noqa: A002 - Docker's name
        """Containers, newest first; those that run unless `all`, or `limit` (the newest so many, in whatever state).

        Filters are Docker's: ``id``, ``name``, ``label``, ``status``, ``exited``, ``ancestor``, ``before``, ``since``,
        ``network``, ``volume``. InvalidArgument: there is no such filter or value.
        """

    def logs(self, ref: str, query: LogQuery | None = None) -> AbstractAsyncContextManager[AsyncIterator[LogItem]]:
        """Its log, in order. NotFound; InvalidArgument: it keeps none."""

    async def attach(self, ref: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Its streams. With a terminal, `stdout` is the terminal's output and `stdin` its input."""

    async def exec(self, ref: str, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to a running container. NotRunning: it has ended."""

    async def exec_detached(self, ref: str, argv: Sequence[str] | ExecSpec) -> str:
        """Join a program that nobody waits for; the exec's id."""

    async def exec_run(
        self,
        ref: str,
        argv: Sequence[str] | ExecSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> RunResult:
        """Join a program, wait for its end, and return its exit code and output (`RunResult.id` is the container's)."""

    async def resize(self, ref: str, rows: int, columns: int, *, exec_id: str | None = None) -> None:
        """Set the size of its terminal, or of that of one of its execs."""

    async def commit(
        self,
        ref: str,
        name: str = "",
        *,
        author: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        pause: bool = True,
    ) -> ImageInfo:
        """Make an image of what a container has written, on top of its own.

        Args:
            ref: The container, running or not.
            name: ``name[:tag]``; empty gives it none.
            author: Who.
            message: Comment of its history.
            changes: Instructions of a Dockerfile that set the configuration, such as ``CMD ["sh"]``.
            pause: Freeze the container meanwhile, so that its files fit each other.

        Raises:
            InvalidArgument: It stands on no image, or a change is malformed.
        """

    async def diff(self, ref: str) -> Sequence[Change]:
        """How its root differs from what it stands on, in the order of the paths."""

    def export(self, ref: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Its root file system as a tar, in pieces; without what is mounted in it."""


class Events(Protocol):
    """The journal of one engine."""

    async def cursor(self) -> Cursor:
        """The place after the last event."""

    def subscribe(
        self,
        *,
        since: Cursor | int | None = None,
        until: int | None = None,
        filters: Filters | None = None,
        heartbeat: float = 10.0,
    ) -> AbstractAsyncContextManager[AsyncIterator[EventItem]]:
        """Events in order, from `since` on, for as long as the context is open.

        Args:
            since: After this place; or at or after this wall clock (ns since 1970); None: what happens from now on.
            until: End with the last event before this wall clock (ns since 1970); None never ends.
            filters: ``type``, ``event`` (action), ``container`` and ``image`` (id, prefix of an id or name), ``volume`` (name), ``label``
                (``key`` or ``key=value``).
            heartbeat: Seconds without an item after which a `Heartbeat` comes.
        """


class Images(Protocol):
    """The images of one engine. ``ref`` is a name (``name[:tag][@digest]``), an id, or a prefix of an id that fits no other.

    `progress` is called in the caller's task with what has changed, some times a second; what it raises ends the call.
    """

    async def pull(
        self,
        ref: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        progress: OnProgress | None = None,
    ) -> ImageInfo:
        """Fetch an image from its registry, and give it its name. What is here already is not fetched again.

        Cancelled, nothing of it is kept that no other call or image needs.

        Args:
            ref: ``[registry/]name[:tag][@digest]``; no tag and no digest is ``latest``.
            platform: ``os[/architecture[/variant]]``; empty is this machine's.
            credentials: For the registry; None is anonymous.
            progress: Told how far it is.

        Raises:
            InvalidArgument: `ref` or `platform` is malformed.
            NotFound: The registry has no such image, or not for the platform.
            NotPermitted: The registry wants (other) credentials.
            RegistryUnavailable: It cannot be reached, or breaks.
            ContentDamaged: What came is not what its digest says; nothing of it is kept.
            Unsupported: It is in a format that is not taken (such as schema 1).
            DiskFull: Nothing of it is left.
        """

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, progress: OnProgress | None = None
    ) -> Pushed:
        """Send the image of that name to its registry; errors as `pull`, and NotFound: there is no such image here."""

    async def tag(self, ref: str, name: str) -> None:
        """Give an image another name, which moves from the image that has it."""

    async def load(
        self,
        source: str | Path | AsyncIterator[bytes],
        *,
        platform: str = "",
        progress: OnProgress | None = None,
    ) -> Sequence[Loaded]:
        """Take over the images of an archive: an OCI layout (as a folder of the engine's machine or a tar) or Docker's.

        Args:
            source: A path on the engine's machine, or the tar's bytes, plain or compressed with gzip or zstd.
            platform: Of an image of several, only this one; empty is this machine's.
            progress: Told how far it is.

        Raises:
            InvalidArgument: It is no such archive, or is damaged; nothing of it is kept.
            As `import_tree` for the rest.
        """

    def save(self, refs: Sequence[str], *, platform: str = "") -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Images as one tar that is both an OCI layout and what ``docker load`` takes, in pieces."""

    async def import_tree(
        self, path: str | Path, name: str, *, changes: Sequence[str] = (), message: str = "", platform: str = ""
    ) -> ImageInfo:
        """Make an image of one layer of a directory of the engine's machine, or of a tar there.

        Args:
            path: Absolute.
            name: ``name[:tag]``; empty gives it none.
            changes: Instructions of a Dockerfile that set the configuration, such as ``CMD ["sh"]``.
            message: Comment of its history.
            platform: ``os[/architecture[/variant]]``; empty is this machine's.
        """

    async def import_tar(
        self,
        chunks: AsyncIterator[bytes],
        name: str,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> ImageInfo:
        """As `import_tree`, of a tar that comes in pieces, plain or compressed with gzip or zstd."""

    async def list(self) -> Sequence[ImageInfo]:
        """All of them, newest first."""

    async def inspect(self, ref: str) -> ImageDetails:
        """All about one."""

    async def history(self, ref: str) -> Sequence[HistoryEntry]:
        """How one was made, the last step first."""

    async def remove(self, ref: str, *, force: bool = False) -> Sequence[str]:
        """Take a name off an image, and remove the image with its last one; what was done, as Docker tells it.

        Conflict: a container uses it and `force` is not given.
        """

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> Pruned:  # noqa: A002 - Docker's name
        """Remove images without a name, or with `all` every image that no container uses.

        Filters are Docker's: ``until`` (ns since 1970), ``label``, ``label!``.
        """

    async def check(self, *, progress: OnProgress | None = None) -> StoreCheck:
        """Take the digest of everything that is stored, and build the index anew from it (``ardock image fsck``).

        What is damaged is removed where it can be had again (an unpacked layer whose blob is whole), and told.
        """


class Volumes(Protocol):
    """The volumes of one engine: directories, or file systems mounted as needed, that outlive containers.

    A container names them in its `Mount`s; those that are not there are made with it.
    """

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeInfo:
        """Make a volume, or find the one that is there.

        Args:
            name: 2 or more of ``[a-zA-Z0-9_.-]``, beginning with a letter or digit; empty: an anonymous one, of 64 hexadecimal
                digits.
            driver: ``"local"`` alone.
            options: None is a directory of the engine's. Else ``type``, ``device`` and ``o`` as mount(8) has them, mounted when
                the first container uses it and unmounted when the last one has ended: ``{"type": "tmpfs", "device": "tmpfs",
                "o": "size=100m"}``; with ``type`` ``none`` and ``o`` ``bind`` a directory of the host's.
            labels: Key-value pairs.

        Raises:
            InvalidArgument: The name is none, or there is no such option.
            Unsupported: There is no such driver.
            Conflict: A volume of that name is there with other options.
            DiskFull: The disk is full.
        """

    async def list(self, *, filters: Filters | None = None, sizes: bool = False) -> Sequence[VolumeInfo]:
        """All of them, by name.

        Args:
            filters: ``name`` (a regular expression), ``driver``, ``label`` (``key`` or ``key=value``), ``dangling`` (``true``: no
                container has it).
            sizes: Count what each holds, which takes as long as reading its directories.

        Raises:
            InvalidArgument: There is no such filter or value.
        """

    async def inspect(self, name: str) -> VolumeInfo:
        """One. NotFound: there is none of that name."""

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove one and what is in it.

        Args:
            name: Its name.
            force: It is no error where there is none.

        Raises:
            NotFound: There is none of that name.
            Conflict: Containers have it among their mounts, running or not; it names them.
        """

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> PrunedVolumes:  # noqa: A002 - Docker's name
        """Remove those that no container has among its mounts.

        Args:
            all: Also those that have a name of the user's; else anonymous ones alone.
            filters: ``label`` and ``label!`` (``key`` or ``key=value``), and ``all``.

        Raises:
            InvalidArgument: There is no such filter or value.
        """


class Engine(Protocol):
    """What `open_engine` and `connect` give.

    Attributes:
        id: 8 hexadecimal digits.
        containers: Its containers.
        events: Its journal.
        images: Its images.
        volumes: Its volumes.
    """

    @property
    def id(self) -> str:
        """8 hexadecimal digits."""

    @property
    def containers(self) -> Containers:
        """Its containers."""

    @property
    def events(self) -> Events:
        """Its journal."""

    @property
    def images(self) -> Images:
        """Its images."""

    @property
    def volumes(self) -> Volumes:
        """Its volumes."""

    async def login(self, server: str, credentials: Credentials) -> str:
        """See whether a registry takes these credentials, which are not kept: `ardock.credentials` does that.

        Args:
            server: The registry: ``docker.io``, or its ``host[:port]``.
            credentials: For it.

        Returns:
            An identity token that stands for them from now on, where the registry gives such; else empty.

        Raises:
            NotPermitted: It does not take them.
            NotFound: There is no registry.
            RegistryUnavailable: It cannot be reached, or goes on failing.
        """

    async def info(self) -> EngineInfo:
        """About the engine."""

    async def disk_usage(self) -> DiskUsage:
        """Where the disk's room went."""
