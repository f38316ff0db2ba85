"""Images: imported from archives and directories, found, run, renamed over, removed; and what is refused leaves nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ardock
from ardock._core import remove_tree
from ardock.engine import Engine, own_engine
from ardock.engine.images import Images
from ardock.engine.state import State
from ardock.model.events import Cursor, Event
from ardock.protocol.methods import Removed
from tests.engine.folders import Folders
from tests.engine.trees import archive, digest_of
from tests.unit.states import Clock, opened

pytestmark = pytest.mark.root


async def chunks(data: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def nobody(_: str) -> Sequence[str]:
    return ()


@asynccontextmanager
async def store(
    root: Path, in_use: Callable[[str], Sequence[str]] = nobody, clock: Clock | None = None
) -> AsyncIterator[tuple[Images, State]]:
    """Images alone, with their state, as the engine opens them."""
    clock = clock or Clock()

    def now() -> int:
        clock.pass_(1)
        return clock.wall

    os.makedirs(root, exist_ok=True)
    async with opened(root, clock) as (state, loaded):
        images = Images(root, state, loaded.images, in_use=in_use, now=now)
        await images.tidy()
        yield images, state


def folders_of(root: Path) -> list[str]:
    return sorted(os.listdir(root / "images"))


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens on the disk
        await trio.sleep(0.01)


async def told(state: State) -> list[tuple[str, str, str]]:
    """All events: action, name, the id's beginning."""
    entries = await state.read_journal(0, 1 << 20)
    return [(event.action, event.name, event.id[:10]) for entry in entries for event in entry.events()]


# Importing


async def test_a_tar_and_its_directory_are_the_same_image(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "tool").write_bytes(os.urandom(3_000_000))
    (source / "bin" / "tool").chmod(0o4755)
    os.link(source / "bin" / "tool", source / "hard")
    (source / "link").symlink_to("/bin/tool")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.chown(source / "bin", 1000, 70_000)
    os.setxattr(source / "bin" / "tool", "user.note", b"a\0b")
    (source / ("n" * 150)).write_text("long name")
    gnu = ["tar", "--xattrs", "--xattrs-include=*", "--format=pax", "-C", str(source), "-cf", "-", "."]
    tar = (await trio.run_process(gnu, capture_stdout=True)).stdout
    (tmp_path / "tree.tar").write_bytes(tar)
    async with store(tmp_path / "root") as (images, _):
        first = await images.import_tree(source, "from-directory")
        second = await images.import_tar(chunks(tar), "from-stream:1")
        third = await images.import_tree(str(tmp_path / "tree.tar"), "from-file")
        assert first.id == second.id == third.id == "sha256:" + digest_of(source)
        assert third.names == ("from-directory:latest", "from-file:latest", "from-stream:1")
        assert (third.size, third.files) == (3_000_009, 7)
        (layer,) = images.layers_of("from-file")
        assert digest_of(Path(layer)) == digest_of(source)
        assert folders_of(tmp_path / "root") == [first.id.removeprefix("sha256:")]
        assert len(images) == 1


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
async def test_every_format_gives_the_same_tree(tmp_path: Path, tar_format: int) -> None:
    long = "d/" + "/".join(["part" * 5] * 6)
    entries: dict[str, bytes | str | None] = {".": None, "d": None, long: b"x" * 1000, "l": "t" * 90}
    expected = tmp_path / "expected"
    (expected / "d").mkdir(parents=True, mode=0o755)
    (expected / long).parent.mkdir(parents=True)
    (expected / long).write_bytes(b"x" * 1000)
    (expected / long).chmod(0o755)
    (expected / "l").symlink_to("t" * 90)
    async with store(tmp_path / "root") as (images, _):
        image = await images.import_tar(chunks(archive(entries, tar_format)), "x")
        assert image.id == "sha256:" + digest_of(expected)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.dictionaries(
        st.from_regex(r"[a-c](/[a-cé]){0,2}", fullmatch=True),
        st.one_of(
            st.binary(max_size=2000),
            st.none(),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        ),
        max_size=6,
    )
)
def test_any_archive_gives_the_tree_that_gnu_tar_gives(tmp_path: Path, entries: dict[str, bytes | str | None]) -> None:
    data = archive({".": None, **entries})
    expected = tmp_path / "expected"
    expected.mkdir(exist_ok=True)
    gnu = subprocess.run(
        ["tar", "-C", expected, "--same-permissions", "--numeric-owner", "-xf", "-"],
        input=data,
        capture_output=True,
        check=False,
    )

    async def run() -> str | None:
        async with store(tmp_path / "root") as (images, _):
            try:
                image = await images.import_tar(chunks(data, 700), "x")
            except ardock.InvalidArgument:
                return None
            (layer,) = images.layers_of("x")
            assert image.id == "sha256:" + digest_of(Path(layer))
            return image.id

    try:
        ours = trio.run(run)
        # GNU tar gives up where a file is in a directory's way and the like; so do we, or we replace as docker does.
        if gnu.returncode == 0 and ours is not None:
            assert ours == "sha256:" + digest_of(expected)
        if ours is None:
            assert gnu.returncode != 0
    finally:
        remove_tree(str(expected))
        remove_tree(str(tmp_path / "root"))


async def test_the_engines_own_folder_is_not_copied_into_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    async with store(tmp_path / "root") as (images, _):
        image = await images.import_tree(tmp_path, "all")
        (layer,) = images.layers_of("all")
        assert (Path(layer) / "file").read_text() == "x"
        assert list((Path(layer) / "root").iterdir()) == []
        assert image.files == 2


async def test_what_cannot_be_imported_is_refused_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    whole = archive({"a": b"x" * 2000})
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    compressed = io.BytesIO()
    with tarfile.open(fileobj=compressed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    async with store(tmp_path / "root") as (images, state):
        for data, sentence in [
            (b"", "it is no tar archive: it is empty"),
            (b"#!/bin/sh\n" * 100, "it is no tar archive"),
            (compressed.getvalue(), "compressed with gzip: decompress it first"),
            (whole[:1000], 'cut off after 1000 bytes, within "a"'),
            (whole[:2560], "cut off after 2560 bytes"),
            (archive({"../evil": b"x"}), '"../evil" leads out'),
            (archive({"ok": b"", "a": "/", "a/../../evil": b"x"}), '"a/../../evil" leads out'),
        ]:
            with pytest.raises(ardock.InvalidArgument) as caught:
                await images.import_tar(chunks(data, 512), "x")
            assert sentence in caught.value.message
        for path, kind in [
            (tmp_path / "absent", ardock.NotFound),
            (fifo, ardock.InvalidArgument),
            (Path("/dev/null"), ardock.InvalidArgument),
            (Path("a\0b"), ardock.InvalidArgument),
        ]:
            with pytest.raises(kind):
                await images.import_tree(path, "x")
        with pytest.raises(ardock.InvalidArgument, match="upper-case"):
            await images.import_tar(chunks(whole), "X")
        listed = tarfile.TarInfo("s")
        listed.pax_headers = {"SCHILY.acl.access": "user::rwx"}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(listed)
        with pytest.raises(ardock.Unsupported, match='"s" has an access control list'):
            await images.import_tar(chunks(out.getvalue()), "x")
        assert await images.list() == []
        assert folders_of(tmp_path / "root") == []
        assert await told(state) == []
    assert not (tmp_path / "evil").exists()


async def test_a_source_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield archive({"a": b"x" * 5000})[:3000]
        raise RuntimeError("the client has gone")

    async with store(tmp_path / "root") as (images, _):
        with pytest.raises(RuntimeError, match="the client has gone"):
            await images.import_tar(broken(), "x")
        assert folders_of(tmp_path / "root") == []


async def test_a_cancelled_import_ends_soon_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # Hours of zeros to hash.
    with (source / "hole").open("wb") as file:
        file.truncate(1 << 42)

    async def waiting() -> AsyncIterator[bytes]:
        yield archive({"a": b"x" * 5000})[:3000]
        await trio.sleep_forever()

    async with store(tmp_path / "root") as (images, _):
        for make in (lambda: images.import_tree(source, "x"), lambda: images.import_tar(waiting(), "x")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(make)
                await wait_until(lambda: folders_of(tmp_path / "root") != [])
                nursery.cancel_scope.cancel()
            assert folders_of(tmp_path / "root") == []
        assert len(images) == 0


async def test_imports_at_once_of_the_same_tree_are_one_image(tmp_path: Path) -> None:
    data = archive({"a": b"x" * 100_000})
    async with store(tmp_path / "root") as (images, _):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(images.import_tar, chunks(data, 1000), f"name{number}")
        (image,) = await images.list()
        assert image.names == tuple(f"name{number}:latest" for number in range(10))
        assert folders_of(tmp_path / "root") == [image.id.removeprefix("sha256:")]


async def test_a_commit_that_fails_takes_the_tree_back(tmp_path: Path) -> None:
    class Full:
        async def commit_and_wait(self, _: object) -> None:
            raise ardock.DiskFull("no room")

    root = tmp_path / "root"
    root.mkdir()
    images = Images(root, Full(), [], in_use=nobody)  # type: ignore[arg-type]
    await images.tidy()
    with pytest.raises(ardock.DiskFull):
        await images.import_tar(chunks(archive({"a": b""})), "x")
    assert (folders_of(root), len(images)) == ([], 0)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = "mount -t tmpfs -o size=2m none $0 && exec $1 -m tests.engine.image_on_full_disk $0"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, small, sys.executable],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "disk_full []\n"), done.stderr


# Names and ids


async def test_an_image_is_found_by_name_and_by_a_prefix_of_its_id(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        made = [await images.import_tar(chunks(archive({"n": b"%d" % number})), f"n{number}") for number in range(20)]
        one = made[0]
        digest = one.id.removeprefix("sha256:")
        for ref in ("n0", "n0:latest", "docker.io/library/n0", one.id, digest, digest[:12], "sha256:" + digest[:12]):
            assert await images.inspect(ref) == one
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
        assert (await images.inspect("x")).id == second.id
        assert (await images.inspect(first.id)).names == ()
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


def without_names(image: ardock.ImageInfo) -> ardock.ImageInfo:
    return ardock.ImageInfo(id=image.id, created_at=image.created_at, size=image.size, files=image.files)


# Removing


async def test_the_last_name_takes_the_image_with_it(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, state):
        image = await images.import_tar(chunks(archive({"a": b""})), "x:1")
        await images.import_tar(chunks(archive({"a": b""})), "x:2")
        with pytest.raises(ardock.Conflict, match="several names"):
            await images.remove(image.id)
        assert await images.remove("x:1") == ["Untagged: x:1"]
        assert (await images.inspect("x:2")).names == ("x:2",)
        assert await images.remove("x:2") == ["Untagged: x:2", f"Deleted: {image.id}"]
        assert folders_of(tmp_path / "root") == []
        with pytest.raises(ardock.NotFound):
            await images.remove("x:2")
        assert [action for action, _, _ in await told(state)] == ["import", "import", "untag", "untag", "delete"]
        # By its id, with force, with all its names.
        await images.import_tar(chunks(archive({"a": b""})), "x:1")
        await images.import_tar(chunks(archive({"a": b""})), "x:2")
        assert await images.remove(image.id[:20], force=True) == [
            "Untagged: x:1",
            "Untagged: x:2",
            f"Deleted: {image.id}",
        ]
        assert folders_of(tmp_path / "root") == []
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
        assert folders_of(tmp_path / "root") == [image.id.removeprefix("sha256:")]
        users.clear()
        assert await images.remove(image.id) == [f"Deleted: {image.id}"]
        assert folders_of(tmp_path / "root") == []


# What an engine that was killed leaves


async def test_what_was_half_made_or_half_removed_goes_at_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        image = await images.import_tar(chunks(archive({"a": b""})), "x")
    digest = image.id.removeprefix("sha256:")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    (root / "images" / ".tmp-0011223344556677" / "a").mkdir(parents=True)
    (root / "images" / ".tmp-0011223344556677" / "out").symlink_to(outside)
    (root / "images" / ("0" * 64)).mkdir()
    async with store(root) as (images, _):
        assert folders_of(root) == [digest]
        assert await images.list() == [image]
    assert (outside / "file").read_text() == "kept"


@pytest.mark.parametrize("failpoint", ["image.keep.before", "image.keep.after", "commit.before:1", "commit.after:1"])
def test_killed_anywhere_the_image_is_there_whole_or_not_at_all(tmp_path: Path, failpoint: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.image_killed", root],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ARDOCK_FAILPOINT": failpoint},
        check=False,
    )
    assert done.returncode == -9, "the place was not passed"

    async def look() -> None:
        async with store(root) as (images, _):
            whole = [image.id.removeprefix("sha256:") for image in await images.list()]
            assert folders_of(root) == whole
            for digest in whole:
                assert digest_of(root / "images" / digest) == digest

    trio.run(look)


async def test_a_requests_result_is_in_the_commit_of_what_it_changed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    keys = iter(["import", "remove"])
    os.makedirs(root)
    async with opened(root) as (state, _):
        images = Images(root, state, [], in_use=nobody, take=lambda result: (next(keys), result))
        await images.tidy()
        image = await images.import_tar(chunks(archive({"a": b""})), "x")
        done = await images.remove("x")
    async with opened(root) as (state, _):
        assert msgspec.msgpack.decode(state.find_request("import") or b"", type=ardock.ImageInfo) == image
        assert msgspec.msgpack.decode(state.find_request("remove") or b"", type=Removed).done == done


# With an engine


async def test_a_container_runs_from_an_image_and_leaves_it_as_it_was(engine: Engine, rootfs: str) -> None:
    image = await engine.images.import_tree(rootfs, "busybox")
    result = await engine.containers.run(["sh", "-c", "echo hello; rm /bin/data; echo x > /new"], image="busybox")
    assert (result.exit_code, result.stdout) == (0, b"hello\n")
    (layer,) = engine.images.layers_of("busybox")
    assert "sha256:" + digest_of(Path(layer)) == image.id
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
    assert await engine.images.remove(image.id) == [f"Deleted: {image.id}"]


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
