"""The same registry used by others: what they write is read here, and the other way."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ardock.engine.registry import Registries
from ardock.model.reference import parse_reference
from ardock.model.registry import RegistryOptions
from tests.registry.conftest import Waits
from tests.registry.proxy import Proxy
from tests.registry.servers import Registry, plain_registry
from tests.registry.test_writing import Blob

pytestmark = pytest.mark.peer

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def skopeo(*words: str) -> bytes:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    return subprocess.run(["skopeo", *words], check=True, capture_output=True, timeout=60).stdout


async def put_image(registry: Registry, name: str, options: RegistryOptions | None = None) -> str:
    """An image of one layer that is a real archive, put there by this client; its digest."""
    layer = Blob("unused", 0)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("etc/hostname")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"here\n"))
    layer.data = archive.getvalue()
    layer.size, layer.digest = len(layer.data), layer.digest_of(layer.data)
    config = Blob("unused", 0)
    config.data = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        }
    ).encode()
    config.size, config.digest = len(config.data), config.digest_of(config.data)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest,
                "size": config.size,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer.digest,
                    "size": layer.size,
                }
            ],
        }
    ).encode()
    async with Registries(options).open(parse_reference(f"{registry.host}/{name}"), push=True) as repository:
        await layer.upload(repository)
        await config.upload(repository)
        return await repository.put_manifest("1", OCI, manifest)


@pytest.mark.parametrize("chunk", [0, 4096])
async def test_skopeo_reads_what_is_written_here(registry: Registry, tmp_path: Path, chunk: int) -> None:
    name = f"peers/{chunk}"
    digest = await put_image(registry, name, RegistryOptions(chunk=chunk))
    source = f"docker://{registry.host}/{name}:1"
    assert json.loads(skopeo("inspect", "--tls-verify=false", source))["Digest"] == digest
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path}/copied:1")
    assert json.loads((tmp_path / "copied/index.json").read_text())["manifests"][0]["digest"] == digest


@pytest.mark.parametrize(("form", "media_type"), [("oci", OCI), ("v2s2", DOCKER)])
async def test_what_skopeo_writes_is_read_here(registry: Registry, form: str, media_type: str) -> None:
    await put_image(registry, "peers/source")
    target = f"{registry.host}/peers/{form}"
    skopeo(
        *("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", form),
        *(f"docker://{registry.host}/peers/source:1", f"docker://{target}:2"),
    )
    told = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}:2")
    async with Registries().open(parse_reference(target)) as repository:
        assert await repository.tags() == ["2"]
        fetched = await repository.manifest("2")
        assert fetched.media_type == media_type
        assert fetched.data == told
        for layer in json.loads(told)["layers"]:
            async with repository.blob(layer["digest"], layer["size"]) as pieces:
                assert Blob.digest_of(b"".join([piece async for piece in pieces])) == layer["digest"]


async def test_a_registry_that_is_another_ones_cache_is_a_mirror(registry: Registry, waits: Waits) -> None:
    digest = await put_image(registry, "peers/cached")
    with Proxy(registry.port) as proxy, plain_registry({"proxy": {"remoteurl": proxy.url}}) as cache:
        options = RegistryOptions(mirrors={registry.host: (cache.url,)}, attempts=1)
        registries = Registries(options, pace=waits.pace)
        async with registries.open(parse_reference(f"{registry.host}/peers/cached")) as repository:
            assert (await repository.manifest("1")).digest == digest
        assert proxy.count("manifests") > 0, "by the cache, which asked the registry"
