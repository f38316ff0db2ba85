"""What breaks on the way is mended or told, and nothing waits in vain."""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ardock.engine.registry import Registries
from ardock.engine.registry.repository import Repository
from ardock.model.errors import (
    ContentDamaged,
    InvalidArgument,
    NotFound,
    NotPermitted,
    RegistryUnavailable,
    Unsupported,
)
from ardock.model.reference import parse_reference
from ardock.model.registry import Credentials, RegistryOptions
from tests.registry.conftest import Waits
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Image, Registry, free_port

LAYER = bytes(range(256)) * 12_000 + b"the end"
DIGEST = "sha256:" + hashlib.sha256(LAYER).hexdigest()
BLOB = "GET .*/blobs/"


@pytest.fixture(scope="module")
def image(registry: Registry) -> Image:
    return registry.put_image("faulty", "1", [LAYER])


def opened(proxy: Proxy, waits: Waits, options: RegistryOptions | None = None) -> Repository:
    return Registries(options, pace=waits.pace).open(parse_reference(f"{proxy.host}/faulty"))


async def read(repository: Repository, size: int | None = len(LAYER)) -> bytes:
    async with repository.blob(DIGEST, size) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("known", [True, False])
async def test_a_blob_that_breaks_off_goes_on_by_range(
    proxy: Proxy, image: Image, waits: Waits, *, known: bool
) -> None:
    proxy.faults += [Fault(BLOB, cut_after=1_000_000), Fault(BLOB, cut_after=700_000)]
    async with opened(proxy, waits) as repository:
        assert await read(repository, len(LAYER) if known else None) == LAYER
    ranges = [each.headers.get("range") for each in proxy.seen(BLOB)]
    assert ranges[0] is None
    starts = [int(re.fullmatch(r"bytes=(\d+)-", each)[1]) for each in ranges[1:] if each is not None]  # type: ignore[index]
    assert len(starts) == 2
    assert 900_000 < starts[0] <= 1_000_000
    assert starts[0] < starts[1] <= 1_700_000
    assert waits.slept == [0.5, 0.5], "what made progress is no repeated failure"


async def test_bytes_that_come_again_where_range_is_ignored_are_left_out(
    proxy: Proxy, image: Image, waits: Waits
) -> None:
    proxy.faults += [Fault(BLOB, cut_after=1_500_000), Fault(BLOB, ignore_range=True)]
    async with opened(proxy, waits) as repository:
        assert await read(repository) == LAYER


async def test_a_blob_that_breaks_at_its_very_end(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault(BLOB, cut_after=len(LAYER)))
    async with opened(proxy, waits) as repository:
        assert await read(repository) == LAYER


async def test_a_blob_that_never_gets_on_ends_with_an_error(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault(BLOB, times=-1, cut_after=0))
    async with opened(proxy, waits, RegistryOptions(attempts=3)) as repository:
        with pytest.raises(RegistryUnavailable, match=f"faulty@{DIGEST}: {proxy.host}: the connection broke"):
            await read(repository)
    assert proxy.count(BLOB) == 3
    assert waits.slept == [0.5, 1.0]


async def test_a_blob_of_another_size_is_damaged(proxy: Proxy, image: Image, waits: Waits) -> None:
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match=f"it has {len(LAYER)} bytes of it where there should be 10"):
            await read(repository, 10)
    # The same where the server does not tell the length beforehand.
    proxy.faults.append(Fault(BLOB, replace_headers={"content-length": None, "transfer-encoding": "chunked"}, times=-1))
    async with opened(proxy, waits) as repository:
        with pytest.raises(ContentDamaged, match="more than the 10 bytes"):
            await read(repository, 10)
        with pytest.raises(RegistryUnavailable, match=f"ends after {len(LAYER)} bytes of {len(LAYER) + 1}|no byte"):
            await read(repository, len(LAYER) + 1)


async def test_a_wrong_byte_of_a_blob_is_not_the_clients_to_find(proxy: Proxy, image: Image, waits: Waits) -> None:
    """It says so: the store holds what comes against the digest."""
    proxy.faults.append(Fault(BLOB, corrupt_at=5))
    async with opened(proxy, waits) as repository:
        got = await read(repository)
    assert len(got) == len(LAYER)
    assert got != LAYER


async def test_a_manifest_is_held_against_its_digest(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault("manifests", times=-1, corrupt_at=20))
    async with opened(proxy, waits) as repository:
        with pytest.raises(ContentDamaged, match=f"its digest is sha256:[0-9a-f]+, not {image.digest}"):
            await repository.manifest(image.digest)
        with pytest.raises(ContentDamaged, match=f"not {image.digest}"):
            await repository.manifest("1")
    # And not against what the registry tells where it was asked for by digest.
    proxy.faults[:] = [Fault("manifests", replace_headers={"Docker-Content-Digest": "sha256:" + "0" * 64})]
    async with opened(proxy, waits) as repository:
        assert (await repository.manifest(image.digest)).data == image.manifest


async def test_a_manifest_beyond_4_mib_is_refused(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault("manifests", status=200, body=b" " * ((4 << 20) + 1)))
    async with opened(proxy, waits) as repository:
        with pytest.raises(ContentDamaged, match="larger than 4 MiB"):
            await repository.manifest("1")


async def test_schema_1_is_refused_by_name(proxy: Proxy, image: Image, waits: Waits) -> None:
    media = {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}
    proxy.faults += [
        Fault("manifests", status=200, headers=media, body=b'{"schemaVersion": 1}'),
        Fault("manifests", status=200, body=b'{"schemaVersion": 1}'),
    ]
    async with opened(proxy, waits) as repository:
        for _ in range(2):
            with pytest.raises(Unsupported, match="schema 1"):
                await repository.manifest("1")


async def test_a_media_type_that_says_nothing_is_looked_up_in_the_manifest(
    proxy: Proxy, image: Image, waits: Waits
) -> None:
    proxy.faults.append(Fault("manifests", replace_headers={"Content-Type": "text/plain; charset=utf-8"}))
    async with opened(proxy, waits) as repository:
        assert (await repository.manifest("1")).media_type == "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again_with_backoff(proxy: Proxy, image: Image, waits: Waits, status: int) -> None:
    proxy.faults.append(Fault("manifests", status=status, times=3))
    async with opened(proxy, waits) as repository:
        assert (await repository.manifest("1")).data == image.manifest
    assert waits.slept == [0.5, 1.0, 2.0]


async def test_retry_after_is_honoured_as_seconds_and_as_a_date(proxy: Proxy, image: Image, waits: Waits) -> None:
    date = formatdate(waits.now + 7 + 30, usegmt=True)
    proxy.faults += [
        Fault("manifests", status=429, headers={"Retry-After": "7"}),
        Fault("manifests", status=503, headers={"Retry-After": date}),
    ]
    async with opened(proxy, waits) as repository:
        await repository.manifest("1")
    assert waits.slept[0] == pytest.approx(7.5)  # plus jitter
    assert waits.slept[1] == pytest.approx(29.5 + 1, abs=1)


async def test_a_registry_that_asks_to_wait_for_an_hour_is_told_of_at_once(
    proxy: Proxy, image: Image, waits: Waits
) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "pull rate limit"}]}'
    proxy.faults.append(Fault("manifests", status=429, headers={"Retry-After": "3600"}, body=body))
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match=r"too many requests.*pull rate limit.*in 3600 seconds"):
            await repository.manifest("1")
    assert waits.slept == []


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"", (NotPermitted, "`ardock login HOST`")),
        (403, b'{"errors": [{"code": "DENIED", "message": "no access"}]}', (NotPermitted, "denied: no access")),
        (404, b"<html>nothing</html>", (NotFound, "not found in HOST")),
        (
            400,
            b'{"errors": [{"code": "NAME_INVALID"}, {"code": "X", "message": "y"}]}',
            (InvalidArgument, "name_invalid; x: y"),
        ),
        (405, b"", (Unsupported, "does not support")),
        (418, b"a\nteapot", (InvalidArgument, r"status 418 \(a teapot\)")),
        (501, b"", (RegistryUnavailable, "status 501")),
    ],
)
async def test_what_will_not_pass_is_told_at_once(
    proxy: Proxy, waits: Waits, status: int, body: bytes, told: tuple[type[Exception], str]
) -> None:
    kind, text = told
    proxy.faults.append(Fault("manifests", status=status, body=body))
    async with opened(proxy, waits) as repository:
        with pytest.raises(kind, match=text.replace("HOST", proxy.host)):
            await repository.manifest("1")
    assert waits.slept == []


async def test_tags_of_several_pages(proxy: Proxy, waits: Waits) -> None:
    proxy.faults += [
        Fault("last=b", status=200, body=b'{"tags": ["c"]}'),
        Fault(
            "tags/list",
            status=200,
            body=b'{"tags": ["b", "a"]}',
            headers={"Link": '</v2/faulty/tags/list?last=b>; rel="next"'},
        ),
    ]
    async with opened(proxy, waits) as repository:
        assert await repository.tags() == ["a", "b", "c"]
    proxy.faults[:] = [
        Fault("tags/list", times=-1, status=200, body=b'{"tags": null}', headers={"Link": "<?n=1>; rel=next"})
    ]
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match="no end"):
            await repository.tags()
    proxy.faults[:] = [Fault("tags/list", status=200, body=b"{}", headers={"Link": "<http://127.0.0.2:1/>; rel=next"})]
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match="another server"):
            await repository.tags()


FAULTS = st.lists(
    st.one_of(
        st.builds(Fault, st.just(BLOB), cut_after=st.integers(0, len(LAYER))),
        st.builds(Fault, st.just(BLOB), cut_after=st.integers(0, len(LAYER)), ignore_range=st.just(value=True)),
        st.builds(Fault, st.just(BLOB), status=st.sampled_from([429, 500, 503])),
        st.builds(Fault, st.just(BLOB), lose_answer=st.just(value=True)),
        st.builds(Fault, st.just(BLOB), ignore_range=st.just(value=True)),
        st.builds(Fault, st.just(BLOB), replace_headers=st.just({"Content-Range": "bytes 1-2/3"})),
        st.builds(
            Fault, st.just(BLOB), replace_headers=st.just({"content-length": None, "transfer-encoding": "chunked"})
        ),
    ),
    max_size=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(faults=FAULTS, known=st.booleans())
def test_whatever_happens_on_the_way_the_bytes_are_right(
    proxy: Proxy,
    image: Image,
    faults: list[Fault],
    known: bool,
) -> None:
    proxy.faults[:] = faults

    async def main() -> None:
        async with opened(proxy, Waits(), RegistryOptions(attempts=6)) as repository:
            try:
                got = await read(repository, len(LAYER) if known else None)
            except RegistryUnavailable:
                # Without the size, a body that says nothing of its length may be another one by Content-Range.
                assert not known
                assert any(fault.replace_headers for fault in faults)
            else:
                assert got == LAYER

    trio.run(main)


# --- redirects ---


async def test_a_blob_may_be_elsewhere_and_the_credentials_stay(
    proxy: Proxy, registry: Registry, image: Image, waits: Waits
) -> None:
    with Proxy(registry.port) as storage:
        proxy.faults += [
            Fault("/v2/$", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}, times=-1),
            Fault(BLOB, redirect=storage.url, times=-1),
        ]
        storage.faults.append(Fault(BLOB, cut_after=1_000_000))
        registries = Registries(pace=waits.pace)
        credentials = Credentials(username="alice", password="secret")
        async with registries.open(parse_reference(f"{proxy.host}/faulty"), credentials) as repository:
            assert await read(repository) == LAYER
        assert all("authorization" in each.headers for each in proxy.seen(BLOB))
        assert storage.count(BLOB) == 2
        assert not any("authorization" in each.headers for each in storage.requests)
        assert storage.seen(BLOB)[1].headers["range"].startswith("bytes=")


async def test_credentials_stay_at_home_even_if_the_way_leads_back(
    proxy: Proxy, registry: Registry, image: Image, waits: Waits
) -> None:
    with Proxy() as other:
        proxy.faults += [
            Fault("/v2/$", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}, times=-1),
            Fault(BLOB, redirect=other.url),
        ]
        other.faults.append(Fault(redirect=proxy.url))
        credentials = Credentials(username="alice", password="secret")
        async with Registries(pace=waits.pace).open(parse_reference(f"{proxy.host}/faulty"), credentials) as repository:
            assert await read(repository) == LAYER
        assert ["authorization" in each.headers for each in proxy.seen(BLOB)] == [True, False]


async def test_redirects_have_an_end(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault("manifests", redirect=proxy.url, times=-1))
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match="more than 10 times"):
            await repository.manifest("1")


async def test_no_redirect_leads_to_a_host_without_tls(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault("manifests", redirect="http://192.0.2.1"))
    async with opened(proxy, waits) as repository:
        with pytest.raises(RegistryUnavailable, match=r"http://192\.0\.2\.1, without TLS"):
            await repository.manifest("1")


# --- mirrors ---


async def test_a_mirror_is_read_first_and_passed_by_where_it_fails(
    proxy: Proxy, registry: Registry, image: Image, waits: Waits
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    options = RegistryOptions(mirrors={registry.host: (dead, proxy.url)})
    registries = Registries(options, pace=waits.pace)
    reference = parse_reference(f"{registry.host}/faulty")
    async with registries.open(reference) as repository:
        assert (await repository.manifest("1")).data == image.manifest
        assert await read(repository) == LAYER
        assert proxy.count("manifests") == 1
        assert proxy.count(BLOB) == 1
        # Missing, damaged, and broken in the middle for good: the registry itself has it.
        proxy.faults += [
            Fault("manifests", status=404),
            Fault("manifests", corrupt_at=3),
            Fault(BLOB, cut_after=1_000_000),
            Fault(BLOB, status=500, times=-1),
        ]
        assert (await repository.manifest("1")).data == image.manifest
        assert (await repository.manifest(image.digest)).data == image.manifest
        assert await read(repository) == LAYER
        # What is wrong with a blob, whoever holds it against its digest finds out: then the mirrors are left out.
        assert repository.mirrored
        count = proxy.count()
        async with repository.blob(DIGEST, mirrors=False) as pieces:
            assert b"".join([piece async for piece in pieces]) == LAYER
        assert proxy.count() == count
    proxy.requests.clear()
    async with registries.open(reference, push=True) as repository:
        assert not repository.mirrored
        assert await repository.exists(DIGEST) == len(LAYER)
    assert not proxy.requests, "a mirror is not written to, nor asked what is there"


# --- being cancelled ---


async def test_being_cancelled_leaves_no_connection(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault(BLOB, rate=100_000, times=-1))
    repository = opened(proxy, waits)
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, repository)
            await proxy.until_seen(BLOB)
            await trio.sleep(0.1)
            scope.cancel()
    assert scope.cancelled_caught
    await proxy.until(1)  # one is idle, of the first question
    await repository.aclose()
    await proxy.until(0)
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_a_server_that_hangs_counts_as_broken(proxy: Proxy, image: Image, waits: Waits) -> None:
    proxy.faults.append(Fault("manifests", hang=True))
    async with opened(proxy, waits, RegistryOptions(patience=0.2)) as repository:
        assert (await repository.manifest("1")).data == image.manifest
    assert waits.slept == [0.5]


async def test_a_closed_engine_has_no_connections(proxy: Proxy, image: Image, waits: Waits) -> None:
    registries = Registries(pace=waits.pace)
    repository = registries.open(parse_reference(f"{proxy.host}/faulty"))
    await repository.manifest("1")
    await registries.aclose()
    await proxy.until(0)
    await repository.aclose()
