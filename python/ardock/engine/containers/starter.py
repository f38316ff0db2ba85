"""What all of an engine's ways to start containers share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import trio
from msgspec import structs

from ardock.engine import clock
from ardock.engine.containers.container import Container, Kind
from ardock.engine.containers.contents import Contents
from ardock.engine.containers.deadline import kill_after
from ardock.engine.containers.execs import Execs
from ardock.engine.containers.files import Files
from ardock.engine.containers.image_defaults import ImageDefaults
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.ledger import Ledger
from ardock.engine.containers.made import MadeRoots
from ardock.engine.containers.mounting import expanded, has_volumes
from ardock.engine.containers.oneshot import OneShot
from ardock.engine.containers.plan import log_path
from ardock.engine.containers.resolved import OutputKind
from ardock.engine.containers.table import Table
from ardock.engine.keepers.connection import Connection
from ardock.engine.keepers.pool import KeeperPool
from ardock.engine.logs import LogWatcher
from ardock.engine.requests import Requests
from ardock.engine.snapshots import Directories
from ardock.engine.state import State
from ardock.engine.volumes import Lease
from ardock.model import making
from ardock.model.errors import ArdockError
from ardock.model.image import ImageConfig, ImageInfo
from ardock.model.spec import ContainerSpec, LogOptions, Mount

# Seconds for a commit that an answer waits for: past them (a disk that hangs or is full) it is given all the same. What it tells
# of has happened, the keeper still has the record of it, and the commit is tried until it is in.
_PATIENCE: Final = 2.0
_MOST_DEFAULTS: Final = 1024


class ImageStore(Protocol):
    """What containers need of the engine's images."""

    def id_of(self, ref: str) -> str:
        """An image's id, by name or by (a prefix of) its id. NotFound: there is none."""

    def config_of(self, ref: str) -> ImageConfig:
        """What its containers get."""

    def layers_of(self, ref: str) -> tuple[str, ...]:
        """Its directories, topmost first."""

    async def commit(
        self,
        image_ref: str,
        found: Callable[[], AbstractAsyncContextManager[Directories]],
        name: str,
        *,
        config: Callable[[ImageConfig], ImageConfig],
        changes: Sequence[str],
        author: str,
        message: str,
        command: str,
    ) -> ImageInfo:
        """An image of what a container has written on top of its own."""


class VolumeStore(Protocol):
    """What containers need of the engine's volumes."""

    async def prepare(
        self, mounts: Sequence[Mount], owner: str, layers: Sequence[str]
    ) -> tuple[tuple[Mount, ...], Lease]:
        """Make those that are not there, fill the empty ones, and hold all of them."""

    async def hold(self, container: Container, layers: Sequence[str]) -> None:
        """It is to be started: mount what its volumes stand for."""

    def started(self, container: Container) -> None:
        """It was launched."""

    def ended(self, container: Container) -> None:
        """It has ended, or was not started after all."""

    def let_go(self, holder: str, names: Iterable[str]) -> None:
        """A container does not run with these volumes after all."""

    def disown(self, container: Container) -> tuple[tuple[str, bytes], ...]:
        """Its anonymous volumes stay: their rows for the commit that removes it."""

    async def remove_with(self, container: Container) -> None:
        """Its anonymous volumes go."""


class Prepared:
    """A container for which all is done that takes time before it is made.

    Attributes:
        id: What it is to be called.
        spec: With the names of its volumes, and the size that it got.
        image_id: What it was made on: the image's name may be another's by now.
        holds: Neither `release`d nor `undo`ne.
    """

    def __init__(self, table: Table, container_id: str, spec: ContainerSpec) -> None:
        """Of a container that `table` is to have; its image is in use from now on."""
        self.id = container_id
        self.spec = spec
        self.image_id = ""
        self.holds = True
        self._table = table
        self._lease: Lease | None = None
        self._made: MadeRoots | None = None

    def hold(self, lease: Lease | None, made: MadeRoots | None) -> None:
        """Hold its volumes by `lease`, and its root where it was `made`."""
        self._lease = lease
        self._made = made

    def release(self) -> None:
        """The container is in the table: what was made for it goes with it. Safe to call again."""
        self.holds = False
        self._table.making.pop(self.id, None)
        if self._lease is not None:
            self._lease.release()

    async def undo(self) -> None:
        """There will be no such container: what was made for it alone goes; also when cancelled."""
        if self.holds:
            self.holds = False
            if self._lease is not None:
                await self._lease.undo()
            if self._made is not None:
                await self._made.undo(self.id)
            self._table.making.pop(self.id, None)


class Starter:
    """Starts containers on the keepers of one engine."""

    def __init__(
        self,
        *,
        pool: KeeperPool,
        launcher: Launcher,
        execs: Execs,
        table: Table,
        ledger: Ledger,
        requests: Requests,
        state: State,
        images: ImageStore,
        volumes: VolumeStore,
        files: Files,
        root: Path,
        watcher: LogWatcher | None,
        nursery: trio.Nursery,
        contents: Contents,
        made: MadeRoots,
    ) -> None:
        """Made by `open_engine` alone."""
        self._pool = pool
        self._launcher = launcher
        self._execs = execs
        self._table = table
        self._ledger = ledger
        self._requests = requests
        self._state = state
        self._images = images
        self._volumes = volumes
        self._files = files
        self._root = root
        self._watcher = watcher
        self._nursery = nursery
        self._contents = contents
        self._made = made
        # Runs and execs under way that somebody may come back for, by the key of their request.
        self._calls: dict[str, OneShot] = {}
        # By an image's id, which is the digest of its configuration.
        self._defaults: dict[str, ImageDefaults] = {}

    def _whole(self, spec: ContainerSpec) -> ContainerSpec:
        """`spec` with what its image says where the user says nothing.

        Raises:
            NotFound: There is no such image.
        """
        if spec.image is None:
            return spec
        image_id = self._images.id_of(spec.image)
        defaults = self._defaults.get(image_id)
        if defaults is None:
            if len(self._defaults) >= _MOST_DEFAULTS:
                self._defaults.clear()
            defaults = self._defaults[image_id] = ImageDefaults(self._images.config_of(image_id))
        return defaults.merged(spec)

    def _takes_time(self, spec: ContainerSpec) -> bool:
        """There is something to do before the container can be made: `_prepare`."""
        return has_volumes(spec) or self._made.way(spec) != "plain"

    async def _prepare(self, spec: ContainerSpec) -> Prepared:
        """Make the volumes and the root of a container that is to be made, where that `_takes_time`.

        Raises:
            NotFound: There is no such image, or no container that `volumes_from` names.
            ArdockError: A volume or the root cannot be made or filled.
        """
        # What is wrong with it is told before anything is made for it.
        spec = making.check_whole(spec)
        prepared = Prepared(self._table, os.urandom(32).hex(), spec)
        lease, made = None, None
        try:
            image_id = "" if spec.image is None else self._images.id_of(spec.image)
            prepared.image_id = image_id
            if image_id:
                # What is read of it for a while must stay.
                self._table.making[prepared.id] = image_id
            if has_volumes(spec):
                layers = self._images.layers_of(image_id) if image_id else ()
                mounts, lease = await self._volumes.prepare(expanded(spec, self._table), prepared.id, layers)
                prepared.hold(lease, None)
                spec = structs.replace(spec, mounts=mounts)
            if self._made.way(spec) != "plain":
                spec = await self._made.make(prepared.id, spec, image_id)
                made = self._made
            prepared.hold(lease, made)
        except BaseException:
            await prepared.undo()
            raise
        prepared.spec = spec
        return prepared

    @asynccontextmanager
    async def _prepared(self, spec: ContainerSpec) -> AsyncIterator[Prepared]:
        """`_prepare`, for a container that is in the table when this is left without an error."""
        prepared = await self._prepare(spec)
        try:
            yield prepared
        except BaseException:
            await prepared.undo()
            raise
        prepared.release()

    def _make(self, spec: ContainerSpec, kind: Kind, *, remove: bool, prepared: Prepared | None = None) -> Container:
        """A container that was just created; not in the table yet. `prepared` is what `_prepare` made of `spec`.

        Raises:
            InvalidArgument: Its name is none.
            Conflict: Its name is taken.
            NotFound: There is no such image.
        """
        name = self._table.free_name(spec.name)
        container_id = os.urandom(32).hex() if prepared is None else prepared.id
        if prepared is not None:
            spec = prepared.spec
        container = Container(container_id, name, spec, kind=kind, remove=remove, created_at=clock.now())
        if prepared is not None:
            container.image_id = prepared.image_id
        elif spec.image is not None:
            container.image_id = self._images.id_of(spec.image)
        container.log = log_path(container.id) if isinstance(spec.log, LogOptions) else ""
        return container

    def _begin(
        self,
        connection: Connection,
        spec: ContainerSpec,
        kind: Kind,
        *,
        output: OutputKind,
        max_output: int = 0,
        input_data: bytes | None = None,
        request_id: str | None = None,
        bound: bool = False,
        prepared: Prepared | None = None,
    ) -> Container:
        """Launch a throw-away container on `connection`, of which a slot is held; given back where this raises."""
        try:
            container = self._make(spec, kind, remove=True, prepared=prepared)
        except ArdockError:
            connection.release_slot()
            raise
        container.request_id = request_id
        container.max_output = max_output
        container.bound = bound
        container.move("start")
        self._launch(connection, container, output, capture=max_output if kind == "run" else None, data=input_data)
        self._table.add(container)
        if prepared is not None:
            prepared.release()
        return container

    def _launch(
        self,
        connection: Connection,
        container: Container,
        output: OutputKind,
        *,
        capture: int | None = None,
        data: bytes | None = None,
    ) -> None:
        """Launch a container that is ``starting`` on `connection`, of which a slot is held; given back where this raises."""
        program = self._launcher.launch(
            connection,
            container,
            output=output,
            capture=capture,
            input_data=data,
            image_layers=self._layers(container),
            way=self._made.way(container.spec),
        )
        self._ledger.watch(container, program)
        if container.spec.mounts:
            self._volumes.started(container)
            container.on_ended.append(self._volumes.ended)
        if container.spec.timeout is not None:
            self._nursery.start_soon(kill_after, program, container.spec.timeout)

    def _layers(self, container: Container) -> tuple[str, ...]:
        if not container.image_id:
            return ()
        if self._made.way(container.spec) == "snapshot":
            return self._made.directory(container)
        return self._images.layers_of(container.image_id)

    async def _slot(self) -> Connection:
        """A launch slot of a keeper with room."""
        while True:
            connection = None if self._pool.closed else self._pool.pick()
            if connection is None:
                connection = await self._pool.get()
            await connection.slot()
            # Others that waited, too, may have filled it up meanwhile.
            if connection.lost or connection.room > 0:
                return connection
            connection.release_slot()

    async def _written(self) -> None:
        """Wait until all that has happened is in the journal, for so long as an answer may wait for that."""
        await self._state.until_committed(self._state.assigned, _PATIENCE)
