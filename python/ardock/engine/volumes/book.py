"""The volumes that there are: in memory, in the state and on the disk at once."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from ardock.engine.state import Changes, NewEvent, State
from ardock.engine.volumes import names
from ardock.engine.volumes.mounted import Mounted
from ardock.engine.volumes.options import parse
from ardock.engine.volumes.record import Volume, decode, encode
from ardock.engine.volumes.store import Store
from ardock.engine.volumes.users import User, Users, anonymous_names
from ardock.model.errors import ArdockError, Conflict, InvalidArgument, NotFound, Unsupported
from ardock.model.volume import ANONYMOUS_LABEL, VolumeInfo

DRIVER: Final = "local"
_LOG: Final = logging.getLogger("ardock.volumes")
_NOTHING: Final = msgspec.msgpack.encode({})
_SHORT: Final = 12
# Users that an error names.
_NAMED: Final = 5


class _Given(msgspec.Struct):
    """What a caller may give, by its types."""

    name: str
    options: dict[str, str]
    labels: dict[str, str]


class Book:
    """Makes and removes volumes, one change of each at a time.

    A volume's directory and its row come and go in an order by which a start after a crash can tell what was meant; see
    `ardock.engine.volumes.store`.

    Attributes:
        leased: The containers that are being made with a volume, by its name.
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
        self.leased: dict[str, list[str]] = {}
        # One change of a volume at a time; also the filling of an empty one, for which others wait.
        self._locks: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._volumes)

    def __repr__(self) -> str:
        """How many there are, and where."""
        return f"<Volumes: {len(self._volumes)} in {self._store.folder}>"

    def disown(self, container: User) -> tuple[tuple[str, bytes], ...]:
        """`container` is removed and its anonymous volumes stay: their rows for the same commit."""
        rows = []
        for name in anonymous_names(container):
            volume = self._volumes.get(name)
            if volume is not None and volume.owner == container.id:
                self._volumes[name] = kept = msgspec.structs.replace(volume, owner="")
                rows.append(encode(kept))
        return tuple(rows)

    async def remove_with(self, container: User) -> None:
        """`container`, which is not in the table any more, takes its anonymous volumes with it, but for those in use elsewhere.

        What cannot be removed now is found by the next engine.
        """
        for name in anonymous_names(container):
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
                    heir = next((user.id for user in heirs if name in anonymous_names(user)), "")
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
        try:
            msgspec.convert({"name": name, "options": options, "labels": labels}, _Given)
            msgspec.msgpack.encode((name, options, labels))
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"{field}: {error}", field=field) from None
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{field}: not valid UTF-8: {error.object!r}", field=field) from None
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


def _told(options: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(options.items())) or "none"
