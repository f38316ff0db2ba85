"""`open_engine`: one engine owns one root folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from ardock.engine import facts as host_facts
from ardock.engine.containers.launcher import Launcher
from ardock.engine.containers.resolve import Resolver
from ardock.engine.containers.roots import Roots, check_root_privilege
from ardock.engine.containers.running import ExecPlanner
from ardock.engine.containers.service import Containers
from ardock.engine.folders import Folders, open_folders
from ardock.engine.keepers.adopt import adopt_all
from ardock.engine.keepers.pool import KeeperPool
from ardock.model.errors import InvalidArgument
from ardock.model.records import Adopted
from ardock.model.spec import ScratchKind

DEFAULT_ROOT: Final = Path("/var/lib/ardock")
DEFAULT_RUN_DIR: Final = Path("/run/ardock")


class Engine:
    """What `open_engine` gives.

    Attributes:
        containers: Run and start containers.
        adopted: What an earlier engine on this root folder left behind; ended by now.
        id: 8 hexadecimal digits; everything made in the kernel is named ``ardock-<id>``.
        root: The root folder.
        run_dir: This engine's part of the run folder.
    """

    def __init__(self, folders: Folders, adopted: list[Adopted], containers: Containers, pool: KeeperPool) -> None:
        """Made by `open_engine` alone."""
        self.containers: Containers = containers
        self.adopted: list[Adopted] = adopted
        self.id: str = folders.engine_id
        self.root: Path = folders.root
        self.run_dir: Path = folders.run_dir
        self._pool = pool

    def __repr__(self) -> str:
        """Its id, folder and what runs."""
        running = sum(len(connection.programs) for connection in self._pool.connections)
        return f"<Engine {self.id} on {self.root}: {running} programs, {len(self._pool.connections)} keepers>"

    async def keeper_counters(self) -> list[dict[str, int]]:
        """Each keeper's own counters, with its process id as ``pid``: for `doctor`, tests and benches."""
        alive = [connection for connection in self._pool.connections if not connection.lost]
        return [{"pid": connection.pid, **await connection.counters()} for connection in alive]


@asynccontextmanager
async def open_engine(
    root: str | Path = DEFAULT_ROOT,
    run_dir: str | Path = DEFAULT_RUN_DIR,
    *,
    scratch: ScratchKind = "disk",
    keep_inherited_seccomp: bool = False,
) -> AsyncIterator[Engine]:
    """Own `root` for as long as the context lasts.

    What an engine that was killed left behind is ended first and reported in `Engine.adopted`. At the end every
    container that still runs is killed and awaited. An error in the body comes out as it is, not in a group.

    Args:
        root: The state folder; made where missing.
        run_dir: The folder of sockets and exit records; made where missing.
        scratch: The default of `ContainerSpec.scratch`.
        keep_inherited_seccomp: Start the keeper even where this process has a seccomp filter or no-new-privileges,
            which every container would inherit.

    Raises:
        EngineLocked: Another process owns `root`.
        NotPermitted: The calling process is not root.
        FolderUnusable: A folder cannot be made or written.
        KeeperUnavailable: The keeper could not be started, or one that was left behind does not answer.
    """
    check_root_privilege()
    if scratch not in ("disk", "memory", "none"):
        raise InvalidArgument(f"scratch: {scratch!r} is neither disk, memory nor none", field="scratch")
    folders = open_folders(Path(root), Path(run_dir))
    failure: BaseException | None = None
    try:
        facts = host_facts.gather(hidden=folders.hidden, scratch=scratch)
        async with trio.open_nursery() as nursery:
            try:
                adopted, numbers = await adopt_all(folders, nursery)
                async with _opened(folders, facts, nursery, numbers, keep_inherited_seccomp) as (containers, pool):
                    yield Engine(folders, adopted, containers, pool)
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
    folders: Folders, facts: host_facts.Facts, nursery: trio.Nursery, numbers: list[int], keep_inherited_seccomp: bool
) -> AsyncIterator[tuple[Containers, KeeperPool]]:
    """The parts of an engine, put together and taken apart again."""
    pool = KeeperPool(folders, nursery, keep_inherited_seccomp=keep_inherited_seccomp)
    pool.reserve_numbers(numbers)

    def forget(key: int) -> None:
        for connection in pool.connections:
            connection.remove_root(key)

    roots = Roots(folders.hidden, forget)
    try:
        resolver = Resolver(roots, facts)
        launcher = Launcher(facts, resolver, folders.engine_id)
        yield Containers(pool, launcher, ExecPlanner(resolver, facts), nursery), pool
    finally:
        await pool.close()
        roots.close()
