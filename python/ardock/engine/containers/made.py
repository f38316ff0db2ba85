"""Roots that are made before a container starts: by a snapshot driver, or as a directory of limited size.

Where the driver is ``overlay`` and no size is limited, nothing is: the launch core stacks an upper directory of the container's
own on the image's layers, which costs microseconds. All else takes the disk's time, so it is done in threads, before the
container is in the engine's table; what a crash leaves of it is removed by `MadeRoots.tidy`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol

import trio
from msgspec import structs

from ardock.engine.containers.container import Container
from ardock.engine.containers.resolved import Way
from ardock.engine.snapshots import Driver, Storage
from ardock.engine.snapshots.errors import told
from ardock.model.sizes import parse_size
from ardock.model.spec import ContainerSpec

_KEY: Final = "container-"
# Threads that copy, snapshot and remove; the engine's other work needs some too.
_THREADS: Final = 4


class Chains(Protocol):
    """What is needed of the engine's images."""

    def chain_of(self, ref: str) -> tuple[str, ...]:
        """The chain ids of an image's layers, the topmost first."""


class MadeRoots:
    """The made roots of one engine's containers."""

    def __init__(
        self,
        storage: Storage,
        root: Path,
        *,
        images: Chains,
        scratch: str,
        drop: Callable[[str], None],
    ) -> None:
        """Make none.

        Args:
            storage: Of the root folder.
            root: The root folder.
            images: The engine's.
            scratch: The default of `ContainerSpec.scratch`.
            drop: Called with a directory that no container will run on any more: nothing may keep it open.
        """
        self._driver: Driver = storage.driver
        self._size = storage.options.size
        self._layers = root / "containers"
        self._images = images
        self._scratch = scratch
        self._drop = drop
        self._below = storage.driver.writes_below
        self._quotas = storage.quotas
        # Those that may be open, by their container's id.
        self._opened: dict[str, str] = {}
        self._limiter = trio.CapacityLimiter(_THREADS)
        # Making ready and letting go of one container's root exclude each other.
        self._turns: dict[str, trio.Lock] = {}

    def way(self, spec: ContainerSpec) -> Way:
        """How the root of a container comes to be."""
        if self._below and spec.image is not None:
            return "plain" if (spec.scratch or self._scratch) == "memory" else "snapshot"
        if spec.scratch_size is None and self._size is None:
            return "plain"
        return "limited" if (spec.scratch or self._scratch) == "disk" else "plain"

    async def make(self, container_id: str, spec: ContainerSpec, image_id: str) -> ContainerSpec:
        """Make the root of a container that is to be made, and whose way is not ``plain``.

        Returns:
            The spec, with the size that was granted where it did not name one.

        Raises:
            InvalidArgument: The size is malformed.
            Unsupported: It cannot be limited here; the error says what would have to be done.
            DiskFull: Nothing of it is left.
            FolderUnusable: The disk fails otherwise.
        """
        size = self._size if spec.scratch_size is None else parse_size(spec.scratch_size, "scratch_size")
        if self.way(spec) == "snapshot":
            chain = self._images.chain_of(image_id)
            await self._run(lambda: self._driver.prepare(snapshot_key(container_id), chain, size=size, container=True))
        else:
            assert size is not None, "its way is limited"
            limit = size
            await self._run(lambda: self._make_limited(self._layers / container_id, limit))
        return structs.replace(spec, scratch_size=size)

    def _make_limited(self, path: Path, size: int) -> None:
        with told("make a scratch directory"):
            path.mkdir(mode=0o700)
        try:
            self._quotas.limit(path, size)
        except BaseException:
            path.rmdir()
            raise

    async def ready(self, container: Container) -> None:
        """A kept container is about to start: its snapshot has to be mounted where its driver's are.

        Raises:
            NotFound: It is not there any more.
        """
        if self.way(container.spec) == "snapshot":
            async with self._turn(container.id):
                await self._run(lambda: self._driver.mounts((), snapshot_key(container.id)))

    async def rest(self, container: Container) -> None:
        """A kept container has ended: what its driver holds in the kernel may go until it starts again."""
        with trio.CancelScope(shield=True):
            async with self._turn(container.id):
                if container.alive or container.status == "removing":
                    return
                self.let_go(container.id)
                await self._run(lambda: self._driver.release(snapshot_key(container.id)))

    def directory(self, container: Container) -> tuple[str, ...]:
        """What a container whose way is ``snapshot`` runs on; it is mounted.

        Raises:
            NotFound: It is not there any more.
        """
        directories = self._driver.mounts((), snapshot_key(container.id)).directories
        self._opened[container.id] = directories[0]
        return directories

    def let_go(self, container_id: str) -> None:
        """Nothing keeps a container's root open from now on; it does not run any more."""
        path = self._opened.pop(container_id, None)
        if path is not None:
            self._drop(path)

    async def undo(self, container_id: str) -> None:
        """There will be no such container; also when cancelled."""
        self.let_go(container_id)
        with trio.CancelScope(shield=True):
            await self._run(lambda: self.remove(container_id))

    def remove(self, container_id: str) -> None:
        """Remove what was made for a container, but for a limited directory's content. Blocking."""
        self._turns.pop(container_id, None)
        self._quotas.free(self._layers / container_id)
        with contextlib.suppress(OSError):
            (self._layers / container_id).rmdir()
        if self._below:
            self._driver.remove(snapshot_key(container_id))

    def tidy(self, known: Collection[str]) -> None:
        """Remove what was made for containers that are not among `known` (ids). Blocking."""
        if self._below:
            keys = self._driver.keys()
            for key in keys:
                if key.startswith(_KEY) and key.removeprefix(_KEY) not in known:
                    self._driver.remove(key)

    def _turn(self, container_id: str) -> trio.Lock:
        return self._turns.setdefault(container_id, trio.Lock())

    async def _run(self, call: Callable[[], object]) -> None:
        await trio.to_thread.run_sync(call, limiter=self._limiter)


def snapshot_key(container_id: str) -> str:
    """The key of a container's snapshot."""
    return f"{_KEY}{container_id}"
