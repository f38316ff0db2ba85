"""Images to a registry: whole, once, and under the digest that they came with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import ardock
from ardock.engine.images import formats
from ardock.model.errors import RegistryUnavailable
from ardock.model.image import Progress
from ardock.model.registry import RegistryOptions
from tests.engine.images import made
from tests.engine.images.stores import chunks, store, told
from tests.engine.images.trees import archive
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Registry, plain_registry, tls_registry

pytestmark = pytest.mark.root

APP = made.image({"a": b"1" * 100_000}, {"b": b"2"}, config={"Cmd": ["x"]})


@pytest.fixture
def registry() -> Iterator[Registry]:
    with plain_registry() as running:
        yield running


def fetched(registry: Registry, repository: str, target: str) -> tuple[str, dict[str, Any]]:
    """A manifest: its digest and what is in it."""
    headers = {"Accept": f"{formats.OCI_MANIFEST}, {formats.DOCKER_MANIFEST}"}
    status, answer, body = registry.request("GET", f"/v2/{repository}/manifests/{target}", headers=headers)
    assert status == 200, body
    assert made.digest(body) == answer["docker-content-digest"]
    return made.digest(body), json.loads(body)


@pytest.mark.parametrize("docker", [False, True])
async def test_what_came_goes_under_the_same_digest(tmp_path: Path, registry: Registry, docker: bool) -> None:
    image = made.image({"a": b"1" * 100_000}, {"b": b"2"}, docker=docker)
    layout = made.layout(tmp_path / "layout", {f"{registry.host}/app:1": image})
    async with store(tmp_path / "root") as (images, state):
        await images.load(layout)
        seen: list[Progress] = []
        pushed = await images.push(f"{registry.host}/app:1", progress=seen.append)
        assert (pushed.digest, pushed.reference) == (image.digest, f"{registry.host}/app:1")
        assert fetched(registry, "app", "1")[0] == image.digest
        assert {each.part: each.status for each in seen} == {made.digest(layer): "pushed" for layer in image.layers}
        assert (await images.inspect(image.id)).info.digests == (f"{registry.host}/app@{image.digest}",)
        assert (await told(state))[-1] == ("push", f"{registry.host}/app:1", image.id[:10])
        # Once more: nothing is sent again.
        seen.clear()
        await images.push(f"{registry.host}/app:1", progress=seen.append)
        assert {each.status for each in seen if each.status != "waiting"} == {"exists"}
        assert registry.uploads("app") == []
    async with store(tmp_path / "other") as (images, _):
        assert (await images.pull(f"{registry.host}/app:1")).id == image.id


async def test_what_was_made_here_gets_a_manifest_and_keeps_it(tmp_path: Path, registry: Registry) -> None:
    async with store(tmp_path / "root") as (images, _):
        info = await images.import_tar(chunks(archive({".": None, "f": b"x" * 50_000})), f"{registry.host}/made:1")
        pushed = await images.push(f"{registry.host}/made:1")
        digest, manifest = fetched(registry, "made", "1")
        assert digest == pushed.digest
        assert manifest["mediaType"] == formats.OCI_MANIFEST
        assert manifest["config"] == {
            "mediaType": formats.OCI_CONFIG,
            "digest": info.id,
            "size": manifest["config"]["size"],
        }
        await images.tag(info.id, f"{registry.host}/made:2")
        assert (await images.push(f"{registry.host}/made:2")).digest == pushed.digest
        assert (await images.inspect(info.id)).manifest == pushed.digest
    async with store(tmp_path / "again") as (images, _):
        # Made once more elsewhere, it is the same to the last bit.
        await images.import_tar(chunks(archive({".": None, "f": b"x" * 50_000})), f"{registry.host}/made:3")
        assert (await images.push(f"{registry.host}/made:3")).digest == pushed.digest
        assert (await images.pull(f"{registry.host}/made:1")).id == info.id


async def test_a_layer_that_another_repository_has_is_mounted(tmp_path: Path, registry: Registry) -> None:
    layout = made.layout(tmp_path / "layout", {f"{registry.host}/one:1": APP})
    async with store(tmp_path / "root") as (images, _):
        await images.load(layout)
        await images.push(f"{registry.host}/one:1")
        await images.tag(APP.id, f"{registry.host}/two:1")
        seen: list[Progress] = []
        await images.push(f"{registry.host}/two:1", progress=seen.append)
        assert {each.status for each in seen if each.status != "waiting"} == {"mounted"}
        assert fetched(registry, "two", "1")[0] == APP.digest


async def test_a_registry_with_tls_and_passwords(tmp_path: Path) -> None:
    with tls_registry() as secure:
        layout = made.layout(tmp_path / "layout", {f"{secure.host}/app:1": APP})
        options = RegistryOptions(certificates=(secure.certificates,))
        async with store(tmp_path / "root", options=options) as (images, _):
            await images.load(layout)
            with pytest.raises(ardock.NotPermitted, match="ardock login"):
                await images.push(f"{secure.host}/app:1")
            await images.push(f"{secure.host}/app:1", credentials=secure.credentials)
        assert fetched(secure, "app", "1")[0] == APP.digest


async def test_what_breaks_is_tried_again_and_told(tmp_path: Path, registry: Registry) -> None:
    with Proxy(registry.port) as proxy:
        layout = made.layout(tmp_path / "layout", {f"{proxy.host}/app:1": APP})
        async with store(tmp_path / "root") as (images, _):
            await images.load(layout)
            proxy.faults.append(Fault("(PUT|PATCH) .*/blobs/uploads/", cut_request_after=100))
            proxy.faults.append(Fault("POST ", status=503, headers={"Retry-After": "0"}))
            await images.push(f"{proxy.host}/app:1")
            assert fetched(registry, "app", "1")[0] == APP.digest
            proxy.faults[:] = [Fault("", status=500, times=-1)]
            options = RegistryOptions(attempts=1)
        async with store(tmp_path / "root", options=options) as (images, _):
            with pytest.raises(RegistryUnavailable):
                await images.push(f"{proxy.host}/app:1")


async def test_what_is_not_here_or_has_a_digest_is_not_pushed(tmp_path: Path, registry: Registry) -> None:
    layout = made.layout(tmp_path / "layout", {f"{registry.host}/app:1": APP})
    async with store(tmp_path / "root") as (images, _):
        await images.load(layout)
        with pytest.raises(ardock.NotFound, match="app:2"):
            await images.push(f"{registry.host}/app:2")
        with pytest.raises(ardock.InvalidArgument, match="has a digest"):
            await images.push(f"{registry.host}/app@{APP.digest}")


async def test_a_cancelled_push_leaves_no_upload(tmp_path: Path, registry: Registry) -> None:
    with Proxy(registry.port) as proxy:
        proxy.faults.append(Fault("(PUT|PATCH) .*/blobs/uploads/", hang=True, times=-1))
        layout = made.layout(tmp_path / "layout", {f"{proxy.host}/app:1": APP})
        async with store(tmp_path / "root") as (images, _):
            await images.load(layout)
            with trio.move_on_after(0.5) as scope:
                await images.push(f"{proxy.host}/app:1")
            assert scope.cancelled_caught
            proxy.faults.clear()
            await images.push(f"{proxy.host}/app:1")
    assert registry.uploads("app") == []
