"""Containers that are kept until they are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Unpack

import msgspec
import trio
from msgspec import structs

from ardock.engine.containers import lifecycle
from ardock.engine.containers.container import SHORT_ID, Container
from ardock.engine.containers.image_defaults import DEFAULT_STOP_SIGNAL
from ardock.engine.containers.mounting import has_volumes
from ardock.engine.containers.starter import Prepared, Starter
from ardock.engine.volumes import volume_names
from ardock.model.container import Created, WaitCondition
from ardock.model.errors import ArdockError, Cancelled, Conflict, InvalidArgument, NotFound, NotRunning
from ardock.model.making import make_spec
from ardock.model.records import ExitRecord
from ardock.model.sizes import parse_signal
from ardock.model.spec import ContainerOptions, ContainerSpec, LogOptions

_encode: Final = msgspec.msgpack.Encoder().encode
_SIGKILL: Final = 9


class Kept(Starter):
    """The life of a container, of `ardock.interface.Containers`."""

    async def create(
        self, argv: Sequence[str] | ContainerSpec, *, remove: bool = False, **options: Unpack[ContainerOptions]
    ) -> Created:
        """Make a container without starting it; see `ardock.interface.Containers.create`.

        Raises:
            InvalidArgument: A value is malformed, out of range or contradicts another.
            Conflict: The name is taken.
            NotFound: The root file system, a bind source or a user is not there.
            DiskFull: It cannot be written down.
        """
        spec = self._whole(make_spec(argv, options))
        if spec.log is None:
            spec = structs.replace(spec, log=LogOptions())
        if self._takes_time(spec):
            async with self._prepared(spec) as prepared:
                return await self._create(prepared.spec, remove=remove, prepared=prepared)
        return await self._create(spec, remove=remove)

    async def _create(self, spec: ContainerSpec, *, remove: bool, prepared: Prepared | None = None) -> Created:
        container = self._make(spec, "kept", remove=remove, prepared=prepared)
        self._launcher.check(container, self._layers(container), self._made.way(spec))
        if prepared is not None:
            # What was mounted for the check; nobody can have started it yet.
            self._volumes.let_go(prepared.id, volume_names(spec))
        created = Created(id=container.id, name=container.name)
        # The name is taken from now on.
        self._table.add(container)
        if remove:
            return created
        try:
            changes = self._ledger.creation(container, _encode(created))
            with trio.CancelScope(shield=True):
                await self._state.commit_and_wait(changes)
        except BaseException:
            self._table.remove(container)
            raise
        return created

    async def start(self, ref: str) -> None:
        """Start a created or ended container; see `ardock.interface.Containers.start`.

        Raises:
            NotFound: There is no such container.
            Conflict: It runs, or is being removed.
            LaunchFailed: The kernel refused a step; the container is as before.
        """
        container = self._table.find(ref)
        await self._start(container)

    async def _start(self, container: Container) -> None:
        if container.alive:
            raise Conflict(f"container {container.id[:SHORT_ID]} is {container.status} already")
        if container.status not in ("created", "exited"):
            raise Conflict(f"container {container.id[:SHORT_ID]} is {container.status} and cannot be started")
        container.move("start")
        container.error = ""
        container.failure = None
        try:
            await self._made.ready(container)
            if has_volumes(container.spec):
                await self._volumes.hold(container, self._layers(container))
            connection = await self._slot()
            # No checkpoint from here on.
            container.start_request = self._requests.current
            self._launch(connection, container, "tap" if container.taps else "log")
            if self._made.way(container.spec) == "snapshot" and not container.remove:
                container.on_ended.append(lambda container: self._nursery.start_soon(self._made.rest, container))
        except ArdockError as error:
            self._volumes.let_go(container.id, volume_names(container.spec))
            self._ledger.failed(container, error)
            raise
        except BaseException:
            self._volumes.let_go(container.id, volume_names(container.spec))
            self._ledger.failed(container, Cancelled("the start was cancelled"))
            raise
        program = container.program
        assert program is not None, "it was launched"
        # Cancelled here, it starts all the same.
        await program.until_answered()
        if program.start is None and program.error is not None:
            raise program.error
        await self._written()

    async def stop(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """Send its stop signal, wait, then SIGKILL; see `ardock.interface.Containers.stop`.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: There is no such signal, or the time is negative.
        """
        await self.stop_container(self._table.find(ref), timeout=timeout, signal=signal)

    async def stop_container(
        self, container: Container, *, timeout: float | None = None, signal: int | str | None = None
    ) -> None:
        """`stop` of a container that is at hand."""
        spec = container.spec
        number = parse_signal((spec.stop_signal or DEFAULT_STOP_SIGNAL) if signal is None else signal, "signal")
        patience = spec.stop_timeout if timeout is None else timeout
        await container.until_answered()
        program = container.program
        if not container.alive or program is None:
            return
        await self._signal(container, number)
        # A negative time waits for ever, as Docker's does.
        with trio.move_on_after(patience if patience >= 0 else float("inf")):
            await program.until_over()
        if not program.over:
            await self._signal(container, _SIGKILL)
            await program.until_over()
        self._ledger.tell(container, "stop")
        await self._written()

    async def restart(self, ref: str, *, timeout: float | None = None, signal: int | str | None = None) -> None:
        """`stop`, then `start`.

        Raises:
            As those two. Conflict also: it is removed when it ends.
        """
        container = self._table.find(ref)
        if container.remove:
            raise Conflict(f"container {container.id[:SHORT_ID]} is removed when it ends: it cannot be restarted")
        await self.stop_container(container, timeout=timeout, signal=signal)
        await self._start(container)
        container.restarts += 1
        container.touch()
        self._ledger.tell(container, "restart")
        await self._written()

    async def kill(self, ref: str, signal: int | str = "SIGKILL", *, exec_id: str | None = None) -> None:
        """Send a signal to its first program, or to that of one of its execs.

        Raises:
            NotFound: There is no such container or exec.
            NotRunning: It has ended.
            InvalidArgument: There is no such signal.
        """
        container = self._table.find(ref)
        number = parse_signal(signal, "signal")
        await container.until_answered()
        if exec_id is not None:
            program = container.execs.get(exec_id)
            if program is None or not await program.connection.signal(program, number):
                raise NotRunning(f"exec {exec_id[:SHORT_ID]} of container {container.id[:SHORT_ID]} is not running")
        elif not container.alive or not await self._signal(container, number):
            raise NotRunning(f"container {container.id[:SHORT_ID]} is not running: it is {container.status}")

    async def _signal(self, container: Container, number: int) -> bool:
        program = container.program
        assert program is not None, "it runs"
        self._ledger.tell(container, "kill", {"signal": str(number)})
        return await program.connection.signal(program, number)

    async def rename(self, ref: str, name: str) -> None:
        """Give it another name.

        Raises:
            NotFound: There is no such container.
            InvalidArgument: It is no name.
            Conflict: It is taken.
        """
        container = self._table.find(ref)
        former = container.name
        if name.removeprefix("/") == former:
            raise InvalidArgument(
                f"name: container {container.id[:SHORT_ID]} has the name {former!r} already", field="name"
            )
        self._table.rename(container, self._table.free_name(name))
        with trio.CancelScope(shield=True):
            self._state.commit(self._ledger.renaming(container, former))
            await self._written()

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitRecord:
        """Wait for its end; answered after its removal too.

        Args:
            ref: Which.
            condition: ``"not-running"`` is answered at once where it does not run; ``"next-exit"`` waits for the next end;
                ``"removed"`` until it is removed.

        Raises:
            NotFound: There is no such container, nor was there one in the last 24 hours.
            ArdockError: It could not be started.
        """
        try:
            container = self._table.find(ref)
        except NotFound:
            departed = self._state.find_exit(ref)
            if departed is None:
                raise
            return departed.exit
        if condition == "removed":
            await container.until_gone()
        elif condition == "next-exit" or container.alive:
            await container.until_ended()
            if container.failure is not None and not container.alive:
                raise container.failure
        else:
            await trio.lowlevel.checkpoint()
        # One that was never started: as Docker answers.
        return container.exit or ExitRecord(id=container.id, exit_code=0)

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it, its writable layer and its log.

        Args:
            ref: Which.
            force: Kill it where it runs.
            volumes: Its anonymous volumes, too, but for those that other containers have.

        Raises:
            NotFound: There is no such container.
            Conflict: It runs and `force` is not given, or it is being removed.
        """
        container = self._table.find(ref)
        await container.until_answered()
        if container.alive:
            if not force:
                raise Conflict(
                    f"cannot remove container {container.id[:SHORT_ID]}: it is {container.status}; "
                    "stop it first, or force the removal"
                )
            program = container.program
            assert program is not None, "it runs"
            self._ledger.tell(container, "kill", {"signal": str(_SIGKILL)})
            await program.kill()
        if self._table.get(container.id) is not container:
            await self._written()
            return
        if lifecycle.after(container.status, "remove") is None:
            raise Conflict(f"removal of container {container.id[:SHORT_ID]} is in progress already")
        container.move("remove")
        with trio.CancelScope(shield=True):
            self._table.remove(container)
            # What goes with it does so after this commit: until then it is the next engine's to remove, as its owner is gone.
            staying = () if volumes or container.remove else self._volumes.disown(container)
            self._state.commit(self._ledger.removal(container, staying))
            await self._written()
            await self._files.remove(container)
            if volumes or container.remove:
                await self._volumes.remove_with(container)
            container.gone()
