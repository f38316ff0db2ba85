"""`Volumes`: what can be done with volumes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec
import trio

from ardock import _core
from ardock.engine.state import Changes, NewEvent, State
from ardock.engine.volumes import names
from ardock.engine.volumes.copying import Content, fill
from ardock.engine.volumes.filters import LIST, PRUNE, matcher, truth
from ardock.engine.volumes.mounted import BindOptions, Mounted, failed, open_directory
from ardock.engine.volumes.options import RDONLY, Directory, Filesystem, parse
from ardock.engine.volumes.record import Volume, decode, encode
from ardock.engine.volumes.store import Store
from ardock.model.container import Filters
from ardock.model.errors import ArdockError, Conflict, InvalidArgument, NotFound, Unsupported
from ardock.model.spec import ContainerSpec, Mount
from ardock.model.volume import ANONYMOUS_LABEL, PrunedVolumes, VolumeInfo

DRIVER: Final = "local"
_LOG: Final = logging.getLogger("ardock.volumes")
_NOTHING: Final = msgspec.msgpack.encode({})
_SHORT: Final = 12
# Users that an error names.
_NAMED: Final = 5


class User(Protocol):
    """A container, as far as volumes know one."""

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def spec(self) -> ContainerSpec:
        """Its spec, with the names of its anonymous volumes."""

    @property
    def alive(self) -> bool:
        """A program of it runs or is about to."""

    @property
    def pid(self) -> int:
        """Process id on the host, while it runs."""


# The containers that have each volume among their mounts, by its name.
Users = Callable[[], Mapping[str, Sequence[User]]]


class Lease:
    """Volumes that a container is being made with: none of them can be removed until it is in the engine's table.

    Attributes:
        owner: The container's id.
    """

    def __init__(self, volumes: Volumes, owner: str) -> None:
        """Of nothing yet."""
        self.owner = owner
        self._volumes = volumes
        self._names: list[str] = []

    def hold(self, name: str) -> None:
        """One more."""
        self._names.append(name)
        self._volumes.leased[name] = self._volumes.leased.get(name, 0) + 1

    @property
    def holds(self) -> bool:
        """Neither `release`d nor `undo`ne."""
        return bool(self._names)

    def release(self) -> None:
        """The container is in the table, or will never be. Safe to call again."""
        for name in self._names:
            self._volumes.leased[name] -= 1
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


class Volumes:
    """The volumes of one engine; implements `ardock.interface.Volumes`.

    A volume's directory and its row come and go in an order by which a start after a crash can tell what was meant; see
    `ardock.engine.volumes.store`.

    Attributes:
        leased: How many containers are being made with a volume, by its name.
    """

    def __init__(
        self,
        root: Path,
        state: State,
        rows: Iterable[tuple[str, bytes]],
        *,
        users: Users,
        nursery: trio.Nursery,
        layout: str = "overlay",
        take: Callable[[bytes], tuple[str, bytes] | None] = lambda _: None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Of the rows that the state had.

        Args:
            root: The engine's root folder.
            state: Where volumes are written down.
            rows: What it had of them.
            users: Tells which containers use which volume.
            nursery: For what nobody waits for.
            layout: How images' layers tell of deletions; see `ardock._core.copy_tree`.
            take: Of the encoded result of a call, what its commit must have for the request it answers (`Requests.take`).
            now: Wall clock, ns since 1970.

        Raises:
            FolderUnusable: A row is damaged.
        """
        self._store = Store(root)
        self._state = state
        self._users = users
        self._nursery = nursery
        self._layout = layout
        self._mounted = Mounted()
        self._take = take
        self._now = now
        self._volumes = {name: decode(name, row) for name, row in rows}
        self.leased: dict[str, int] = {}
        # One change of a volume at a time; also the filling of an empty one, for which others wait.
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._volumes)

    def __repr__(self) -> str:
        """How many there are, and where."""
        return f"<Volumes: {len(self._volumes)} in {self._store.folder}>"

    # Opening

    async def tidy(self) -> None:
        """Make directories and rows agree. To be called once, before anything else.

        Raises:
            FolderUnusable: The folder cannot be made, read or cleared.
        """
        adopted = await self._store.tidy(self._volumes)
        if adopted:
            self._volumes.update((volume.name, volume) for volume in adopted)
            await self._state.commit_and_wait(Changes(put_volumes=tuple(map(encode, adopted)), fsync=True))

    async def sweep(self, containers: Callable[[str], object]) -> None:
        """Remove what was made for containers that there are not. To be called once all containers are known.

        Args:
            containers: Gives the container of an id, or None.
        """
        for volume in list(self._volumes.values()):
            if volume.owner and containers(volume.owner) is None:
                await self.release(volume.name, volume.owner)

    # The interface

    async def create(
        self,
        name: str = "",
        *,
        driver: str = DRIVER,
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeInfo:
        """Make a volume, or find it; see `ardock.interface.Volumes.create`.

        Raises:
            InvalidArgument: The name is none, or an option is.
            Unsupported: There is no such driver.
            Conflict: It is there, with other options.
            DiskFull: The disk is full.
            FolderUnusable: The disk fails otherwise.
        """
        volume = self._planned(name, driver, dict(options or {}), dict(labels or {}))
        async with self._holding(volume.name):
            known = self._known(volume)
            if known is None:
                return await self._make(volume, answered=True)
            info = self._info(known)
            self._state.commit(Changes(request=self._take(msgspec.msgpack.encode(info))))
            return info

    async def list(self, *, filters: Filters | None = None, sizes: bool = False) -> Sequence[VolumeInfo]:
        """All that are asked for, by name; see `ardock.interface.Volumes.list`.

        Raises:
            InvalidArgument: There is no such filter or value.
        """
        fits = matcher(filters or {}, LIST)
        users = self._users()
        found = [
            volume
            for _, volume in sorted(self._volumes.items())
            if fits(volume, bool(users.get(volume.name)))
        ]  # fmt: skip
        return [self._info(volume, users, await self._store.size(volume.name) if sizes else None) for volume in found]

    async def inspect(self, name: str) -> VolumeInfo:
        """One.

        Raises:
            NotFound: There is no such volume.
        """
        return self._info(self._get(name))

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove one and what is in it; see `ardock.interface.Volumes.remove`.

        Raises:
            NotFound: There is no such volume, and `force` is not given.
            Conflict: A container has it among its mounts.
        """
        async with self._holding(name):
            if force and name not in self._volumes:
                return
            volume = self._get(name)
            self._check_unused(name)
            await self._remove(volume, answered=True)

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> PrunedVolumes:  # noqa: A002 - Docker's name
        """Remove those that no container uses; see `ardock.interface.Volumes.prune`.

        Raises:
            InvalidArgument: There is no such filter or value.
        """
        filters = filters or {}
        fits = matcher(filters, PRUNE)
        every = all or any(truth("all", value) for value in filters.get("all", ()))
        users = self._users()
        removed: list[str] = []
        reclaimed = 0
        for name, volume in sorted(self._volumes.items()):
            if not (every or volume.anonymous) or users.get(name) or not fits(volume, False):
                continue
            async with self._holding(name):
                if name not in self._volumes or self._in_use(name):
                    continue
                size = await self._store.size(name)
                # Somebody may have come while it was counted.
                if self._in_use(name):
                    continue
                await self._remove(volume)
            removed.append(name)
            reclaimed += size
        result = PrunedVolumes(removed=removed, reclaimed=reclaimed)
        self._state.commit(Changes(request=self._take(msgspec.msgpack.encode(result))))
        return result

    # For containers

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

    def disown(self, container: User) -> tuple[tuple[str, bytes], ...]:
        """`container` is removed and its anonymous volumes stay: their rows for the same commit."""
        rows = []
        for name in _anonymous(container):
            volume = self._volumes.get(name)
            if volume is not None and volume.owner == container.id:
                self._volumes[name] = kept = msgspec.structs.replace(volume, owner="")
                rows.append(encode(kept))
        return tuple(rows)

    async def remove_with(self, container: User) -> None:
        """`container`, which is not in the table any more, takes its anonymous volumes with it, but for those in use elsewhere.

        What cannot be removed now is found by the next engine.
        """
        for name in _anonymous(container):
            await self.release(name, container.id, "")

    async def release(self, name: str, owner: str, *others: str) -> None:
        """A volume's owner is gone: it goes, or where another container has it, with that one; also when cancelled.

        Args:
            name: The volume; one that has another owner than `owner` and `others` is left alone.
            owner: The container's id.
            others: Who else may own it; empty is nobody.
        """
        with trio.CancelScope(shield=True):
            async with self._holding(name):
                volume = self._volumes.get(name)
                if volume is None or volume.owner not in (owner, *others):
                    return
                heirs = [user for user in self._users().get(name, ()) if user.id != owner]
                if heirs or self.leased.get(name):
                    heir = next((user.id for user in heirs if name in _anonymous(user)), "")
                    self._volumes[name] = volume = msgspec.structs.replace(volume, owner=heir)
                    self._state.commit(Changes(put_volumes=(encode(volume),)))
                    return
                try:
                    await self._remove(volume)
                except ArdockError as error:
                    _LOG.error("volume %s could not be removed with its container: %s", name, error.message)

    # The inside

    def _get(self, name: str) -> Volume:
        volume = self._volumes.get(name)
        if volume is None:
            raise NotFound(f"volume: no such volume: {name!r}", field="volume")
        return volume

    def _info(
        self, volume: Volume, users: Mapping[str, Sequence[User]] | None = None, size: int | None = None
    ) -> VolumeInfo:
        found = (self._users() if users is None else users).get(volume.name, ())
        return volume.info(str(self._store.data(volume.name)), tuple([user.id for user in found]), size)

    def _planned(
        self,
        name: str,
        driver: str,
        options: dict[str, str],
        labels: dict[str, str],
        *,
        owner: str = "",
        field: str = "name",
    ) -> Volume:
        """A volume that may be made; `field` is where its name was given.

        Raises:
            InvalidArgument: The name is none, or an option is.
            Unsupported: There is no such driver.
        """
        parse(options)
        if driver not in ("", DRIVER):
            raise Unsupported(f"driver: there is no volume driver {driver!r}, only {DRIVER!r}", option="driver")
        if not name:
            labels = {ANONYMOUS_LABEL: "", **labels}
        return Volume(
            name=names.check(name, field) if name else names.make_up(),
            options=options,
            labels=labels,
            created_at=self._now(),
            owner=owner,
        )

    def _known(self, wanted: Volume) -> Volume | None:
        """The volume of that name, which is as it is wanted; None where there is none.

        Raises:
            Conflict: It is another.
        """
        known = self._volumes.get(wanted.name)
        if known is not None and wanted.options and known.options != wanted.options:
            raise Conflict(
                f"volume {known.name} is there with other options ({_told(known.options)} instead of {_told(wanted.options)}): "
                "remove it first, or leave the options out"
            )
        return known

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
        if started and not isinstance(backing, Filesystem):
            return
        async with self._holding(volume.name):
            if isinstance(backing, Filesystem):
                device = await self._mounted.hold(volume.name, backing, holder)
                if device is not None:
                    self._set_device(volume, device)
                if filled and not self._mounted.used_beside(volume.name, holder):
                    await self._fill_mounted(volume.name, content)
                return
            if not filled or any(user.alive for user in self._users().get(volume.name, ())):
                # With users it is somebody's already, and empty because they want it so.
                return
            if isinstance(backing, Directory):
                host = Path(backing.path)
                await self._store.run_cancellable(lambda cancel: fill(host, content, None, cancel))
            else:
                data, aside = self._store.data(volume.name), self._store.aside(volume.name)
                await self._store.run_cancellable(lambda cancel: fill(data, content, aside, cancel))

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

    async def _make(self, volume: Volume, *, answered: bool = False) -> VolumeInfo:
        """Make the directory and the row; `answered`: for a call that makes this and nothing else."""
        info = self._info(volume)
        with trio.CancelScope(shield=True):
            await self._store.prepare(volume)
            try:
                await self._state.commit_and_wait(
                    Changes(
                        events=(self._event("create", volume.name),),
                        put_volumes=(encode(volume),),
                        request=self._take(msgspec.msgpack.encode(info)) if answered else None,
                        fsync=True,
                        may_fail=True,
                    )
                )
            except BaseException:
                await self._store.discard(volume.name)
                raise
            try:
                await self._store.settle(volume.name)
            except BaseException:
                self._state.commit(Changes(events=(self._event("destroy", volume.name),), drop_volumes=(volume.name,)))
                raise
            self._volumes[volume.name] = volume
        return info

    def _in_use(self, name: str) -> bool:
        return bool(self._users().get(name)) or bool(self.leased.get(name))

    def _check_unused(self, name: str) -> None:
        users = self._users().get(name, ())
        if users:
            told = ", ".join(f"{user.id[:_SHORT]} ({user.name})" for user in users[:_NAMED])
            more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
            plural = "s" if len(users) > 1 else ""
            raise Conflict(
                f"volume {name} is in use by container{plural} {told}{more}: remove the container{plural} first"
            )
        if self.leased.get(name):
            raise Conflict(f"volume {name} is in use by a container that is being made")

    async def _remove(self, volume: Volume, *, answered: bool = False) -> None:
        """Remove one that nobody uses; no checkpoint since that was seen."""
        # In memory first: no container is made with it from now on.
        del self._volumes[volume.name]
        with trio.CancelScope(shield=True):
            try:
                await self._store.unsettle(volume.name)
            except BaseException:
                self._volumes[volume.name] = volume
                raise
            await self._state.commit_and_wait(
                Changes(
                    events=(self._event("destroy", volume.name),),
                    drop_volumes=(volume.name,),
                    request=self._take(_NOTHING) if answered else None,
                    fsync=True,
                )
            )
            await self._store.discard(volume.name)

    @asynccontextmanager
    async def _holding(self, name: str) -> AsyncIterator[None]:
        """Nobody else makes, fills or removes the volume of this name meanwhile."""
        lock = self._locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._locks.get(name) is lock:
                del self._locks[name]

    def _event(self, action: str, name: str, attributes: Mapping[str, str] | None = None) -> NewEvent:
        return NewEvent(
            time=self._now(),
            type="volume",
            action=action,
            id=name,
            attributes={"driver": DRIVER, **(attributes or {})},
        )


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


def volume_names(spec: ContainerSpec) -> list[str]:
    """The volumes among a container's mounts."""
    return [mount.source for mount in spec.mounts if mount.type == "volume"]


def _anonymous(container: User) -> list[str]:
    """Volumes that go with a container where nobody else has them."""
    return [mount.source for mount in container.spec.mounts if mount.type == "volume" and mount.anonymous]


def _told(options: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(options.items())) or "none"
