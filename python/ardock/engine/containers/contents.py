"""What a container has in its root file system, looked at from outside: `commit`, `diff`, `export`.

Nothing is mounted for it: the directories that its root is put together of are read, merged as the overlay merges them, so a
container that does not run costs no more than one that does.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import trio

from ardock import _core
from ardock.engine.containers.container import SHORT_ID, Container
from ardock.engine.containers.freezing import frozen
from ardock.engine.containers.made import snapshot_key
from ardock.engine.images.core import in_thread, told
from ardock.engine.images.make import MOUNT_POINTS
from ardock.engine.images.outflow import outflow
from ardock.engine.snapshots import Directories, Driver
from ardock.model.errors import ArdockError, InvalidArgument, Unsupported
from ardock.model.image import Change, UsageLine
from ardock.model.spec import ScratchKind


class Images(Protocol):
    """What is needed of the engine's images."""

    @property
    def driver(self) -> Driver:
        """Where layers are unpacked."""

    def chain_of(self, ref: str) -> tuple[str, ...]:
        """The names of an image's unpacked layers, the topmost first."""

    def layers_of(self, ref: str) -> tuple[str, ...]:
        """Directories that show an image's root, merged, the topmost first."""


class Contents:
    """The root file systems of one engine's containers."""

    def __init__(self, root: Path, engine_id: str, images: Images, scratch: ScratchKind) -> None:
        """Beneath the root folder `root`; `scratch` is the engine's default."""
        self._root = root
        self._engine_id = engine_id
        self._images = images
        self._scratch = scratch

    async def changes(self, container: Container) -> Sequence[Change]:
        """How the root differs from what it stands on; see `ardock.interface.Containers.diff`."""
        flag = _core.CancelFlag()

        def run() -> list[tuple[str, str]]:
            with self.directories(container) as found:
                if not found.dirs:
                    return []
                return told(lambda: _core.changes(found.dirs, found.below, layout=found.layout, cancel=flag))

        return shown(await in_thread(run, flag))

    async def usage(self, containers: Sequence[Container]) -> Sequence[UsageLine]:
        """What each has written on the disk; 0 where that cannot be told."""

        def run() -> list[UsageLine]:
            lines = []
            for container in containers:
                size = 0
                with contextlib.suppress(ArdockError):
                    if self._has_snapshot(container):
                        size = self._images.driver.usage(snapshot_key(container.id)).bytes
                    else:
                        with self.directories(container) as found:
                            size = sum(_room(path) for path in found.dirs)
                lines.append(UsageLine(id=container.id, size=size, users=int(container.alive)))
            return lines

        return await in_thread(run)

    def export(self, container: Container) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The whole root as a tar; see `ardock.interface.Containers.export`."""

        def write(out: int, flag: _core.CancelFlag) -> None:
            with self.directories(container) as found:
                told(lambda: _core.pack(found.merged, out, layout=found.layout, cancel=flag))

        return outflow(write)

    @asynccontextmanager
    async def written(self, container: Container, *, pause: bool) -> AsyncIterator[Directories]:
        """What it has written, for `commit`; with `pause` it stands still meanwhile."""
        still = container.alive and pause and container.pid > 0
        holding = frozen(container.pid, self._engine_id, container.id) if still else nullcontext()
        await in_thread(holding.__enter__)
        try:
            looking = self.directories(container)
            found = await in_thread(looking.__enter__)
            try:
                yield found
            finally:
                with trio.CancelScope(shield=True):
                    await in_thread(lambda: looking.__exit__(None, None, None))
        finally:
            # Whatever happens it goes on.
            with trio.CancelScope(shield=True):
                await in_thread(lambda: holding.__exit__(None, None, None))

    @contextmanager
    def directories(self, container: Container) -> Iterator[Directories]:
        """What its root is put together of; blocks.

        Raises:
            Unsupported: It writes to memory, or into its root directly, where nothing tells what it has written.
            NotFound: Its image is gone.
        """
        spec = container.spec
        driver = self._images.driver
        if self._has_snapshot(container):
            with driver.directories(snapshot_key(container.id), self._images.chain_of(container.image_id)) as found:
                yield found
            return
        below = self._images.layers_of(container.image_id) if container.image_id else spec.layers
        if not below and spec.rootfs is not None:
            below = (spec.rootfs,)
        kind = self._kind(container)
        if kind == "memory":
            raise Unsupported(
                f"container {container.id[:SHORT_ID]} writes to memory (--scratch memory): what it has written cannot be looked at "
                "from outside",
                option="scratch",
            )
        upper = self._upper(container) if kind == "disk" else None
        yield Directories(dirs=() if upper is None else (str(upper),), below=tuple(below), layout="overlay")

    def _kind(self, container: Container) -> ScratchKind:
        return container.spec.scratch or self._scratch

    def _has_snapshot(self, container: Container) -> bool:
        """It writes into a snapshot of the driver's (`MadeRoots.way`)."""
        return bool(container.image_id) and self._images.driver.writes_below and self._kind(container) != "memory"

    def _upper(self, container: Container) -> Path | None:
        """Where the overlay writes; None before it has ever run."""
        path = self._root / "containers" / container.id / "u"
        # One that is not kept has its own there only where its size is limited.
        if container.kind != "kept" and not path.is_dir():
            program = container.program
            if program is None:
                raise InvalidArgument(f"container {container.id[:SHORT_ID]} does not run and is not kept", field="ref")
            path = self._root / "scratch" / f"k{program.connection.number}" / container.id / "u"
        return path if path.is_dir() else None


def shown(changes: Sequence[tuple[str, str]]) -> list[Change]:
    """Changes without the mount points that every container has, and without the directories that changed by those alone."""
    own = [path for _, path in changes if _is_mount_point(path)]
    rest = [(kind, path) for kind, path in changes if not _is_mount_point(path)]
    kept = []
    for kind, path in rest:
        beneath = f"{path.rstrip('/')}/"
        by_own_alone = (
            kind == "C"
            and any(each.startswith(beneath) for each in own)
            and not any(each.startswith(beneath) for _, each in rest)
        )
        if not by_own_alone:
            kept.append((kind, path))
    return [Change(kind="A" if kind == "A" else "D" if kind == "D" else "C", path=path) for kind, path in kept]


def _is_mount_point(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in MOUNT_POINTS)


def _room(path: str) -> int:
    """Bytes of the regular files beneath a directory, as far as they are there while it is looked at."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{folder}/{name}")
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
