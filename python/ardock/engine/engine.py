"""`own_engine`: one process owns one root folder."""

from __future__ import annotations

import logging
import os
import platform
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from msgspec import structs

from ardock import _core
from ardock.engine import clock
from ardock.engine import facts as host_facts
from ardock.engine.apparmor import Profile
from ardock.engine.containers.adoption import Adoption
from ardock.engine.containers.container import Container
from ardock.engine.containers.contents import Contents
from ardock.engine.containers.execs import Execs
from ardock.engine.containers.files import Files
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.ledger import Ledger
from ardock.engine.containers.made import MadeRoots
from ardock.engine.containers.resolve import Resolver
from ardock.engine.containers.roots import Roots, check_root_privilege
from ardock.engine.containers.service import Containers
from ardock.engine.containers.table import Table
from ardock.engine.events import JournalEvents
from ardock.engine.folders import Folders, open_folders
from ardock.engine.images import Images
from ardock.engine.keepers.adopt import find_all, tidy_dead
from ardock.engine.keepers.pool import KeeperPool
from ardock.engine.logs import LogWatcher
from ardock.engine.registry import Registries, configured
from ardock.engine.requests import Requests
from ardock.engine.snapshots import Storage, open_storage
from ardock.engine.state import Loaded, Retention, State, open_state
from ardock.engine.volumes import Volumes
from ardock.model.container import EngineInfo
from ardock.model.errors import InvalidArgument, NotFound
from ardock.model.image import DiskUsage, UsageLine
from ardock.model.records import Adopted
from ardock.model.registry import Credentials, RegistryOptions
from ardock.model.spec import ScratchKind

DEFAULT_ROOT: Final = Path("/var/lib/ardock")
DEFAULT_RUN_DIR: Final = Path("/run/ardock")
_LOG: Final = logging.getLogger("ardock.engine")
# How directories of images are to be read, by how the driver has layers unpacked.
_LAYOUTS: Final = {"overlay": "overlay", "apply": "tree", "aufs": "aufs"}
# Seconds for the last commits of an engine that closes, where the disk hangs or is full; the keepers keep what they tell of.
_PATIENCE: Final = 5.0


class Engine:
    """What owns a root folder; the interface is `ardock.interface.Engine`.

    Attributes:
        containers: Run and start containers.
        events: The journal.
        images: Named root file systems.
        volumes: What outlives containers.
        registries: Where images come from.
        storage: How layers and containers' roots are kept.
        state: What is written down.
        requests: Calls that may be repeated.
        adopted: What an earlier engine on this root folder left behind.
        id: 8 hexadecimal digits; everything made in the kernel is named ``ardock-<id>``.
        root: The root folder.
        run_dir: This engine's part of the run folder.
        socket: Where whoever owns the root folder serves it.
    """

    def __init__(
        self,
        folders: Folders,
        *,
        scratch: ScratchKind,
        apparmor: str,
        kernel_paths: dict[str, str],
        containers: Containers,
        events: JournalEvents,
        images: Images,
        volumes: Volumes,
        registries: Registries,
        storage: Storage,
        state: State,
        requests: Requests,
        table: Table,
        pool: KeeperPool,
    ) -> None:
        """Made by `own_engine` alone."""
        self.containers: Containers = containers
        self.events: JournalEvents = events
        self.images: Images = images
        self.volumes: Volumes = volumes
        self.registries: Registries = registries
        self.storage: Storage = storage
        self.state: State = state
        self.requests: Requests = requests
        self.adopted: list[Adopted] = []
        self.id: str = folders.engine_id
        self.root: Path = folders.root
        self.run_dir: Path = folders.run_dir
        self.socket: Path = folders.run_dir / "ardock.sock"
        self._scratch = scratch
        self._apparmor = apparmor
        self._kernel_paths = kernel_paths
        self._table = table
        self._pool = pool
        self._started_at = clock.now()

    def __repr__(self) -> str:
        """Its id, folder and what runs."""
        running = sum(len(connection.programs) for connection in self._pool.connections)
        return f"<Engine {self.id} on {self.root}: {running} programs, {len(self._pool.connections)} keepers>"

    async def login(self, server: str, credentials: Credentials) -> str:
        """See whether a registry takes these credentials; see `ardock.interface.Engine`."""
        return await self.registries.login(server, credentials)

    async def info(self) -> EngineInfo:
        """About the engine: from memory."""
        return self.info_nowait()

    def info_nowait(self) -> EngineInfo:
        """As `info`."""
        return EngineInfo(
            id=self.id,
            version=_core.versions()["ardock"],
            root=str(self.root),
            run_dir=str(self.run_dir),
            pid=os.getpid(),
            kernel=platform.release(),
            architecture=platform.machine(),
            cgroup=host_facts.cgroup_mode(),
            scratch=self._scratch,
            storage_driver=self.storage.driver.name,
            storage_reason=self.storage.reason,
            storage_status=self.storage.driver.status(),
            apparmor=self._apparmor,
            kernel_paths=self._kernel_paths,
            containers=dict(Counter(container.status for container in self._table)),
            images=len(self.images),
            epoch=self.state.epoch,
            seq=self.state.committed,
            journal_bytes=self.state.journal_bytes,
            keepers=sum(1 for connection in self._pool.connections if not connection.lost),
            started_at=self._started_at,
        )

    async def disk_usage(self) -> DiskUsage:
        """Where the disk's room went; see `ardock.interface.Engine`."""
        images, layers, blobs = await self.images.usage()
        volumes = await self.volumes.list(sizes=True)
        return DiskUsage(
            layers_size=layers,
            blobs_size=blobs,
            images=tuple(images),
            containers=tuple(await self.containers.usage()),
            volumes=tuple([UsageLine(id=each.name, size=each.size or 0, users=len(each.users)) for each in volumes]),
        )

    async def keeper_counters(self) -> list[dict[str, int]]:
        """Each keeper's own counters, with its process id as ``pid``: for `doctor`, tests and benches."""
        alive = [connection for connection in self._pool.connections if not connection.lost]
        return [{"pid": connection.pid, **await connection.counters()} for connection in alive]


@asynccontextmanager
async def own_engine(
    root: str | Path = DEFAULT_ROOT,
    run_dir: str | Path = DEFAULT_RUN_DIR,
    *,
    scratch: ScratchKind = "disk",
    storage_driver: str = "",
    storage_options: Mapping[str, str] | None = None,
    registry: RegistryOptions | None = None,
    keep_inherited_seccomp: bool = False,
    retention: Retention | None = None,
) -> AsyncIterator[Engine]:
    """Own `root` for as long as the context lasts.

    What an earlier engine left goes on, and is told by `Engine.adopted`. At the end, what `run`, `run_many` and `spawn` of this
    process started and has not ended is killed and awaited; all other containers go on, and the next engine takes them over.
    An error in the body comes out as it is, not in a group.

    Args:
        root: The state folder; made where missing.
        run_dir: The folder of sockets and exit records; made where missing.
        scratch: The default of `ContainerSpec.scratch`.
        storage_driver: How layers of images are kept: ``overlay``, ``btrfs``, ``vfs``, ``devicemapper`` or ``aufs``. Empty: as
            the root folder was made, or by what its file system can do.
        storage_options: Of ``--storage-opt``, by their names, such as ``{"size": "10g"}``.
        registry: How registries are reached; None: as ``/etc/ardock/registries.json`` says, else by the defaults.
        keep_inherited_seccomp: Start the keeper even where this process has a seccomp filter or no-new-privileges,
            which every container would inherit.
        retention: How long events, exits and requests are kept.

    Raises:
        EngineLocked: Another process owns `root`.
        NotPermitted: The calling process is not root.
        InvalidArgument: There is no such scratch, driver or option, the folder was made with another driver, or an option of
            registries is malformed.
        Unsupported: The driver cannot be used here.
        FolderUnusable: A folder cannot be made or written, or the state in it cannot be read.
        KeeperUnavailable: The keeper could not be started, or one that was left behind does not answer.
    """
    check_root_privilege()
    if scratch not in ("disk", "memory", "none"):
        raise InvalidArgument(f"scratch: {scratch!r} is neither disk, memory nor none", field="scratch")
    folders = open_folders(Path(root), Path(run_dir))
    failure: BaseException | None = None
    try:
        registries = Registries(registry or configured())
        facts = host_facts.gather(hidden=folders.hidden, scratch=scratch)
        _LOG.info("ways on this kernel", extra={"fields": facts.kernel_paths})
        profile = None
        if facts.apparmor:
            profile = Profile()
            await profile.prepare()
            facts = structs.replace(facts, apparmor_profile=profile.default)
        opening = partial(open_storage, folders.root, storage_driver, storage_options, engine_id=folders.engine_id)
        storage = await trio.to_thread.run_sync(opening)
        facts = structs.replace(facts, scratch_size=storage.options.size)
        state_opened = open_state(
            folders.root,
            engine_id=folders.engine_id,
            boot_id=clock.boot_id(),
            retention=retention or Retention(),
            now=clock.now,
        )
        async with state_opened as (state, loaded), trio.open_nursery() as nursery:
            try:
                opened = _opened(
                    folders,
                    facts,
                    state,
                    loaded,
                    nursery,
                    profile=profile,
                    storage=storage,
                    registries=registries,
                    scratch=scratch,
                    keep_inherited_seccomp=keep_inherited_seccomp,
                )
                async with opened as engine:
                    yield engine
            except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery does not wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        # Else its traceback, which holds this frame, is a cycle.
        del failure
        folders.close()


@asynccontextmanager
async def _opened(
    folders: Folders,
    facts: host_facts.Facts,
    state: State,
    loaded: Loaded,
    nursery: trio.Nursery,
    *,
    profile: Profile | None,
    storage: Storage,
    registries: Registries,
    scratch: ScratchKind,
    keep_inherited_seccomp: bool,
) -> AsyncIterator[Engine]:
    """The parts of an engine, put together and taken apart again."""
    pool = KeeperPool(folders, nursery, keep_inherited_seccomp=keep_inherited_seccomp)

    def forget(key: int) -> None:
        for connection in pool.connections:
            connection.remove_root(key)

    if profile is not None:
        nursery.start_soon(profile.watch)
    roots = Roots(folders.hidden, forget)
    inotify = _inotify()
    watcher = None if inotify is None else LogWatcher(inotify)
    try:
        table = Table()
        requests = Requests(state)
        images = Images(
            folders.root,
            state,
            storage.driver,
            nursery,
            registries=registries,
            in_use=table.users_of,
            take=requests.take,
        )
        made = MadeRoots(storage, folders.root, images=images, scratch=scratch, drop=roots.drop)
        files = Files(folders.root, nursery, made)
        volumes = Volumes(
            folders.root,
            state,
            loaded.volumes,
            users=table.volume_users,
            nursery=nursery,
            layout=_LAYOUTS[storage.driver.whiteouts],
            take=requests.take,
        )

        def discard(container: Container) -> None:
            files.discard(container)
            if container.spec.mounts:
                nursery.start_soon(volumes.remove_with, container)

        ledger = Ledger(state, table, requests, discard)
        resolver = Resolver(roots, facts, volumes.open)
        execs = Execs(resolver, facts, ledger, requests, nursery)
        containers = Containers(
            pool=pool,
            launcher=Launcher(facts, resolver, folders.engine_id, profile),
            execs=execs,
            table=table,
            ledger=ledger,
            requests=requests,
            state=state,
            images=images,
            volumes=volumes,
            files=files,
            root=folders.root,
            watcher=watcher,
            nursery=nursery,
            contents=Contents(folders.root, folders.engine_id, images, scratch),
            made=made,
        )

        def resolve(ref: str) -> str | None:
            try:
                return table.find(ref).id
            except NotFound:
                return None

        engine = Engine(
            folders,
            scratch=scratch,
            apparmor=facts.apparmor_profile if facts.apparmor else "",
            kernel_paths=facts.kernel_paths,
            containers=containers,
            events=JournalEvents(state, resolve),
            images=images,
            volumes=volumes,
            registries=registries,
            storage=storage,
            state=state,
            requests=requests,
            table=table,
            pool=pool,
        )
        adoption = Adoption(table, ledger, containers, state, nursery)
        adoption.load(loaded)
        # Not before: what raises above closes what it would wait for, before it has begun to.
        if watcher is not None:
            nursery.start_soon(watcher.run)
        await images.open(loaded.images, fresh=loaded.fresh)
        await volumes.tidy()
        living, dead, numbers = await find_all(folders, nursery, pool.serve)
        pool.reserve_numbers(numbers)
        for found in living:
            pool.adopt(found.connection)
            roots.keys_from(found.connection.next_root)
        await adoption.take_over(living, dead, new_boot=loaded.new_boot)
        # What a dead keeper left is its containers' last record until that is written down: on a disk that is full to the
        # last, it stays for the next engine.
        if await state.until_committed(state.assigned, _PATIENCE):
            for gone in dead:
                await trio.to_thread.run_sync(tidy_dead, folders, gone.number)
        await trio.to_thread.run_sync(files.tidy, table)
        await _adopt_volumes(volumes, table)
        engine.adopted = adoption.adopted
        try:
            yield engine
        finally:
            await containers.end_bound()
            with trio.CancelScope(shield=True):
                # With the last commit the keepers may forget what is in it.
                await state.until_committed(state.assigned, _PATIENCE)
                await volumes.close()
    finally:
        await registries.aclose()
        await pool.close()
        roots.close()
        storage.driver.close()
        if inotify is not None:
            inotify.close()


async def _adopt_volumes(volumes: Volumes, table: Table) -> None:
    """Keep what the containers that go on have mounted, and remove what was made for containers that are gone."""
    for container in table:
        if container.alive and container.spec.mounts:
            container.on_ended.append(volumes.ended)
            await volumes.adopt(container)
    await volumes.sweep(table.get)


def _inotify() -> _core.LogWatch | None:
    """What tells followers of logs that there is more to read; None where the user's inotify instances are used up."""
    try:
        return _core.LogWatch()
    except OSError:
        return None
