"""Reading from a real registry."""

from __future__ import annotations

import hashlib

import pytest
import trio

from ardock.engine.registry import Registries
from ardock.engine.registry.repository import Repository
from ardock.model.errors import EngineClosed, InvalidArgument, NotFound, RegistryUnavailable, Unsupported
from ardock.model.reference import parse_reference
from ardock.model.registry import RegistryOptions
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Image, Registry, free_port

LAYER = bytes(range(256)) * 16_000 + b"the end"


@pytest.fixture(scope="module")
def image(registry: Registry) -> Image:
    return registry.put_image("some/app", "1", [LAYER, b""])


def opened(registries: Registries, registry: Registry, name: str = "some/app") -> Repository:
    return registries.open(parse_reference(f"{registry.host}/{name}"), registry.credentials)


async def read(repository: Repository, digest: str, size: int | None = None) -> list[bytes]:
    async with repository.blob(digest, size) as pieces:
        return [piece async for piece in pieces]


async def test_a_manifest_by_tag_and_by_digest(registry: Registry, image: Image) -> None:
    async with opened(Registries(), registry) as repository:
        by_tag = await repository.manifest("1")
        assert by_tag.data == image.manifest
        assert by_tag.digest == image.digest
        assert by_tag.media_type == "application/vnd.oci.image.manifest.v1+json"
        assert await repository.manifest(image.digest) == by_tag


@pytest.mark.parametrize("known", [True, False])
async def test_a_blob_comes_in_large_pieces(registry: Registry, image: Image, *, known: bool) -> None:
    async with opened(Registries(), registry) as repository:
        pieces = await read(repository, image.layers[0], len(LAYER) if known else None)
    assert b"".join(pieces) == LAYER
    assert all(1 << 20 <= len(piece) < (1 << 20) + (64 << 10) for piece in pieces[:-1])


async def test_an_empty_blob(registry: Registry, image: Image) -> None:
    async with opened(Registries(), registry) as repository:
        assert await read(repository, image.layers[1]) == []
        assert await read(repository, image.layers[1], 0) == []


async def test_whether_a_blob_is_there(registry: Registry, image: Image) -> None:
    async with opened(Registries(), registry) as repository:
        assert await repository.exists(image.layers[0]) == len(LAYER)
        assert await repository.exists("sha256:" + "0" * 64) is None


async def test_a_blob_by_sha512(registry: Registry) -> None:
    digest = registry.put_blob("some/app", b"content", "sha512")
    async with opened(Registries(), registry) as repository:
        assert await read(repository, digest, 7) == [b"content"]


async def test_what_is_not_there_is_named(registry: Registry, image: Image) -> None:
    missing = "sha256:" + hashlib.sha256(b"missing").hexdigest()
    async with opened(Registries(), registry) as repository:
        with pytest.raises(NotFound, match=f"{registry.host}/some/app:2: not found.*no such image"):
            await repository.manifest("2")
        with pytest.raises(NotFound, match=f"some/app@{missing}"):
            await repository.manifest(missing)
        with pytest.raises(NotFound, match="no such blob"):
            await read(repository, missing)
        with pytest.raises(InvalidArgument, match="no digest"):
            await read(repository, "1")
        for target in ("../../other/manifests/1", "sha256:../../x", "1?a=b", "sha256:" + "0" * 63, ""):
            with pytest.raises(InvalidArgument):
                await repository.manifest(target)
        with pytest.raises(Unsupported, match="sha384"):
            await repository.exists("sha384:" + "0" * 96)
    async with opened(Registries(), registry, "other/app") as repository:
        with pytest.raises(NotFound, match="no such repository"):
            await repository.tags()


async def test_all_tags(registry: Registry) -> None:
    for tag in ("c", "b", "a", "e", "d"):
        registry.put_image("tagged", tag, [])
    async with opened(Registries(), registry, "tagged") as repository:
        assert await repository.tags() == ["a", "b", "c", "d", "e"]


async def test_a_registry_that_is_not_there_is_told() -> None:
    host = f"127.0.0.1:{free_port()}"
    async with Registries(RegistryOptions(attempts=1)).open(parse_reference(f"{host}/app")) as repository:
        with pytest.raises(RegistryUnavailable, match=f"{host}: cannot be reached: connection refused"):
            await repository.manifest("latest")


async def test_what_was_closed_is_not_used(registry: Registry, image: Image) -> None:
    repository = opened(Registries(), registry)
    async with repository:
        await repository.manifest("1")
    await repository.aclose()
    assert repr(repository) == f"<Repository {registry.host}/some/app closed>"
    with pytest.raises(EngineClosed):
        await repository.manifest("1")
    with pytest.raises(EngineClosed):
        await repository.tags()


async def test_connections_are_shared_and_closed_with_the_last_user(registry: Registry, image: Image) -> None:
    with Proxy(registry.port) as proxy:
        registries = Registries()
        reference = parse_reference(f"{proxy.host}/some/app")
        async with registries.open(reference) as first:
            await first.manifest("1")
            async with registries.open(reference) as second:
                await second.manifest("1")
            await proxy.until(1)
            await first.manifest("1")
        await proxy.until(0)
        assert proxy.count("/v2/$") == 1, "what is known of the registry is kept"
        async with registries.open(reference) as third:
            await third.manifest("1")
        assert proxy.count("/v2/$") == 1


async def test_no_more_connections_than_allowed(registry: Registry, image: Image) -> None:
    with Proxy(registry.port) as proxy:
        proxy.faults.append(Fault("blobs", rate=20e6, times=-1))
        async with Registries(RegistryOptions(connections=3)).open(
            parse_reference(f"{proxy.host}/some/app")
        ) as repository:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(read, repository, image.layers[0], len(LAYER))
                most = 0
                while proxy.count("blobs") < 8:
                    most = max(most, proxy.connections)
                    await trio.sleep(0.01)
        assert most == 3
