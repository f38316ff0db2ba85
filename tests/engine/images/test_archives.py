"""Archives of images: every form is taken, what is saved is what was loaded, and what is damaged leaves nothing."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import trio

import ardock
from ardock.engine.images import formats
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.vfs import Vfs
from ardock.model.errors import ContentDamaged
from ardock.model.image import Progress
from tests.engine.images import made
from tests.engine.images.stores import chunks, kept, parts, store, told

pytestmark = pytest.mark.root

ONE = made.image({"a": b"1", "d": None, "d/x": b"x"}, {"d/.wh.x": b"", "b": b"2"}, config={"Cmd": ["one"]})
# Its first layer is that of the other.
TWO = made.image({"a": b"1", "d": None, "d/x": b"x"}, {"c": b"3"})
SHOWN = {"a": b"1", "b": b"2", "d": None}


async def saved(images: object, *refs: str) -> bytes:
    async with images.save(refs) as stream:  # type: ignore[attr-defined]
        return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("driver", [Overlay, Vfs])
@pytest.mark.parametrize("form", ["folder", "tar", "stream", "gzip", "zstd", "docker", "docker-stream"])
async def test_every_form_gives_the_same_images(tmp_path: Path, form: str, driver: type[Overlay | Vfs]) -> None:
    layout = made.layout(tmp_path / "layout", {"one:1": ONE, "127.0.0.1:5000/two:x": TWO})
    data = made.packed(layout)
    if form.startswith("docker"):
        data = made.docker_archive({"one:1": ONE, "127.0.0.1:5000/two:x": TWO})
    elif form == "gzip":
        # Of several members, as pigz and concatenation make them.
        data = gzip.compress(data[:5000]) + gzip.compress(data[5000:])
    elif form == "zstd":
        if shutil.which("zstd") is None:
            pytest.skip("zstd is not installed")
        data = (await trio.run_process(["zstd", "-c"], stdin=data, capture_stdout=True)).stdout
    (tmp_path / "archive").write_bytes(data)
    async with store(tmp_path / "root", driver=driver) as (images, state):
        seen: list[Progress] = []
        source = layout if form == "folder" else chunks(data) if "stream" in form else str(tmp_path / "archive")
        loaded = await images.load(source, progress=seen.append)
        assert [(each.id, each.names) for each in loaded] == [(ONE.id, ("one:1",)), (TWO.id, ("127.0.0.1:5000/two:x",))]
        assert made.shown(*images.layers_of("one:1")) == SHOWN
        assert made.shown(*images.layers_of(TWO.id)) == {"a": b"1", "c": b"3", "d": None, "d/x": b"x"}
        assert images.chain_of(ONE.id)[1] == images.chain_of(TWO.id)[1]
        assert (await images.inspect("one:1")).config.cmd == ("one",)
        assert {each.status for each in seen} >= {"pulled"}
        assert [(action, name) for action, name, _ in await told(state)] == [
            ("load", "one:1"),
            ("load", "127.0.0.1:5000/two:x"),
        ]
        assert (await images.check()).problems == ()
        # Nothing but the images is left.
        await images.remove("one:1")
        await images.remove(TWO.id)
        assert kept(tmp_path / "root") == []


async def test_what_is_saved_is_what_was_loaded(tmp_path: Path) -> None:
    made.layout(tmp_path / "layout", {"one:1": ONE, "two:1": TWO})
    async with store(tmp_path / "a") as (first, _):
        await first.load(tmp_path / "layout")
        data = await saved(first, "one:1", "two:1", ONE.id)
        assert data == await saved(first, "one:1", "two:1", ONE.id)
        unnamed = await saved(first, ONE.id)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert len(names) == len(set(names)), "each blob once"
    blobs = {f"blobs/sha256/{key[7:]}" for key in (*ONE.blobs, *TWO.blobs)}
    assert {name for name in names if name.startswith("blobs/sha256/")} == blobs
    assert [entry["digest"] for entry in index["manifests"]] == [ONE.digest, TWO.digest]
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "docker.io/library/one:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert [entry["RepoTags"] for entry in manifest] == [["one:1"], ["two:1"]]
    async with store(tmp_path / "b") as (second, _):
        assert [each.names for each in await second.load(chunks(data))] == [("one:1",), ("two:1",)]
        assert await saved(second, "one:1", "two:1") == data
        assert [each.names for each in await second.load(chunks(unnamed))] == [()]


async def test_what_was_imported_is_saved_with_an_archive_made_for_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_bytes(b"content" * 1000)
    async with store(tmp_path / "a") as (first, _):
        info = await first.import_tree(source, "tree", changes=['CMD ["x"]'])
        # Until it is asked for, there is only the tree.
        assert [name for name in kept(tmp_path / "a") if name.startswith("sha256")] == [f"sha256:{info.id[7:19]}"]
        data = await saved(first, "tree")
        assert data == await saved(first, "tree")
        assert kept(tmp_path / "a") == sorted({*await parts(first), *kept(tmp_path / "a")})
        assert (await first.check()).problems == ()
    async with store(tmp_path / "b") as (second, _):
        assert (await second.load(chunks(data)))[0].id == info.id
        assert made.shown(*second.layers_of("tree")) == {"d": None, "d/f": b"content" * 1000}
        assert (await second.inspect("tree")).config.cmd == ("x",)


async def test_a_reader_who_leaves_ends_the_saving(tmp_path: Path) -> None:
    large = made.image({"a": bytes(range(256)) * 40_000}, compress=False)
    made.layout(tmp_path / "layout", {"large:1": large})
    async with store(tmp_path / "root") as (images, _):
        await images.load(tmp_path / "layout")
        with trio.fail_after(10):
            async with images.save(["large:1"]) as stream:
                async for _ in stream:
                    break
            with trio.move_on_after(0.1) as scope:
                async with images.save(["large:1"]):
                    await trio.sleep_forever()
            assert scope.cancelled_caught
        # It is not held any more.
        assert (await images.remove("large:1"))[0] == "Untagged: large:1"
        assert kept(tmp_path / "root") == []


async def test_an_image_removed_while_it_is_saved_is_saved_whole(tmp_path: Path) -> None:
    large = made.image({"a": bytes(range(256)) * 40_000}, compress=False)
    made.layout(tmp_path / "layout", {"large:1": large})
    async with store(tmp_path / "root") as (images, _):
        await images.load(tmp_path / "layout")
        async with images.save(["large:1"]) as stream:
            pieces = [await anext(aiter(stream))]
            await images.remove("large:1")
            pieces += [piece async for piece in stream]
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            layer = tar.extractfile(f"blobs/sha256/{made.digest(large.layers[0])[7:]}")
            assert layer is not None
            assert layer.read() == large.layers[0]


NAMES = [
    ({"org.opencontainers.image.ref.name": "me/app:2"}, ("me/app:2",)),
    ({"io.containerd.image.name": "docker.io/library/app:2", "org.opencontainers.image.ref.name": "2"}, ("app:2",)),
    # A bare tag names nothing: umoci writes such.
    ({"org.opencontainers.image.ref.name": "latest"}, ()),
    ({"org.opencontainers.image.ref.name": "!?:/"}, ()),
    ({"io.containerd.image.name": "ghcr.io/x/y"}, ("ghcr.io/x/y:latest",)),
    ({}, ()),
]


@pytest.mark.parametrize(("annotations", "names"), NAMES)
async def test_names_of_layouts(tmp_path: Path, annotations: dict[str, str], names: tuple[str, ...]) -> None:
    layout = made.layout(tmp_path / "layout", {"": ONE})
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"] = annotations
    (layout / "index.json").write_text(json.dumps(index))
    async with store(tmp_path / "root") as (images, _):
        assert [each.names for each in await images.load(layout)] == [names]


async def test_of_an_image_of_many_platforms_one_is_enough(tmp_path: Path) -> None:
    amd, arm = made.image({"which": b"amd"}), made.image({"which": b"arm"}, architecture="arm64")
    inner = made.index([(amd, "linux/amd64"), (arm, "linux/arm64")])
    layout = made.layout(tmp_path / "layout", {"": amd})
    (layout / "blobs" / "sha256" / made.digest(inner)[7:]).write_bytes(inner)
    descriptor = {"mediaType": formats.OCI_INDEX, "digest": made.digest(inner), "size": len(inner)}
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "multi:1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    async with store(tmp_path / "root") as (images, _):
        assert [each.id for each in await images.load(layout, platform="amd64")] == [amd.id]
        with pytest.raises(ardock.NotFound, match="linux/arm64; it is for: linux/amd64"):
            await images.load(layout, platform="arm64")
        with pytest.raises(ardock.NotFound, match="linux/s390x"):
            await images.load(layout, platform="s390x")


def broken(tmp_path: Path) -> dict[str, tuple[bytes | Path, type[Exception], str]]:
    """Archives that are not taken: what, the error, a part of its message."""
    layout = made.layout(tmp_path / "layout", {"one:1": ONE})
    whole = made.packed(layout)
    numbers = itertools.count()

    def changed(name: str, change: bytes | None) -> Path:
        folder = tmp_path / f"changed-{next(numbers)}"
        shutil.copytree(layout, folder)
        path = folder / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change)
        return folder

    layer = f"blobs/sha256/{made.digest(ONE.layers[1])[7:]}"
    manifest = f"blobs/sha256/{ONE.digest[7:]}"
    flipped = bytearray(ONE.layers[1])
    flipped[-20] ^= 1
    outside = tmp_path / "outside"
    outside.write_bytes(ONE.layers[1])
    linked = changed(layer, None)
    (linked / layer).symlink_to(outside)
    return {
        "nothing": (b"", ardock.InvalidArgument, "no image archive"),
        "garbage": (b"x" * 10_000, ardock.InvalidArgument, "no image archive"),
        "a root file system": (made.tar({"etc": None}), ardock.InvalidArgument, "ardock import"),
        "cut off": (whole[: len(whole) // 2], ardock.InvalidArgument, "cut off"),
        "cut in a header": (whole[:700], ardock.InvalidArgument, "archive"),
        "xz": (b"\xfd7zXZ\0" + b"x" * 100, ardock.Unsupported, "xz -dc"),
        "damaged gzip": (gzip.compress(whole)[:-2000], ardock.InvalidArgument, ""),
        "no layer": (changed(layer, None), ardock.InvalidArgument, layer),
        "no manifest": (changed(manifest, None), ardock.InvalidArgument, "no image in it"),
        "another layer": (changed(layer, bytes(flipped)), ContentDamaged, made.digest(ONE.layers[1])),
        "a longer layer": (changed(layer, ONE.layers[1] + b"\0"), ContentDamaged, made.digest(ONE.layers[1])),
        "another manifest": (changed(manifest, ONE.manifest + b" "), ContentDamaged, ONE.digest),
        "index is no json": (changed("index.json", b"{"), ardock.InvalidArgument, "index.json"),
        "a link out of it": (linked, ardock.InvalidArgument, layer),
        "absent": (tmp_path / "absent", ardock.NotFound, "absent"),
    }


async def test_what_is_damaged_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, state):
        for what, (source, kind, words) in broken(tmp_path).items():
            with pytest.raises(kind) as caught:
                await images.load(chunks(source) if isinstance(source, bytes) else source)
            assert words in str(caught.value), what
            with trio.fail_after(5):
                while kept(tmp_path / "root"):  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert await told(state) == []


async def test_all_of_an_archives_images_or_none(tmp_path: Path) -> None:
    data = made.docker_archive(
        {"one:1": ONE, "two:1": TWO._replace(config=TWO.config.replace(b'"diff_ids"', b'"diff_idz"'))}
    )
    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(ardock.InvalidArgument, match="two:1"):
            await images.load(chunks(data))
        assert len(images) == 0
        with trio.fail_after(5):
            while kept(tmp_path / "root"):  # noqa: ASYNC110
                await trio.sleep(0.01)


async def test_no_archive_gives_a_digest_away(tmp_path: Path) -> None:
    """What `busybox@sha256:...` is, its digest says, and not who wrote an archive."""
    data = made.docker_archive({f"busybox@{made.digest(b'another')}": ONE})
    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(ardock.InvalidArgument, match="cannot be given away"):
            await images.load(chunks(data))
        assert len(images) == 0


async def test_an_archive_that_is_another_layers_is_no_archive_of_a_tree_that_is_here(tmp_path: Path) -> None:
    genuine = made.image({"a": b"genuine"})
    other = made.image({"a": b"hostile"})
    # By its configuration it has the genuine layer, by its manifest another archive.
    manifest = json.loads(genuine.manifest)
    manifest["layers"] = json.loads(other.manifest)["layers"]
    hostile = genuine._replace(config=genuine.config.replace(b"step 0", b"step 1"), layers=other.layers, manifest=b"")
    manifest["config"]["digest"] = hostile.id
    hostile = hostile._replace(manifest=json.dumps(manifest).encode())
    async with store(tmp_path / "root") as (images, _):
        await images.load(made.layout(tmp_path / "genuine", {"genuine:1": genuine}))
        with pytest.raises(ContentDamaged, match="the image's configuration says"):
            await images.load(made.layout(tmp_path / "hostile", {"hostile:1": hostile}))
        assert made.shown(*images.layers_of("genuine:1")) == {"a": b"genuine"}
        assert (await images.check()).problems == ()


async def test_sizes_stay_when_another_archive_of_a_layer_comes(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        await images.load(chunks(made.docker_archive({"one:1": ONE})))
        before = (await images.inspect("one:1")).info
        await images.load(made.layout(tmp_path / "layout", {"one:2": ONE}))
        after = (await images.inspect("one:2")).info
        assert (before.size, before.files) == (after.size, after.files)
        assert before.size == 3


async def test_readers_that_stall_hold_nobody_up(tmp_path: Path) -> None:
    large = made.image({"a": bytes(range(256)) * 40_000}, compress=False)
    async with store(tmp_path / "root") as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"large:1": large}))

        async def stall() -> None:
            async with images.save(["large:1"]):
                await trio.sleep_forever()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(stall)
                await trio.sleep(0.3)
                await images.load(made.layout(tmp_path / "other", {"one:1": ONE}))
                await images.remove("one:1")
                nursery.cancel_scope.cancel()


async def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with store(tmp_path / "root") as (images, _):
        with trio.fail_after(5):
            for path in (fifo, Path("/dev/null")):
                with pytest.raises(ardock.InvalidArgument, match="neither a directory nor a file"):
                    await images.load(path)


async def test_a_header_without_end_is_no_header(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = b"x", 64 << 20
    (tmp_path / "archive").write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20))
    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(ardock.InvalidArgument, match="extended header"):
            await images.load(tmp_path / "archive")


async def test_a_bare_repository_is_saved_with_all_its_tags(tmp_path: Path) -> None:
    async with store(tmp_path / "a") as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": ONE, "app:2": TWO, "apple:1": TWO}))
        data = await saved(images, "app")
    async with store(tmp_path / "b") as (images, _):
        assert [each.names for each in await images.load(chunks(data))] == [("app:1",), ("app:2",)]


async def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    bomb = (await trio.run_process(["zstd", "-c"], stdin=bytes(200 << 20), capture_stdout=True)).stdout
    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(ardock.InvalidArgument, match="times as many"):
            await images.load(chunks(bomb))
        assert kept(tmp_path / "root") == []
