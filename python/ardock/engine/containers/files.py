"""What a container has in the root folder: its writable layer and its log. Removed with it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import trio

from ardock.engine.containers.container import Container
from ardock.engine.containers.made import MadeRoots
from ardock.engine.containers.table import Table


class Files:
    """The containers' files of one engine."""

    def __init__(self, root: Path, nursery: trio.Nursery, made: MadeRoots) -> None:
        """Beneath `root`, and what was `made` elsewhere; what is removed in the background is removed in `nursery`."""
        self._made = made
        self._layers = root / "containers"
        self._logs = root / "logs"
        self._nursery = nursery

    def discard(self, container: Container) -> None:
        """Remove what `container`, which is gone, has left; in the background, and not at all where it had nothing."""
        if container.kind == "kept" or container.log or self._made.way(container.spec) != "plain":
            self._nursery.start_soon(self.remove, container)

    async def remove(self, container: Container) -> None:
        """Remove what `container` has left; also when cancelled.

        What cannot be removed now (a process that survived its container may hold it) is found by the next engine, which
        removes all that belongs to no container.
        """
        self._made.let_go(container.id)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._remove, container.id)

    def _remove(self, container_id: str) -> None:
        self._made.remove(container_id)
        shutil.rmtree(self._layers / container_id, ignore_errors=True)
        for log in self._logs.glob(f"{container_id}.log*"):
            with contextlib.suppress(FileNotFoundError):
                log.unlink()

    def tidy(self, table: Table) -> None:
        """Remove what belongs to no container. Blocking; for a thread; while nothing else is at work."""
        known = {container.id for container in table}
        self._made.tidy(known)
        for folder in self._layers.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        for log in self._logs.iterdir():
            if log.name.partition(".")[0] not in known:
                with contextlib.suppress(FileNotFoundError):
                    log.unlink()
