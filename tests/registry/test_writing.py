"""Writing to a real registry: uploads that break, mounts, manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio

from ardock.engine.registry import Registries
from ardock.engine.registry.repository import Repository
from ardock.model.errors import ContentDamaged, NotFound, NotPermitted, RegistryUnavailable
from ardock.model.reference import parse_reference
from ardock.model.registry import RegistryOptions
from tests.registry.conftest import Waits
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Registry

MIB = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Blob:
    """Bytes to upload.

    Attributes:
        digest: Of them.
        opened: The offsets that it was opened at.
        told: What progress was told.
    """

    def __init__(self, seed: str, size: int, algorithm: str = "sha256") -> None:
        self.data = (hashlib.sha256(seed.encode()).digest() * (size // 32 + 1))[:size]
        self.size = size
        self.digest = f"{algorithm}:{hashlib.new(algorithm, self.data).hexdigest()}"
        self.opened: list[int] = []
        self.told: list[int] = []

    @staticmethod
    def digest_of(data: bytes) -> str:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    @asynccontextmanager
    async def open(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened.append(offset)
        async with aclosing(self._pieces(offset)) as pieces:
            yield pieces

    async def _pieces(self, offset: int) -> AsyncGenerator[bytes, None]:
        for start in range(offset, self.size, MIB):
            await trio.lowlevel.checkpoint()
            yield self.data[start : min(start + MIB, self.size)]

    async def upload(self, repository: Repository) -> None:
        await repository.upload(self.digest, self.size, self.open, self.told.append)


def opened(proxy: Proxy, waits: Waits, name: str, options: RegistryOptions | None = None) -> Repository:
    return Registries(options, pace=waits.pace).open(parse_reference(f"{proxy.host}/{name}"), push=True)


def stored(registry: Registry, name: str, digest: str) -> bytes:
    status, _, body = registry.request("GET", f"/v2/{name}/blobs/{digest}")
    assert status == 200
    return body


@pytest.mark.parametrize("size", [0, 1, MIB, 5 * MIB + 3])
@pytest.mark.parametrize("chunk", [0, 2 * MIB])
async def test_a_blob_whole_and_in_pieces(
    proxy: Proxy, registry: Registry, waits: Waits, size: int, chunk: int
) -> None:
    blob = Blob(f"{size} {chunk}", size)
    name = f"written/{chunk}"
    async with opened(proxy, waits, name, RegistryOptions(chunk=chunk)) as repository:
        await blob.upload(repository)
        assert await repository.exists(blob.digest) == size
    assert stored(registry, name, blob.digest) == blob.data
    assert registry.uploads(name) == []
    pieces = proxy.count("^PATCH")
    assert pieces == (-(-size // chunk) if chunk else 0)
    assert blob.told == sorted(blob.told)
    assert (blob.told or [0])[-1] == size


async def test_a_blob_by_sha512(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    blob = Blob("long", 1000, "sha512")
    async with opened(proxy, waits, "sha512") as repository:
        await blob.upload(repository)
    assert stored(registry, "sha512", blob.digest) == blob.data


@pytest.mark.parametrize(
    "fault",
    [
        Fault("^PUT", cut_request_after=0),
        Fault("^PUT", cut_request_after=2 * MIB + 5),
        Fault("^PUT", status=503),
        Fault("^PUT", status=404),
        Fault("^POST", status=502),
        Fault("^POST", lose_answer=True),
        Fault("^PUT", lose_answer=True),
    ],
    ids=["head", "middle", "503", "forgotten", "502", "session lost", "answer lost"],
)
async def test_an_upload_that_breaks_is_mended(
    proxy: Proxy, registry: Registry, waits: Waits, fault: Fault, request: pytest.FixtureRequest
) -> None:
    proxy.faults.append(fault)
    blob = Blob(request.node.name, 4 * MIB)
    async with opened(proxy, waits, "mended") as repository:
        await blob.upload(repository)
    assert stored(registry, "mended", blob.digest) == blob.data
    assert len(waits.slept) == 1
    if "answer lost" in request.node.name:
        assert blob.opened == [0], "it had arrived"


@pytest.mark.parametrize("at", [0, 100_000, MIB])
async def test_an_upload_in_pieces_that_breaks_is_mended(
    proxy: Proxy, registry: Registry, waits: Waits, at: int
) -> None:
    proxy.faults.append(Fault("^PATCH", skip=1, cut_request_after=at))
    blob = Blob(f"in pieces {at}", 5 * MIB)
    async with opened(proxy, waits, "mended", RegistryOptions(chunk=2 * MIB)) as repository:
        await blob.upload(repository)
    assert stored(registry, "mended", blob.digest) == blob.data


async def test_a_piece_that_the_registry_has_already_is_not_sent_again(
    proxy: Proxy, registry: Registry, waits: Waits
) -> None:
    """What a registry answers that finds other bytes than the request says (416): its state is asked for."""
    session = "/v2/resumed/blobs/uploads/1"
    proxy.faults += [
        Fault("^POST", status=202, headers={"Location": session + "?state=a"}),
        Fault("^PATCH", status=202, headers={"Location": session + "?state=b", "Range": f"0-{MIB - 1}"}),
        Fault("^PATCH", status=416, headers={"Location": session, "Range": f"0-{2 * MIB - 1}"}),
        Fault("^GET", status=204, headers={"Location": proxy.url + session + "?state=c", "Range": f"0-{2 * MIB - 1}"}),
        Fault("^PATCH", status=202, headers={"Location": session + "?state=d", "Range": f"0-{3 * MIB - 1}"}),
        Fault("^PUT", status=201),
    ]
    proxy.faults.insert(0, Fault("/v2/$", status=200))
    blob = Blob("resumed", 3 * MIB)
    async with opened(proxy, waits, "resumed", RegistryOptions(chunk=MIB)) as repository:
        await blob.upload(repository)
    assert blob.opened == [0, MIB, 2 * MIB]
    assert [each.line for each in proxy.seen("uploads/1")] == [
        f"PATCH {session}?state=a",
        f"PATCH {session}?state=b",
        f"GET {session}?state=b",
        f"PATCH {session}?state=c",
        f"PUT {session}?state=d&digest={blob.digest}",
    ]
    assert proxy.seen("PATCH.*state=c")[0].headers["content-range"] == f"{2 * MIB}-{3 * MIB - 1}"


async def test_what_a_broken_upload_left_is_gone_on_with(proxy: Proxy, waits: Waits) -> None:
    session = "/v2/resumed/blobs/uploads/2"
    proxy.faults += [
        Fault("/v2/$", status=200),
        Fault("^POST", status=202, headers={"Location": session}),
        Fault("^PUT", cut_request_after=MIB),
        Fault("^GET", status=204, headers={"Range": f"0-{MIB - 1}"}),
        Fault("^PATCH", status=202, headers={"Location": session}),
        Fault("^PUT", status=201),
    ]
    blob = Blob("gone on with", 3 * MIB)
    async with opened(proxy, waits, "resumed") as repository:
        await blob.upload(repository)
    assert blob.opened == [0, MIB]
    assert proxy.seen("PATCH")[0].received == 2 * MIB


async def test_a_proxy_that_bounds_requests_gets_pieces(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    proxy.faults.append(Fault("^PUT", status=413))
    blob = Blob("large", 40 * MIB)
    async with opened(proxy, waits, "large") as repository:
        await blob.upload(repository)
    assert [each.received for each in proxy.seen("^PATCH")] == [16 * MIB, 16 * MIB, 8 * MIB]
    assert stored(registry, "large", blob.digest) == blob.data


async def test_pieces_are_no_smaller_than_the_registry_wants(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    proxy.faults.append(Fault("^POST", replace_headers={"OCI-Chunk-Min-Length": str(3 * MIB)}))
    blob = Blob("least", 5 * MIB)
    async with opened(proxy, waits, "least", RegistryOptions(chunk=MIB)) as repository:
        await blob.upload(repository)
    assert [each.received for each in proxy.seen("^PATCH")] == [3 * MIB, 2 * MIB]


async def test_an_upload_that_never_gets_on_ends_and_leaves_no_session(
    proxy: Proxy, registry: Registry, waits: Waits
) -> None:
    proxy.faults.append(Fault("^PUT", status=500, times=-1))
    blob = Blob("never", MIB)
    async with opened(proxy, waits, "never", RegistryOptions(attempts=3)) as repository:
        with pytest.raises(RegistryUnavailable, match="status 500"):
            await blob.upload(repository)
    assert waits.slept == [0.5, 1.0]
    assert registry.uploads("never") == []


async def test_an_upload_that_is_cancelled_gives_its_session_up(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    """docker-registry does as it is told only where the session rests: one in the middle of a request it cannot remove."""
    proxy.faults.append(Fault("^PATCH", skip=1, hang=True))
    blob = Blob("cancelled", 20 * MIB)
    async with opened(proxy, waits, "cancelled", RegistryOptions(chunk=5 * MIB)) as repository:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(blob.upload, repository)
                await proxy.until_seen("^PATCH", 2)
                scope.cancel()
        assert scope.cancelled_caught
        assert blob.told[-1] < 20 * MIB
        await proxy.until(1)
    await proxy.until(0)
    assert proxy.count("^PATCH") == 2
    assert proxy.count("^DELETE") == 1
    assert registry.uploads("cancelled") == []


async def test_an_upload_that_is_cancelled_in_a_request_leaves_no_connection(proxy: Proxy, waits: Waits) -> None:
    blob = Blob("cancelled in a request", 20 * MIB)
    async with opened(proxy, waits, "cancelled") as repository:
        with trio.CancelScope() as scope:

            def progress(sent: int) -> None:
                if sent >= 3 * MIB:
                    scope.cancel()

            await repository.upload(blob.digest, blob.size, blob.open, progress)
        assert scope.cancelled_caught
    await proxy.until(0)
    assert proxy.count("^PUT") == 1
    assert proxy.count("^DELETE") == 1


async def test_wrong_bytes_are_told(proxy: Proxy, waits: Waits) -> None:
    blob = Blob("wrong", MIB)
    blob.data = blob.data[:-1] + b"?"
    async with opened(proxy, waits, "wrong") as repository:
        with pytest.raises(ContentDamaged, match="other bytes than the digest names"):
            await blob.upload(repository)
        blob.data = blob.data[:-2]
        blob.size -= 2
        with pytest.raises(ContentDamaged, match=f"ends after {MIB - 2} bytes of {MIB}"):
            await repository.upload(blob.digest, MIB, blob.open)


async def test_a_blob_is_mounted_from_another_repository(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    digest = registry.put_blob("mount/source", b"the content")
    missing = "sha256:" + "0" * 64
    async with opened(proxy, waits, "mount/target") as repository:
        assert await repository.exists(digest) is None
        assert await repository.mount(digest, "mount/source")
        assert await repository.exists(digest) == 11
        assert not await repository.mount(missing, "mount/source")
        assert not await repository.mount(missing, "mount/nothing")
    assert registry.uploads("mount/target") == [], "the upload that was opened instead is given up"


async def test_a_manifest_by_tag_and_by_digest(proxy: Proxy, registry: Registry, waits: Waits) -> None:
    blob, config = Blob("a layer", 1000), Blob("a config", 100)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": 100},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": blob.digest, "size": blob.size}
            ],
        }
    ).encode()
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    async with opened(proxy, waits, "manifested") as repository:
        with pytest.raises(NotFound, match=r"manifested:1: .*it lacks a blob that the manifest names"):
            await repository.put_manifest("1", MANIFEST, manifest)
        await blob.upload(repository)
        await config.upload(repository)
        assert await repository.put_manifest("1", MANIFEST, manifest) == digest
        assert await repository.put_manifest(digest, MANIFEST, manifest) == digest
        assert (await repository.manifest("1")).data == manifest
        proxy.faults.append(Fault("^PUT", replace_headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))
        with pytest.raises(ContentDamaged, match="has kept it as sha256:0000"):
            await repository.put_manifest("1", MANIFEST, manifest)


async def test_what_may_not_be_written_is_told(proxy: Proxy, waits: Waits) -> None:
    proxy.faults.append(Fault("^POST", status=403, body=b'{"errors": [{"code": "DENIED", "message": "read only"}]}'))
    blob = Blob("denied", 10)
    async with opened(proxy, waits, "denied") as repository:
        with pytest.raises(NotPermitted, match=r"does not allow it.*denied: read only"):
            await blob.upload(repository)
    assert waits.slept == []
