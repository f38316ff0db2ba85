# ruff: noqa: A002, ARG002 - the interface of an engine, of which a fake needs little
"""An engine without containers: what a spec's first word says is what it does. For the server, which must not mind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_one_way_pair

from ardock.model.container import ContainerInfo, ContainerSummary, Created, EngineInfo, Filters, Listing, WaitCondition
from ardock.model.errors import ArdockError, Cancelled, CommandNotFound, Conflict, InvalidArgument, NotFound
from ardock.model.events import Cursor, Event, EventItem
from ardock.model.image import Change, DiskUsage, ImageInfo
from ardock.model.logs import LogItem, LogQuery
from ardock.model.records import ExitRecord, RunResult, Timings
from ardock.model.registry import Credentials
from ardock.model.spec import ContainerSpec, ExecSpec
from ardock.server.served import Done
from tests.server.fake_images import FakeImages

ID = "c" * 64


class FakeHandle:
    """A run that ends when it is told to."""

    def __init__(self, engine: FakeEngine, name: str, done: Done) -> None:
        self.engine, self.name, self.dones = engine, name, [done]
        self.over = False

    def finish(self, answer: RunResult | ArdockError) -> None:
        if not self.over:
            self.over = True
            for done in self.dones:
                done(answer)

    def cancel(self) -> None:
        self.engine.tell(f"cancel {self.name}")
        self.engine.token.run_sync_soon(self.finish, Cancelled("the call was cancelled"))

    def abandon(self, *, may_return: bool) -> None:
        self.engine.tell(f"abandon {self.name} may_return={may_return}")
        if not may_return:
            self.finish(Cancelled("the call was cancelled"))


class FakeProgram:
    """A program that was started."""

    def __init__(self, engine: FakeEngine, name: str, *, exec_id: str | None, tty: bool, stdin_open: bool) -> None:
        self.engine, self.name = engine, name
        self.id, self.exec_id, self.pid, self.started_at = ID, exec_id, 42, 7
        self.timings = Timings(total=5)
        self.ended = trio.Event()
        self.exit: ExitRecord | None = None
        self.input: MemoryReceiveStream
        stdin, self.input = memory_stream_one_way_pair()
        self.output, stdout = memory_stream_one_way_pair()
        self.errors, stderr = memory_stream_one_way_pair()
        self.stdin: MemorySendStream | None = stdin if stdin_open and not tty else None
        self.stdout: MemoryReceiveStream | None = None if tty else stdout
        self.stderr: MemoryReceiveStream | None = None if tty else stderr
        self.terminal = trio.StapledStream(stdin, stdout) if tty else None

    def end(self, code: int = 0, *, holds_output: bool = False) -> None:
        """It ends; `holds_output`: a child of its has its output open."""
        if self.exit is None:
            self.exit = ExitRecord(id=ID, exec_id=self.exec_id, exit_code=code)
            if not holds_output:
                self.output.close()
                self.errors.close()
            self.ended.set()

    async def cat(self) -> None:
        """Be cat(1): say on stderr what was said on stdin, too."""
        async for data in self.input:
            await self.output.send_all(data)
            await self.errors.send_all(data.upper())
        self.end()

    async def wait(self) -> ExitRecord:
        await self.ended.wait()
        assert self.exit is not None
        return self.exit

    async def kill(self, signal: int | str = "SIGKILL") -> None:
        self.end(137)

    async def resize(self, rows: int, columns: int) -> None:
        self.engine.tell(f"resize {rows}x{columns}")

    async def stop(self, timeout: float | None = None) -> ExitRecord:
        self.end(143)
        return await self.wait()

    async def exec(self, argv: Sequence[str] | ExecSpec) -> FakeProgram:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.engine.tell(f"kill {self.name}" if self.exit is None else f"close {self.name}")
        self.end(137)
        await trio.lowlevel.checkpoint()

    def release(self) -> None:
        self.engine.tell(f"release {self.name}")


class FakeAttachment:
    def __init__(self, engine: FakeEngine, program: FakeProgram) -> None:
        self.engine, self.program = engine, program
        self.stdin, self.stdout, self.stderr = program.stdin, program.stdout, program.stderr
        self.terminal = program.terminal
        self.missed = 0

    async def aclose(self) -> None:
        self.engine.tell("detach")
        await trio.lowlevel.checkpoint()


class FakeContainers:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.handles: dict[str, FakeHandle] = {}
        self.requests: dict[str, FakeHandle] = {}
        self.runs: list[str] = []
        self.programs: dict[str, FakeProgram] = {}
        self.attachments: list[FakeAttachment] = []
        self.gate = trio.Event()
        self.listed = [ContainerSummary(id=ID, name="one")]
        self.log: list[LogItem] = []
        self.most_running = 0

    def run_nowait(
        self,
        spec: ContainerSpec,
        *,
        input: bytes | None = None,
        max_output: int = 1 << 20,
        request_id: str | None = None,
        done: Done,
        launched: Callable[[], None] | None = None,
    ) -> FakeHandle:
        if request_id is not None and request_id in self.requests:
            handle = self.requests[request_id]
            handle.dones.append(done)
            return handle
        name = spec.name or spec.argv[-1]
        handle = self.handles[name] = FakeHandle(self.engine, name, done)
        self.runs.append(name)
        running = sum(1 for other in self.handles.values() if not other.over)
        self.most_running = max(self.most_running, running)
        if request_id is not None:
            self.requests[request_id] = handle
        match spec.argv:
            case ("echo", text):
                handle.finish(RunResult(id=ID, exit_code=0, stdout=text.encode() + (input or b""), timings=Timings()))
            case ("later", text):
                result = RunResult(id=ID, exit_code=0, stdout=text.encode(), timings=Timings())
                self.engine.token.run_sync_soon(handle.finish, result)
            case ("zeros", size):
                handle.finish(
                    RunResult(id=ID, exit_code=3, stdout=b"\0" * int(size), stderr=b"\1" * 10, timings=Timings())
                )
            case ("hang", _):
                if launched is not None:
                    launched()
            case ("queue", _):
                pass
            case _:
                handle.finish(CommandNotFound(f"could not execute {spec.argv[0]}", step="exec", errno=2))
        return handle

    def exec_run_nowait(
        self,
        ref: str,
        spec: ExecSpec,
        *,
        input: bytes | None = None,
        max_output: int = 1 << 20,
        request_id: str | None = None,
        done: Done,
    ) -> FakeHandle:
        if ref != "one":
            handle = FakeHandle(self.engine, ref, done)
            handle.finish(NotFound(f"no such container: {ref}"))
            return handle
        return self.run_nowait(ContainerSpec(argv=spec.argv), input=input, request_id=request_id, done=done)

    async def spawn_as(self, spec: ContainerSpec, *, bound: bool) -> FakeProgram:
        assert not bound
        return self._program(spec.name or "spawned", spec.argv, None, tty=spec.tty, stdin_open=spec.stdin_open)

    async def exec(self, ref: str, argv: ExecSpec) -> FakeProgram:
        return self._program("joined", argv.argv, "e" * 64, tty=argv.tty, stdin_open=argv.stdin_open)

    def _program(
        self, name: str, argv: Sequence[str], exec_id: str | None, *, tty: bool, stdin_open: bool
    ) -> FakeProgram:
        if argv[0] == "missing":
            raise CommandNotFound("could not execute missing")
        program = self.programs[name] = FakeProgram(self.engine, name, exec_id=exec_id, tty=tty, stdin_open=stdin_open)
        if argv[0] == "cat":
            self.engine.nursery.start_soon(program.cat)
        return program

    async def create(self, argv: ContainerSpec, *, remove: bool = False) -> Created:
        self.runs.append(f"create {argv.name}")
        await trio.lowlevel.checkpoint()
        if argv.name == "taken":
            raise Conflict("the name taken is in use")
        if argv.name == "slow":
            await self.gate.wait()
        return Created(id=ID, name=argv.name or "x")

    async def start(self, ref: str) -> None:
        self.engine.tell(f"start {ref}")

    async def stop(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        self.engine.tell(f"stop {ref} {timeout} {signal}")

    async def restart(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        self.engine.tell(f"restart {ref} {timeout} {signal}")

    async def kill(self, ref: str, signal: int | str = "SIGKILL", *, exec_id: str | None = None) -> None:
        self.engine.tell(f"signal {ref} {signal} {exec_id}")

    async def rename(self, ref: str, name: str) -> None:
        self.engine.tell(f"rename {ref} {name}")

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        if ref == "bug":
            raise ZeroDivisionError("a bug")
        self.engine.tell(f"remove {ref} {force} {volumes}")

    async def resize(self, ref: str, rows: int, columns: int, *, exec_id: str | None = None) -> None:
        self.engine.tell(f"resize {ref} {rows}x{columns} {exec_id}")

    async def exec_detached(self, ref: str, argv: ExecSpec) -> str:
        return "e" * 64

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitRecord:
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.engine.tell(f"no longer waits for {ref}")
            raise
        return ExitRecord(id=ref, exit_code=5)

    def inspect_nowait(self, ref: str) -> ContainerInfo:
        if ref != "one":
            raise NotFound(f"no such container: {ref}")
        return ContainerInfo(id=ID, name="one", spec=ContainerSpec(argv=("sh",)))

    async def list(self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None) -> Listing:
        if filters and "bad" in filters:
            raise InvalidArgument("there is no filter bad", field="filters")
        return Listing(containers=self.listed, epoch="0" * 8, seq=3)

    @asynccontextmanager
    async def logs(self, ref: str, query: LogQuery | None = None) -> AsyncIterator[AsyncIterator[LogItem]]:
        if ref != "one":
            raise NotFound(f"no such container: {ref}")

        async def items() -> AsyncIterator[LogItem]:
            for item in self.log:
                await trio.lowlevel.checkpoint()
                yield item
            if query is not None and query.follow:
                await self.gate.wait()

        try:
            yield items()
        finally:
            self.engine.tell("log closed")

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
        self.engine.tell(f"commit {ref} {name} {author} {message} {list(changes)} {pause}")
        return ImageInfo(id="sha256:" + "3" * 64)

    async def diff(self, ref: str) -> Sequence[Change]:
        if ref != "one":
            raise NotFound(f"no such container: {ref}")
        return [Change("A", f"/{number}") for number in range(20_000)]

    @asynccontextmanager
    async def export(self, ref: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"tar of "
            yield ref.encode()

        yield pieces()

    async def attach(
        self, ref: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True
    ) -> FakeAttachment:
        attachment = FakeAttachment(self.engine, self.programs[ref])
        self.attachments.append(attachment)
        return attachment


class FakeSubscription:
    def __init__(self, events: FakeEvents, seq: int) -> None:
        self.events, self.seq = events, seq
        self.taken = 0

    async def next_encoded(self, max_bytes: int) -> tuple[int, bytes]:
        while self.seq >= len(self.events.journal):
            if self.events.closed:
                return 0, b""
            await self.events.more.park()
        found: list[bytes] = []
        while self.seq < len(self.events.journal) and (not found or sum(map(len, found)) < max_bytes):
            found.append(msgspec.msgpack.encode(self.events.journal[self.seq]))
            self.seq += 1
        self.taken += len(found)
        await trio.lowlevel.checkpoint()
        return len(found), b"".join(found)


class FakeEvents:
    def __init__(self) -> None:
        self.journal: list[EventItem] = []
        self.more = trio.lowlevel.ParkingLot()
        self.closed = False
        self.subscriptions: list[FakeSubscription] = []

    def add(self, count: int = 1, size: int = 0) -> None:
        for _ in range(count):
            number = len(self.journal) + 1
            self.journal.append(
                Event(epoch="0" * 8, seq=number, time=number, type="container", action="die", id=ID, name="x" * size)
            )
        self.more.unpark_all()

    async def cursor(self) -> Cursor:
        return Cursor("0" * 8, len(self.journal))

    @asynccontextmanager
    async def subscribe(
        self,
        *,
        since: Cursor | int | None = None,
        until: int | None = None,
        filters: Filters | None = None,
        heartbeat: float = 10.0,
    ) -> AsyncIterator[FakeSubscription]:
        if filters and "bad" in filters:
            raise InvalidArgument("there is no filter bad", field="filters")
        found = FakeSubscription(self, since.seq if isinstance(since, Cursor) else len(self.journal))
        self.subscriptions.append(found)
        yield found


class FakeRequests:
    def __init__(self) -> None:
        self.results: dict[str, bytes] = {}
        self.done = trio.Event()

    async def once(self, request_id: str, method: str, call: Callable[[], Awaitable[bytes]]) -> bytes:
        key = f"{method} {request_id}"
        if key not in self.results:
            self.results[key] = await call()
            self.done.set()
        return self.results[key]


class FakeEngine:
    """Attributes: told: what it was told, in order."""

    def __init__(self, nursery: trio.Nursery, run_dir: Path) -> None:
        self.id = "0123abcd"
        self.run_dir = run_dir
        self.nursery = nursery
        self.token = trio.lowlevel.current_trio_token()
        self.told: list[str] = []
        self.news = trio.lowlevel.ParkingLot()
        self.containers = FakeContainers(self)
        self.events = FakeEvents()
        self.images = FakeImages(self.tell)
        self.requests = FakeRequests()

    async def disk_usage(self) -> DiskUsage:
        return DiskUsage(layers_size=9)

    async def info(self) -> EngineInfo:
        return EngineInfo(id=self.id)

    async def login(self, server: str, credentials: Credentials) -> str:
        self.tell(f"login {server} {credentials.username}")
        return "a token"

    def tell(self, text: str) -> None:
        """It was told something."""
        self.told.append(text)
        self.news.unpark_all()

    async def until_told(self, text: str) -> None:
        """Wait until it was told that; the test's time limit bounds it."""
        while text not in self.told:
            await self.news.park()


def result(stdout: bytes) -> RunResult:
    """Of a run that ended well."""
    return RunResult(id=ID, exit_code=0, stdout=stdout, timings=Timings())


def as_any(value: object) -> Any:  # noqa: ANN401 - see there
    """The fake has what the server uses of an engine, and no more than that."""
    return value
