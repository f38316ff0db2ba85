"""A registry's repository as a source."""

from __future__ import annotations

import hashlib

from ardock.engine.images.formats import Descriptor
from ardock.engine.images.sources import Sink
from ardock.engine.registry.repository import Repository
from ardock.model.errors import ContentDamaged


class RegistrySource:
    """An image of a repository."""

    def __init__(self, repository: Repository) -> None:
        """Of this one."""
        self._repository = repository

    async def read(self, descriptor: Descriptor, what: str) -> bytes:
        """See `Source`."""
        if descriptor.media_type.endswith(("manifest.v1+json", "index.v1+json", "v2+json")):
            fetched = await self._repository.manifest(descriptor.digest)
            return fetched.data
        data = bytearray()
        async with self._repository.blob(descriptor.digest, descriptor.size) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > descriptor.size:
                    break
        algorithm, _, digits = descriptor.digest.partition(":")
        if hashlib.new(algorithm, data).hexdigest() != digits:
            raise ContentDamaged(f"{what}: what the registry sent has another digest than {descriptor.digest}")
        return bytes(data)

    async def pour(self, descriptor: Descriptor, sink: Sink) -> None:
        """See `Source`."""
        async with self._repository.blob(descriptor.digest, descriptor.size) as pieces:
            async for piece in pieces:
                await sink.feed(piece)
