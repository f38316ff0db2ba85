"""What the server needs of an engine beyond `ardock.interface`: the ways in that cost no task and no wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from ardock import interface
from ardock.model.container import ContainerInfo, EngineInfo, Filters
from ardock.model.errors import ArdockError
from ardock.model.events import Cursor
from ardock.model.image import DiskUsage
from ardock.model.records import RunResult
from ardock.model.registry import Credentials
from ardock.model.spec import ContainerSpec, ExecSpec

# Told the result, or why there is none; exactly once, in the engine's thread.
Done = Callable[[RunResult | ArdockError], None]


class Handle(Protocol):
    """A run or exec under way."""

    def cancel(self) -> None:
        """Kill it; `done` is told `Cancelled` when it has ended."""

    def abandon(self, *, may_return: bool) -> None:
        """Its caller is gone: kill it, at once or (`may_return`) when that does not come back with its request id in time."""


class Running(interface.RunningProgram, Protocol):
    """A program that was started."""

    def release(self) -> None:
        """Close its streams and let it go on by itself."""


class Containers(interface.Containers, Protocol):
    """Containers, with the ways in that need no task."""

    def run_nowait(
        self,
        spec: ContainerSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = ...,
        request_id: str | None = None,
        done: Done,
        launched: Callable[[], None] | None = None,
    ) -> Handle:
        """`run`, which goes on when this process ends. `launched` is called once it no longer queues, unless `done` is."""

    def exec_run_nowait(
        self,
        ref: str,
        spec: ExecSpec,
        *,
        input: bytes | None = None,  # noqa: A002 - as `run`
        max_output: int = ...,
        request_id: str | None = None,
        done: Done,
    ) -> Handle:
        """`exec_run`."""

    async def spawn_as(self, spec: ContainerSpec, *, bound: bool) -> Running:
        """`spawn`; not `bound`, it goes on when this process ends."""

    async def exec(self, ref: str, argv: ExecSpec) -> Running:  # type: ignore[override] # the server has specs only
        """Join a program to a running container."""

    def inspect_nowait(self, ref: str) -> ContainerInfo:
        """`inspect`, from memory."""


class Subscription(Protocol):
    """A subscriber's place in the journal."""

    async def next_encoded(self, max_bytes: int) -> tuple[int, bytes]:
        """So many next items, encoded one after the other, at least one unless the subscription is over."""


class Events(Protocol):
    """The journal, as bytes."""

    async def cursor(self) -> Cursor:
        """The place after the last event."""

    def subscribe(
        self,
        *,
        since: Cursor | int | None = None,
        until: int | None = None,
        filters: Filters | None = None,
        heartbeat: float = 10.0,
    ) -> AbstractAsyncContextManager[Subscription]:
        """As `ardock.interface.Events.subscribe`."""


class Requests(Protocol):
    """Calls that may be repeated."""

    async def once(self, request_id: str, method: str, call: Callable[[], Awaitable[bytes]]) -> bytes:
        """The encoded result of `call`, which is carried out unless one with this request id was."""


class Engine(Protocol):
    """An engine that can be served."""

    id: str
    run_dir: Path

    @property
    def containers(self) -> Containers:
        """Its containers."""

    @property
    def events(self) -> Events:
        """Its journal."""

    @property
    def images(self) -> interface.Images:
        """Its images."""

    @property
    def volumes(self) -> interface.Volumes:
        """Its volumes."""

    @property
    def requests(self) -> Requests:
        """Its calls that may be repeated."""

    async def info(self) -> EngineInfo:
        """About the engine."""

    async def login(self, server: str, credentials: Credentials) -> str:
        """See whether a registry takes these credentials."""

    async def disk_usage(self) -> DiskUsage:
        """Where the disk's room went."""
