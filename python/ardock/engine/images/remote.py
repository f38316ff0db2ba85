"""A registry's repository as a source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ardock.engine.images.formats import Descriptor
from ardock.engine.images.sources import Sink, Source
from ardock.model.errors import ContentDamaged

if TYPE_CHECKING:
    from ardock.engine.registry.repository import Repository  # imported with the first pull alone


class RegistrySource:
    """An image of a repository."""

    local = False

    def __init__(self, repository: Repository, *, mirrors: bool = True) -> None:
        """Of this one; without `mirrors` from its own registry alone."""
        self._repository = repository
        self._mirrors = mirrors

    def has(self, digest: str) -> bool:
        """See `Source`."""
        return bool(digest)

    async def read(self, descriptor: Descriptor, what: str) -> bytes:
        """See `Source`."""
        if descriptor.media_type.endswith(("manifest.v1+json", "index.v1+json", "v2+json")):
            fetched = await self._repository.manifest(descriptor.digest)
            return fetched.data
        data = await self._blob(descriptor)
        other = self.elsewhere()
        if not _fits(data, descriptor.digest) and other is not None:
            return await other.read(descriptor, what)
        if not _fits(data, descriptor.digest):
            raise ContentDamaged(f"{what}: what the registry sent has another digest than {descriptor.digest}")
        return data

    async def _blob(self, descriptor: Descriptor) -> bytes:
        data = bytearray()
        async with self._repository.blob(descriptor.digest, descriptor.size, mirrors=self._mirrors) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > descriptor.size:
                    break
        return bytes(data)

    async def pour(self, descriptor: Descriptor, sink: Sink) -> None:
        """See `Source`."""
        async with self._repository.blob(descriptor.digest, descriptor.size, mirrors=self._mirrors) as pieces:
            async for piece in pieces:
                await sink.feed(piece)

    def elsewhere(self) -> Source | None:
        """See `Source`: a mirror's damage is not the registry's."""
        if self._mirrors and self._repository.mirrored:
            return RegistrySource(self._repository, mirrors=False)
        return None


def _fits(data: bytes, digest: str) -> bool:
    algorithm, _, digits = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == digits
