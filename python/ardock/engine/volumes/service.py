"""`Volumes`: what can be done with volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ardock.engine.state import Changes
from ardock.engine.volumes.book import DRIVER
from ardock.engine.volumes.filters import LIST, PRUNE, matcher, truth
from ardock.engine.volumes.record import encode
from ardock.engine.volumes.used import Used
from ardock.model.container import Filters
from ardock.model.volume import PrunedVolumes, VolumeInfo


class Volumes(Used):
    """The volumes of one engine; implements `ardock.interface.Volumes`."""

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
            return self._info(known)

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
        return PrunedVolumes(removed=removed, reclaimed=reclaimed)
