"""Images by their names and ids: found, named anew, removed, in use, kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import ardock
from ardock.engine import Engine, own_engine
from ardock.model.events import Cursor, Event
from ardock.protocol.image_methods import Removed
from tests.engine.folders import Folders
from tests.engine.images.stores import chunks, kept, parts, store, told
from tests.engine.images.trees import archive, digest_of
from tests.unit.states import opened

pytestmark = pytest.mark.root


# Names and ids


async def test_an_image_is_found_by_name_and_by_a_prefix_of_its_id(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        made = [await images.import_tar(chunks(archive({"n": b"%d" % number})), f"n{number}") for number in range(20)]
        one = made[0]
        digest = one.id.removeprefix("sha256:")
        for ref in ("n0", "n0:latest", "docker.io/library/n0", one.id, digest, digest[:12], "sha256:" + digest[:12]):
            assert (await images.inspect(ref)).info == one
            assert images.id_of(ref) == one.id
        for ref in ("absent", "n0:other", "0" * 64, "sha256:" + "0" * 64, "", "N0", "../n0"):
            with pytest.raises(ardock.NotFound):
                await images.inspect(ref)
        # 20 ids, 16 digits.
        doubled = next(digit for digit in "0123456789abcdef" if sum(it.id[7] == digit for it in made) > 1)
        with pytest.raises(ardock.Ambiguous):
            images.id_of(doubled)
        # A name goes before the prefix of an id.
        other = await images.import_tar(chunks(archive({"o": b""})), digest[:12])
        assert images.id_of(digest[:12]) == other.id
        assert await images.list() == [other, *reversed(made)]


async def test_a_name_moves_to_the_image_that_is_imported_last(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, state):
        first = await images.import_tar(chunks(archive({"a": b"1"})), "x")
        second = await images.import_tar(chunks(archive({"a": b"2"})), "x")
        assert (await images.inspect("x")).info.id == second.id
        assert (await images.inspect(first.id)).info.names == ()
        assert await told(state) == [
            ("import", "x:latest", first.id[:10]),
            ("import", "x:latest", second.id[:10]),
            ("untag", "x:latest", first.id[:10]),
        ]
    # It is as it was when the engine is opened again.
    async with store(tmp_path / "root") as (images, _):
        assert await images.list() == [second, without_names(first)]
        # The name comes back to the first, whose tree is there.
        again = await images.import_tar(chunks(archive({"a": b"1"})), "x")
        assert again == first


async def test_a_digest_cannot_be_given_away(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        await images.import_tar(chunks(archive({"a": b"1"})), "x")
        for name in ("y@sha256:" + "0" * 64, "y:1@sha256:" + "0" * 64):
            with pytest.raises(ardock.InvalidArgument, match="cannot be given away"):
                await images.tag("x", name)
        with pytest.raises(ardock.InvalidArgument):
            await images.tag("x", "")


def without_names(image: ardock.ImageInfo) -> ardock.ImageInfo:
    return msgspec.structs.replace(image, names=())


# Removing


async def test_the_last_name_takes_the_image_with_it(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, state):
        image = await images.import_tar(chunks(archive({"a": b""})), "x:1")
        gone = [f"Deleted: {image.id}", f"Deleted: sha256:{images.chain_of(image.id)[0]}"]
        await images.import_tar(chunks(archive({"a": b""})), "x:2")
        with pytest.raises(ardock.Conflict, match="several names"):
            await images.remove(image.id)
        assert await images.remove("x:1") == ["Untagged: x:1"]
        assert (await images.inspect("x:2")).info.names == ("x:2",)
        assert await images.remove("x:2") == ["Untagged: x:2", *gone]
        assert kept(tmp_path / "root") == []
        with pytest.raises(ardock.NotFound):
            await images.remove("x:2")
        assert [action for action, _, _ in await told(state)] == ["import", "import", "untag", "untag", "delete"]
        # By its id, with force, with all its names.
        await images.import_tar(chunks(archive({"a": b""})), "x:1")
        await images.import_tar(chunks(archive({"a": b""})), "x:2")
        assert await images.remove(image.id[:20], force=True) == [
            "Untagged: x:1",
            "Untagged: x:2",
            *gone,
        ]
        assert kept(tmp_path / "root") == []
    async with store(tmp_path / "root") as (images, _):
        assert await images.list() == []


async def test_an_image_in_use_stays_and_with_force_loses_its_name(tmp_path: Path) -> None:
    users = ["0123456789ab"]
    async with store(tmp_path / "root", lambda _: users) as (images, _):
        image = await images.import_tar(chunks(archive({"a": b""})), "x")
        for ref in ("x", image.id):
            with pytest.raises(ardock.Conflict, match="container 0123456789ab uses it"):
                await images.remove(ref)
        assert await images.remove("x", force=True) == ["Untagged: x:latest"]
        with pytest.raises(ardock.Conflict, match="no name to take off"):
            await images.remove(image.id, force=True)
        assert kept(tmp_path / "root") == await parts(images)
        users.clear()
        assert (await images.remove(image.id))[0] == f"Deleted: {image.id}"
        assert kept(tmp_path / "root") == []


async def test_a_requests_result_is_in_the_commit_of_what_it_changed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    keys = iter(["import", "remove"])
    async with store(root, take=lambda result: (next(keys), result)) as (images, _):
        image = await images.import_tar(chunks(archive({"a": b""})), "x")
        done = await images.remove("x")
    async with opened(root) as (state, _):
        assert msgspec.msgpack.decode(state.find_request("import") or b"", type=ardock.ImageInfo) == image
        assert msgspec.msgpack.decode(state.find_request("remove") or b"", type=Removed).done == done


# With an engine


async def test_a_container_runs_from_an_image_and_leaves_it_as_it_was(engine: Engine, rootfs: str) -> None:
    await engine.images.import_tree(rootfs, "busybox")
    (layer,) = engine.images.layers_of("busybox")
    before = digest_of(Path(layer))
    result = await engine.containers.run(["sh", "-c", "echo hello; rm /bin/data; echo x > /new"], image="busybox")
    assert (result.exit_code, result.stdout) == (0, b"hello\n")
    assert digest_of(Path(layer)) == before
    with pytest.raises(ardock.NotFound, match="no image 'absent'"):
        await engine.containers.run(["true"], image="absent")


async def test_an_image_is_in_use_as_long_as_a_container_of_it_is_there(engine: Engine, rootfs: str) -> None:
    image = await engine.images.import_tree(rootfs, "busybox")
    created = await engine.containers.create(["true"], image="busybox")
    with pytest.raises(ardock.Conflict, match=created.id[:12]):
        await engine.images.remove("busybox")
    await engine.images.remove("busybox", force=True)
    # Its name is gone, and it starts all the same.
    await engine.containers.start(created.id)
    assert (await engine.containers.wait(created.id)).exit_code == 0
    await engine.containers.remove(created.id)
    assert (await engine.images.remove(image.id))[0] == f"Deleted: {image.id}"


async def test_events_of_images_are_in_the_journal(engine: Engine) -> None:
    begin = await engine.events.cursor()
    image = await engine.images.import_tar(chunks(archive({"a": b""})), "x")
    await engine.images.remove("x")
    seen = []
    async with engine.events.subscribe(since=Cursor(begin.epoch, begin.seq), filters={"type": ("image",)}) as events:
        async for event in events:
            assert isinstance(event, Event)
            seen.append((event.type, event.action, event.id, event.name))
            if event.action == "delete":
                break
    assert seen == [("image", action, image.id, "x:latest") for action in ("import", "untag", "delete")]


async def test_images_outlive_their_engine(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as first:
        image = await first.images.import_tree(rootfs, "busybox")
    async with own_engine(**folders) as second:
        assert await second.images.list() == [image]
        assert (await second.containers.run(["true"], image="busybox")).exit_code == 0
