"""`Containers`: the methods of `ardock.interface.Containers`, on the keepers of one engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Unpack

import trio

from ardock.engine import clock
from ardock.engine.containers.attachments import Attachment, LogReading
from ardock.engine.containers.container import SHORT_ID, Container
from ardock.engine.containers.image_defaults import committed
from ardock.engine.containers.kept import Kept
from ardock.engine.containers.queries import matcher, shows_ended
from ardock.engine.containers.resolved import OutputKind
from ardock.engine.containers.running import RunningContainer, RunningProgram
from ardock.engine.containers.starter import Prepared
from ardock.engine.containers.throwaway import ThrowAway
from ardock.engine.logs import open_log
from ardock.model.container import ContainerInfo, Filters, Listing
from ardock.model.errors import InvalidArgument, NotRunning
from ardock.model.image import Change, ImageInfo, UsageLine
from ardock.model.logs import LogItem, LogQuery
from ardock.model.making import make_exec_spec, make_spec
from ardock.model.spec import ContainerOptions, ContainerSpec, ExecSpec, LogOptions


class Containers(ThrowAway, Kept):
    """The containers of one engine."""

    async def spawn(self, argv: Sequence[str] | ContainerSpec, **options: Unpack[ContainerOptions]) -> RunningContainer:
        """Start a throw-away container and return it running, with its streams.

        Use it as an async context manager (leaving it kills the container and awaits its end) or call `aclose`.

        Raises:
            As `run`.
        """
        return await self.spawn_as(make_spec(argv, options), bound=True)

    async def spawn_as(self, spec: ContainerSpec, *, bound: bool) -> RunningContainer:
        """As `spawn`; `bound`: it is killed when the engine closes."""
        spec = self._whole(spec)
        if self._takes_time(spec):
            async with self._prepared(spec) as prepared:
                return await self._spawn(spec, bound=bound, prepared=prepared)
        return await self._spawn(spec, bound=bound)

    async def _spawn(self, spec: ContainerSpec, *, bound: bool, prepared: Prepared | None = None) -> RunningContainer:
        # With a log, the keeper reads the output and we get a copy.
        tapped = isinstance(spec.log, LogOptions)
        output: OutputKind = "tap" if tapped else "direct"
        connection = await self._slot()
        # No checkpoint from here to where the program's end is awaited.
        container = self._begin(connection, spec, "spawn", output=output, bound=bound, prepared=prepared)
        program = container.program
        assert program is not None, "it was launched"
        await program.until_answered_or_end()
        if program.start is None:
            assert program.error is not None, "answered without a start"
            raise program.error
        return RunningContainer(container, program, self, tapped=tapped)

    async def inspect(self, ref: str) -> ContainerInfo:
        """All about one.

        Raises:
            NotFound: There is no such container.
        """
        return self.inspect_nowait(ref)

    def inspect_nowait(self, ref: str) -> ContainerInfo:
        """As `inspect`: from memory."""
        return self._table.find(ref).info()

    async def list(self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None) -> Listing:  # noqa: A002 - Docker's name
        """Containers, newest first; see `ardock.interface.Containers.list`.

        From memory. What it tells has the number of the last event that it reflects; where that is not in the journal yet, the
        answer waits for that commit, for a quarter of a second at most: past it the number is that of the last event that is
        in, and those that follow may tell what the list knows already.

        Raises:
            InvalidArgument: There is no such filter or value.
            NotFound: ``before`` or ``since`` name no container.
        """
        wanted = filters or {}
        fits = matcher(wanted, self._table)
        ended = all or limit is not None or shows_ended(wanted)
        found = []
        for container in self._table.newest_first():
            if (ended or container.alive) and fits(container):
                found.append(container.summary())
                if limit is not None and len(found) >= max(0, limit) > 0:
                    break
        seq = self._state.assigned
        boottime = clock.boottime()
        if not await self._state.until_committed(seq, 0.25):
            seq = self._state.committed
        return Listing(containers=found, epoch=self._state.epoch, seq=seq, boottime=boottime)

    def logs(self, ref: str, query: LogQuery | None = None) -> AbstractAsyncContextManager[AsyncIterator[LogItem]]:
        """Its log, in order; see `ardock.interface.Containers.logs`.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: It keeps no log; a number is out of range.
        """
        return self._logs(self._table.find(ref), query or LogQuery())

    @asynccontextmanager
    async def _logs(self, container: Container, query: LogQuery) -> AsyncIterator[AsyncIterator[LogItem]]:
        if not container.log:
            raise InvalidArgument(f"container {container.id[:SHORT_ID]} keeps no log", field="log")
        path = self._root / container.log
        async with open_log(
            path.parent,
            path.name,
            query,
            running=lambda: container.alive,
            changed=container.until_ended,
            watcher=self._watcher,
        ) as items:
            yield items

    async def attach(self, ref: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Attachment:
        """Its streams; see `ardock.interface.Attachment`.

        Raises:
            NotFound: There is no such container.
            NotRunning: It keeps no log and runs already, so its output cannot be had from the start.
        """
        container = self._table.find(ref)
        await container.until_answered()
        attachment = Attachment(container, stdin=stdin, stdout=stdout, stderr=stderr)
        if not container.alive:
            attachment.wait_for_start()
            return attachment
        if not container.log:
            raise NotRunning(
                f"container {container.id[:SHORT_ID]} keeps no log: its output can be had only by attaching before its start"
            )
        program = container.program
        assert program is not None, "it runs"
        await attachment.take_input(program)

        def reading() -> LogReading:
            return self._logs(container, LogQuery(follow=True))

        attachment.follow(self._nursery, reading)
        return attachment

    async def exec(self, ref: str, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """Join a program to a running container.

        Raises:
            NotFound: There is no such container.
            NotRunning: It has ended.
            As `run` for the rest.
        """
        return await self.exec_in(self._table.find(ref), argv)

    async def exec_in(self, container: Container, argv: Sequence[str] | ExecSpec) -> RunningProgram:
        """`exec` in a container that is at hand."""
        spec = make_exec_spec(argv)
        program = await self._execs.start(container, spec, image_layers=self._layers(container))
        return RunningProgram(program, container.id, tty=spec.tty, stdin_open=spec.stdin_open, tapped=False)

    async def exec_detached(self, ref: str, argv: Sequence[str] | ExecSpec) -> str:
        """Join a program that nobody waits for; the exec's id.

        Raises:
            As `exec`.
        """
        container = self._table.find(ref)
        program = await self._execs.start(
            container, make_exec_spec(argv), detached=True, image_layers=self._layers(container)
        )
        return program.exec_id or ""

    async def resize(self, ref: str, rows: int, columns: int, *, exec_id: str | None = None) -> None:
        """Set the size of its terminal, or of that of one of its execs.

        Raises:
            NotFound: There is no such container.
            NotRunning: It, or the exec, does not run.
            InvalidArgument: It has no terminal, or the size is not one.
        """
        container = self._table.find(ref)
        if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
            raise InvalidArgument(f"invalid terminal size {rows}x{columns}", field="tty_size")
        await container.until_answered()
        program = container.program if exec_id is None else container.execs.get(exec_id)
        if program is None or program.over:
            raise NotRunning(f"container {container.id[:SHORT_ID]} is not running")
        if exec_id is None and not container.spec.tty:
            raise InvalidArgument(f"container {container.id[:SHORT_ID]} has no terminal", field="tty")
        await program.connection.resize(program, rows, columns)

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
        """Make an image of what it has written; see `ardock.interface.Containers.commit`.

        Raises:
            NotFound: There is no such container, or its image is gone.
            InvalidArgument: It stands on no image; a name or change is malformed.
            Unsupported: It writes to memory.
            LaunchFailed: It cannot be frozen.
            DiskFull: Nothing of the image is left.
        """
        container = self._table.find(ref)
        if not container.image_id:
            raise InvalidArgument(
                f"container {container.id[:SHORT_ID]} stands on a directory and not on an image: export it, and import that",
                field="ref",
            )
        return await self._images.commit(
            container.image_id,
            lambda: self._contents.written(container, pause=pause),
            name,
            config=lambda config: committed(container.spec, config),
            changes=changes,
            author=author,
            message=message,
            command=" ".join(container.spec.command),
        )

    async def diff(self, ref: str) -> Sequence[Change]:
        """How its root differs from what it stands on, in the order of the paths.

        Raises:
            NotFound: There is no such container, or its image is gone.
            Unsupported: It writes to memory.
        """
        return await self._contents.changes(self._table.find(ref))

    @asynccontextmanager
    async def export(self, ref: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Its root file system as a tar, in pieces; without what is mounted in it.

        Raises:
            As `diff`.
        """
        async with self._contents.export(self._table.find(ref)) as chunks:
            yield chunks

    async def usage(self) -> Sequence[UsageLine]:
        """What each container has written, and whether it runs."""
        return await self._contents.usage(list(self._table))

    async def end_bound(self) -> None:
        """Kill what ends with this process, and await that."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for container in self._table:
                    if container.bound and container.program is not None:
                        nursery.start_soon(container.program.kill)
