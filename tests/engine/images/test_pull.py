"""Images from a registry: what comes, what is not fetched again, what breaks, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

import ardock
from ardock.engine.images import formats
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.vfs import Vfs
from ardock.model.errors import ArdockError, ContentDamaged, RegistryUnavailable
from ardock.model.image import Progress
from ardock.model.registry import Credentials, RegistryOptions
from tests.engine.images import made
from tests.engine.images.made import Made
from tests.engine.images.stores import kept, parts, store, told, wait_until
from tests.registry.proxy import Fault, Proxy
from tests.registry.servers import Registry, plain_registry, tls_registry

pytestmark = pytest.mark.root

APP = made.image(
    {"bin": None, "bin/tool": b"one" * 1000, "etc": None, "etc/conf": b"x", "gone": b"y"},
    {"etc/.wh.conf": b"", ".wh.gone": b"", "bin/other": b"two"},
    {"new": None, "new/link": "/bin/tool"},
    config={"Cmd": ["tool"], "Env": ["A=1"], "Labels": {"k": "v"}},
)
SHOWN = {
    "bin": None,
    "bin/tool": b"one" * 1000,
    "bin/other": b"two",
    "etc": None,
    "new": None,
    "new/link": b"/bin/tool",
}


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with plain_registry() as running:
        put(running, "app", "1", APP)
        yield running


def nothing_in(root: Path) -> bool:
    return kept(root) == []


def put(registry: Registry, repository: str, tag: str, image: Made) -> str:
    for blob in (image.config, *image.layers):
        registry.put_blob(repository, blob)
    return registry.put_manifest(repository, tag, image.manifest, json.loads(image.manifest)["mediaType"])


@pytest.mark.parametrize("driver", [Overlay, Vfs])
async def test_an_image_comes_whole(tmp_path: Path, registry: Registry, driver: type[Overlay | Vfs]) -> None:
    async with store(tmp_path / "root", driver=driver) as (images, state):
        info = await images.pull(f"{registry.host}/app:1")
        assert info.id == APP.id
        assert info.names == (f"{registry.host}/app:1",)
        assert info.digests == (f"{registry.host}/app@{APP.digest}",)
        assert info.labels == {"k": "v"}
        assert made.shown(*images.layers_of(info.id)) == SHOWN
        details = await images.inspect("127.0.0.1:" + str(registry.port) + "/app:1")
        assert (details.config.cmd, details.config.env, details.diff_ids) == (("tool",), ("A=1",), APP.diff_ids)
        assert details.manifest == APP.digest
        history = await images.history(info.id)
        assert [(step.created_by, step.layer, step.size) for step in history] == [
            ("step 2", APP.diff_ids[2], 0),
            ("step 1", APP.diff_ids[1], 3),
            ("step 0", APP.diff_ids[0], 3002),
        ]
        assert await told(state) == [("pull", f"{registry.host}/app:1", info.id[:10])]
        blobs = {f"sha256:{name[7:19]}" for name in APP.blobs}
        assert {name for name in kept(tmp_path / "root") if name.startswith("sha256:")} == blobs
    async with store(tmp_path / "root", driver=driver) as (images, _):
        assert await images.list() == [info]


async def test_what_is_here_is_not_fetched_again(tmp_path: Path, registry: Registry) -> None:
    other = made.image(
        {"bin": None, "bin/tool": b"one" * 1000, "etc": None, "etc/conf": b"x", "gone": b"y"}, {"z": b"z"}
    )
    put(registry, "other", "1", other)
    async with store(tmp_path / "root") as (images, _):
        await images.pull(f"{registry.host}/app:1")
        seen: list[Progress] = []
        await images.pull(f"{registry.host}/other:1", progress=seen.append)
        status = {each.part: each.status for each in seen}
        assert status[made.digest(other.layers[0])] == "exists"
        assert status[made.digest(other.layers[1])] == "pulled"
        log = registry.log.count("GET /v2/other/blobs/" + made.digest(other.layers[0]))
        assert log == 0
        assert made.shown(*images.layers_of(f"{registry.host}/other:1"))["z"] == b"z"


async def test_by_its_digest_an_image_gets_no_name_and_is_found_by_it(tmp_path: Path, registry: Registry) -> None:
    ref = f"{registry.host}/app@{APP.digest}"
    async with store(tmp_path / "root") as (images, _):
        info = await images.pull(ref)
        assert (info.names, info.digests) == ((), (ref,))
        assert images.id_of(ref) == info.id
        with pytest.raises(ardock.NotFound):
            images.id_of(f"{registry.host}/app")
        # Of a name with both, the digest counts.
        assert images.id_of(f"{registry.host}/app:other@{APP.digest}") == info.id
        assert (await images.remove(ref))[:2] == [f"Untagged: {ref}", f"Deleted: {info.id}"]
        assert kept(tmp_path / "root") == []


async def test_of_several_platforms_the_one_that_is_asked_for_comes(tmp_path: Path, registry: Registry) -> None:
    amd, arm = made.image({"which": b"amd"}), made.image({"which": b"arm"}, architecture="arm64")
    put(registry, "multi", "amd", amd)
    put(registry, "multi", "arm", arm)
    for tag, kind in (("oci", formats.OCI_INDEX), ("docker", formats.DOCKER_INDEX)):
        data = made.index([(arm, "linux/arm64/v8"), (amd, "linux/amd64")], kind)
        registry.put_manifest("multi", tag, data, kind)
        async with store(tmp_path / tag) as (images, _):
            info = await images.pull(f"{registry.host}/multi:{tag}", platform="linux/arm64")
            assert (info.id, str(info.platform)) == (arm.id, "linux/arm64")
            # The name is of the index: that is what its digest says.
            assert info.digests == (f"{registry.host}/multi@{made.digest(data)}",)
            other = await images.pull(f"{registry.host}/multi:{tag}", platform="amd64")
            assert other.id == amd.id
            assert (await images.inspect(arm.id)).info.names == ()
            with pytest.raises(ardock.NotFound, match="linux/s390x; it is for: linux/arm64/v8, linux/amd64"):
                await images.pull(f"{registry.host}/multi:{tag}", platform="linux/s390x")
    async with store(tmp_path / "single") as (images, _):
        # Alone, it is taken as it is, unless another one is asked for.
        assert (await images.pull(f"{registry.host}/multi:arm")).id == arm.id
        with pytest.raises(ardock.NotFound, match="linux/arm64 only, not for linux/amd64"):
            await images.pull(f"{registry.host}/multi:arm", platform="linux/amd64")


async def test_dockers_own_manifests_and_uncompressed_layers_are_taken(tmp_path: Path, registry: Registry) -> None:
    plain = made.image({"a": b"plain"}, compress=False)
    docker = made.image({"a": b"docker"}, docker=True)
    put(registry, "kinds", "plain", plain)
    put(registry, "kinds", "docker", docker)
    async with store(tmp_path / "root") as (images, _):
        for tag, image in (("plain", plain), ("docker", docker)):
            info = await images.pull(f"{registry.host}/kinds:{tag}")
            assert info.id == image.id
            assert made.shown(*images.layers_of(info.id)) == {"a": tag.encode()}


async def test_what_is_no_image_is_refused_by_name_and_leaves_nothing(tmp_path: Path, registry: Registry) -> None:
    wrong = made.image({"a": b"1"})
    config = json.loads(wrong.config)
    config["rootfs"]["diff_ids"] = [made.digest(b"another")]
    lying = wrong._replace(config=json.dumps(config).encode())
    manifest = json.loads(wrong.manifest)
    manifest["config"].update(digest=lying.id, size=len(lying.config))
    lying = lying._replace(manifest=json.dumps(manifest).encode())
    put(registry, "odd", "lying", lying)
    few = json.loads(wrong.manifest)
    few["layers"] = []
    registry.put_blob("odd", wrong.config)
    registry.put_manifest("odd", "few", json.dumps(few).encode())
    garbage = registry.put_image("odd", "garbage", [b"\x1f\x8b no archive at all"], {**json.loads(wrong.config)})
    assert garbage
    escape = made.image({"../evil": b"x"})
    put(registry, "odd", "escape", escape)
    async with store(tmp_path / "root") as (images, state):
        cases: list[tuple[str, type[ArdockError], str]] = [
            ("odd:lying", ContentDamaged, f"the digest {wrong.diff_ids[0]}, and the image's configuration says"),
            ("odd:few", ardock.InvalidArgument, "0 layers by its manifest and 1 by its configuration"),
            ("odd:garbage", ardock.InvalidArgument, "layer"),
            ("odd:escape", ardock.InvalidArgument, '"../evil" leads out'),
            ("odd:absent", ardock.NotFound, "absent"),
            ("absent", ardock.NotFound, "absent"),
        ]
        for ref, kind, words in cases:
            with pytest.raises(kind) as caught:
                await images.pull(f"{registry.host}/{ref}")
            assert words in caught.value.message, ref
        for ref in ("", "UPPER", "a b", "x@sha256:12"):
            with pytest.raises(ardock.InvalidArgument):
                await images.pull(ref)
        with pytest.raises(ardock.InvalidArgument, match="platform"):
            await images.pull(f"{registry.host}/app:1", platform="a/b/c/d")
        await wait_until(lambda: kept(tmp_path / "root") == [])
        assert await told(state) == []
    assert not (tmp_path / "evil").exists()


async def test_a_registry_with_tls_and_passwords(tmp_path: Path) -> None:
    with tls_registry() as secure:
        put(secure, "app", "1", APP)
        options = RegistryOptions(certificates=(secure.certificates,))
        async with store(tmp_path / "root", options=options) as (images, _):
            assert (await images.pull(f"{secure.host}/app:1", credentials=secure.credentials)).id == APP.id
            for wrong in (None, Credentials(username="alice", password="wrong")):
                with pytest.raises(ardock.NotPermitted, match=f"ardock login {secure.host}"):
                    await images.pull(f"{secure.host}/app:1", credentials=wrong)
        async with store(tmp_path / "root") as (images, _):
            with pytest.raises(RegistryUnavailable, match="certificate"):
                await images.pull(f"{secure.host}/app:1", credentials=secure.credentials)


LARGE = made.image({"a": bytes(range(256)) * 4000}, {"b": bytes(range(255, -1, -1)) * 9000}, compress=False)


async def test_one_wrong_byte_is_a_digest_error_and_nothing_is_kept(tmp_path: Path, registry: Registry) -> None:
    put(registry, "large", "1", LARGE)
    compressed = made.image({"a": bytes(range(256)) * 40_000})
    put(registry, "large", "2", compressed)
    for tag, image, at in (("1", LARGE, 700_000), ("2", compressed, 3_000), ("1", LARGE, 10)):
        with Proxy(registry.port) as proxy:
            blob = made.digest(image.layers[0])
            proxy.faults.append(Fault(f"GET .*/blobs/{blob}", corrupt_at=at, times=-1))
            root = tmp_path / f"{tag}-{at}"
            async with store(root) as (images, _):
                with pytest.raises(ContentDamaged) as caught:
                    await images.pull(f"{proxy.host}/large:{tag}")
                assert blob in caught.value.message
                await wait_until(partial(nothing_in, root))


async def test_what_a_mirror_has_damaged_comes_from_the_registry(tmp_path: Path, registry: Registry) -> None:
    put(registry, "large", "1", LARGE)
    with Proxy(registry.port) as mirror:
        mirror.faults.append(Fault("GET .*/blobs/", corrupt_at=100, times=-1))
        options = RegistryOptions(mirrors={registry.host: (mirror.url,)})
        async with store(tmp_path / "root", options=options) as (images, _):
            assert (await images.pull(f"{registry.host}/large:1")).id == LARGE.id
            assert mirror.count("GET .*/blobs/") >= 2
            assert (await images.check()).problems == ()


async def test_a_connection_that_breaks_goes_on_where_it_broke(tmp_path: Path, registry: Registry) -> None:
    put(registry, "large", "1", LARGE)
    with Proxy(registry.port) as proxy:
        for layer in LARGE.layers:
            proxy.faults.append(Fault(f"GET .*/blobs/{made.digest(layer)}", cut_after=600_000, times=2))
        async with store(tmp_path / "root") as (images, _):
            assert (await images.pull(f"{proxy.host}/large:1")).id == LARGE.id
            assert set(made.shown(*images.layers_of(LARGE.id))) == {"a", "b"}


async def test_ten_pulls_at_once_fetch_each_layer_once(tmp_path: Path, registry: Registry) -> None:
    put(registry, "shared", "1", LARGE)
    before = {layer: registry.log.count(f"GET /v2/shared/blobs/{made.digest(layer)}") for layer in LARGE.layers}
    async with store(tmp_path / "root") as (images, _):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(images.pull, f"{registry.host}/shared:1")
        assert len(images) == 1
        assert kept(tmp_path / "root") == sorted(
            {*(await parts(images)), *(f"sha256:{made.digest(it)[7:19]}" for it in LARGE.layers)}
        )
    for layer, count in before.items():
        assert registry.log.count(f"GET /v2/shared/blobs/{made.digest(layer)}") == count + 1


async def test_a_cancelled_pull_leaves_nothing_and_others_who_joined_go_on(tmp_path: Path, registry: Registry) -> None:
    put(registry, "large", "1", LARGE)
    with Proxy(registry.port) as proxy:
        slow = Fault(f"GET .*/blobs/{made.digest(LARGE.layers[1])}", rate=400_000, times=-1)
        proxy.faults.append(slow)
        async with store(tmp_path / "root") as (images, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(images.pull, f"{proxy.host}/large:1")
                await wait_until(lambda: any("tree" in name for name in kept(tmp_path / "root")))
                nursery.cancel_scope.cancel()
            await wait_until(lambda: kept(tmp_path / "root") == [])
            scope = trio.CancelScope()

            async def impatient() -> None:
                with scope:
                    await images.pull(f"{proxy.host}/large:1")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(impatient)
                await wait_until(lambda: any("tree" in name for name in kept(tmp_path / "root")))
                nursery.start_soon(images.pull, f"{proxy.host}/large:1")
                await trio.sleep(0.2)
                scope.cancel()
            assert [image.id for image in await images.list()] == [LARGE.id]
            assert made.shown(*images.layers_of(LARGE.id))["b"] == bytes(range(255, -1, -1)) * 9000


async def test_a_callers_error_in_telling_ends_the_pull_and_is_raised(tmp_path: Path, registry: Registry) -> None:
    def broken(_: Progress) -> None:
        raise RuntimeError("the terminal has gone")

    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(RuntimeError, match="the terminal has gone"):
            await images.pull(f"{registry.host}/app:1", progress=broken)
        await wait_until(lambda: kept(tmp_path / "root") == [])


async def test_removed_while_it_is_pulled_again_it_is_whole_or_gone(tmp_path: Path, registry: Registry) -> None:
    ref = f"{registry.host}/app:1"
    errors: list[str] = []

    async def pull() -> None:
        for _ in range(15):
            await images.pull(ref)

    async def remove() -> None:
        for _ in range(40):
            try:
                await images.remove(ref)
            except ArdockError as error:
                errors.append(error.code)
            await trio.sleep(0.005)

    async with store(tmp_path / "root") as (images, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pull)
            nursery.start_soon(pull)
            nursery.start_soon(remove)
        assert set(errors) <= {"not_found"}
        await images.pull(ref)
        assert made.shown(*images.layers_of(ref)) == SHOWN
        assert (await images.check()).problems == ()
