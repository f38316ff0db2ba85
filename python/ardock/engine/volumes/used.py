"""Volumes in containers: made with them, mounted, filled, let go of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import trio

from ardock import _core
from ardock.engine.state import Changes
from ardock.engine.volumes.book import Book
from ardock.engine.volumes.copying import Content, fill
from ardock.engine.volumes.mounted import BindOptions, failed, open_directory
from ardock.engine.volumes.options import RDONLY, Directory, Filesystem, parse
from ardock.engine.volumes.record import Volume, encode
from ardock.engine.volumes.users import User, volume_names
from ardock.model.errors import InvalidArgument, NotFound
from ardock.model.spec import Mount


class Lease:
    """Volumes that a container is being made with: none of them can be removed until it is in the engine's table.

    Attributes:
        owner: The container's id.
    """

    def __init__(self, volumes: Used, owner: str) -> None:
        """Of nothing yet."""
        self.owner = owner
        self._volumes = volumes
        self._names: list[str] = []

    def hold(self, name: str) -> None:
        """One more."""
        self._names.append(name)
        self._volumes.leased.setdefault(name, []).append(self.owner)

    @property
    def holds(self) -> bool:
        """Neither `release`d nor `undo`ne."""
        return bool(self._names)

    def release(self) -> None:
        """The container is in the table, or will never be. Safe to call again."""
        for name in self._names:
            self._volumes.leased[name].remove(self.owner)
            if not self._volumes.leased[name]:
                del self._volumes.leased[name]
        self._names.clear()

    async def undo(self) -> None:
        """There will be no such container: what was made for it alone goes; also when cancelled."""
        held = list(dict.fromkeys(self._names))
        self.release()
        self._volumes.let_go(self.owner, held)
        with trio.CancelScope(shield=True):
            for name in held:
                await self._volumes.release(name, self.owner)


class Used(Book):
    """What containers need of volumes."""

    async def prepare(
        self, mounts: Sequence[Mount], owner: str, layers: Sequence[str]
    ) -> tuple[tuple[Mount, ...], Lease]:
        """Make the volumes that a container is to be made with, mount and fill them, and hold all of them.

        Args:
            mounts: What it is to have; those of type ``volume`` without a source get one of their own.
            owner: The container's id.
            layers: The directories of its image, topmost first: what an empty volume is filled from; none where there is no image.

        Returns:
            The mounts with names, and what holds the volumes until the container is in the table.

        Raises:
            ArdockError: As `create`, and of the copying; nothing is left of what was made for this container alone.
        """
        lease = Lease(self, owner)
        named: list[Mount] = []
        try:
            named += [await self._named(mount, lease) if mount.type == "volume" else mount for mount in mounts]
            for mount in named:
                if mount.type == "volume":
                    await self._ready(mount, owner, layers)
        except BaseException:
            await lease.undo()
            raise
        return tuple(named), lease

    async def hold(self, container: User, layers: Sequence[str]) -> None:
        """`container`, which is to be started, needs its volumes: mount those that have a file system of their own.

        Raises:
            ArdockError: One cannot be mounted or filled.
        """
        try:
            for mount in container.spec.mounts:
                if mount.type == "volume":
                    await self._ready(mount, container.id, layers, started=True)
        except BaseException:
            self.let_go(container.id, volume_names(container.spec))
            raise

    def open(self, mount: Mount) -> tuple[int, bool]:
        """A volume as a detached mount, and whether it is a file.

        Raises:
            NotFound: There is no such volume, or no such path in it.
            InvalidArgument: The path leads out of it.
            LaunchFailed: The kernel refuses.
        """
        volume = self._get(mount.source)
        subpath = _checked_subpath(mount.subpath)
        options = BindOptions(read_only=mount.read_only)
        backing = parse(volume.options)
        try:
            if isinstance(backing, Filesystem):
                return self._mounted.copy(volume.name, options, subpath)
            return open_directory(self._store.data(volume.name), backing, options, subpath)
        except _core.HostError as error:
            raise failed(volume.name, error) from None

    def started(self, container: User) -> None:
        """`container` was launched with its volumes."""
        events = [
            self._event(
                "mount",
                mount.source,
                {
                    "container": container.id,
                    "destination": mount.target,
                    "propagation": "",
                    "read/write": "false" if mount.read_only else "true",
                },
            )
            for mount in container.spec.mounts
            if mount.type == "volume"
        ]
        if events:
            self._state.commit(Changes(events=tuple(events)))

    def ended(self, container: User) -> None:
        """`container` has ended, or was not started after all."""
        names = volume_names(container.spec)
        if names:
            events = [self._event("unmount", name, {"container": container.id}) for name in names]
            self._state.commit(Changes(events=tuple(events)))
            self.let_go(container.id, names)

    def let_go(self, holder: str, names: Iterable[str]) -> None:
        """A container does not run with these volumes (any more): those that nobody holds are unmounted, in the background."""
        for name in names:
            unmount = self._mounted.let_go(name, holder)
            if unmount is None:
                continue
            self._nursery.start_soon(trio.to_thread.run_sync, unmount)
            volume = self._volumes.get(name)
            if volume is not None and volume.device:
                self._set_device(volume, 0)

    async def adopt(self, container: User) -> None:
        """`container` runs since an earlier engine: keep what it has mounted for others to have the same.

        A file system that has no other name than its mounts (a tmpfs) would else be another one for the next container.
        """
        for mount in container.spec.mounts:
            volume = self._volumes.get(mount.source) if mount.type == "volume" else None
            if volume is None or not volume.device or mount.subpath:
                continue
            backing = parse(volume.options)
            if not isinstance(backing, Filesystem):
                continue
            async with self._holding(volume.name):
                await self._mounted.take_over(
                    volume.name,
                    backing,
                    container.id,
                    pid=container.pid,
                    target=mount.target,
                    device=volume.device,
                )
        if not container.alive:
            self.let_go(container.id, volume_names(container.spec))

    async def close(self) -> None:
        """Let go of what is mounted; containers that go on keep it."""
        await self._mounted.close()

    # The inside

    async def _named(self, mount: Mount, lease: Lease) -> Mount:
        """`mount` with its volume, which is there and held."""
        shared = mount.anonymous and bool(mount.source)
        anonymous = mount.anonymous or not mount.source
        planned = self._planned(
            mount.source,
            mount.driver,
            mount.driver_options,
            mount.labels,
            owner="" if mount.source else lease.owner,
            field="mounts",
        )
        async with self._holding(planned.name):
            if self._known(planned) is None:
                if shared:
                    raise NotFound(f"mounts: the volume {mount.source} of another container is gone", field="mounts")
                await self._make(planned)
            lease.hold(planned.name)
        return msgspec.structs.replace(mount, source=planned.name, anonymous=anonymous)

    async def _ready(self, mount: Mount, holder: str, layers: Sequence[str], *, started: bool = False) -> None:
        """Mount what stands behind a volume, and fill it where it is empty.

        Args:
            mount: The container's mount.
            holder: The container's id.
            layers: The directories of its image.
            started: It was made before: what is no mount was filled then, or was not to be.
        """
        volume = self._get(mount.source)
        backing = parse(volume.options)
        content = Content(tuple(layers), self._layout, mount.target)
        filled = bool(layers) and not mount.no_copy and not (backing is not None and backing.attributes & RDONLY)
        async with self._holding(volume.name):
            if started and not isinstance(backing, Filesystem):
                # But it may have been under way for another container, whose copy takes the directory's place.
                return
            if isinstance(backing, Filesystem):
                device = await self._mounted.hold(volume.name, backing, holder)
                if device is not None:
                    self._set_device(volume, device)
                if filled and not self._mounted.used_beside(volume.name, holder):
                    await self._fill_mounted(volume.name, content)
                return
            if not filled:
                return
            if isinstance(backing, Directory):
                host = Path(backing.path)
                await self._store.run_cancellable(lambda cancel: fill(host, content, None, cancel))
                return
            # Whoever has it open, or is about to, must go on to see what is put into it. No other comes while the lock is held.
            shared = any(owner != holder for owner in self.leased.get(volume.name, ())) or any(
                user.alive for user in self._users().get(volume.name, ())
            )
            data, aside = self._store.data(volume.name), self._store.aside(volume.name)
            await self._store.run_cancellable(lambda cancel: fill(data, content, aside, cancel, shared=shared))

    async def _fill_mounted(self, name: str, content: Content) -> None:
        def run(cancel: _core.CancelFlag) -> None:
            fd, _ = self._mounted.copy(name, BindOptions(), "")
            try:
                fill(Path(f"/proc/self/fd/{fd}"), content, None, cancel)
            finally:
                os.close(fd)

        await self._store.run_cancellable(run)

    def _set_device(self, volume: Volume, device: int) -> None:
        self._volumes[volume.name] = changed = msgspec.structs.replace(volume, device=device)
        self._state.commit(Changes(put_volumes=(encode(changed),)))


def _checked_subpath(subpath: str) -> str:
    """A path in a volume.

    Raises:
        InvalidArgument: It is absolute, or leads up.
    """
    if subpath.startswith("/") or ".." in subpath.split("/") or "\0" in subpath:
        raise InvalidArgument(
            f"mounts: invalid subpath {subpath!r}: it must be a relative path within the volume", field="mounts"
        )
    return subpath
