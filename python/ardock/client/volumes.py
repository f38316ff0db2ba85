"""`Volumes` of an engine in another process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ardock.client.remote import Remote
from ardock.model.container import Filters
from ardock.model.volume import PrunedVolumes, VolumeInfo
from ardock.protocol import methods


class Volumes:
    """The volumes of one engine, as `ardock.interface.Volumes` describes them."""

    def __init__(self, remote: Remote) -> None:
        """Made by `connect` alone."""
        self._remote = remote

    async def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeInfo:
        """Make a volume, or find the one that is there."""
        params = methods.CreateVolume(name=name, driver=driver, options=dict(options or {}), labels=dict(labels or {}))
        return await self._remote.change(methods.CREATE_VOLUME, params)

    async def list(self, *, filters: Filters | None = None, sizes: bool = False) -> Sequence[VolumeInfo]:
        """All of them, by name."""
        return (
            await self._remote.call(methods.VOLUMES, methods.ListVolumes(filters=filters or {}, sizes=sizes))
        ).volumes

    async def inspect(self, name: str) -> VolumeInfo:
        """One."""
        return await self._remote.call(methods.VOLUME, methods.VolumeRef(name=name))

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove one and what is in it."""
        await self._remote.change(methods.REMOVE_VOLUME, methods.RemoveVolume(name=name, force=force))

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> PrunedVolumes:  # noqa: A002 - Docker's name
        """Remove those that no container has among its mounts."""
        return await self._remote.change(methods.PRUNE_VOLUMES, methods.PruneVolumes(all=all, filters=filters or {}))
