"""Killed anywhere: the next engine finds every image whole that was told to be there, and nothing of any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.engine.images import made
from tests.engine.images.stores import chunks, kept, parts, store
from tests.engine.images.trees import archive
from tests.registry.servers import plain_registry

pytestmark = pytest.mark.root

APP = made.image({"a": b"1" * 10_000, "d": None}, {"b": b"2"}, {"d/c": b"3"})
POINTS = [
    "blob.keep.before:1", "blob.keep.after:1", "blob.keep.before:3", "blob.keep.after:5", "layer.commit.before:1",
    "layer.commit.after:1", "layer.commit.after:3", "image.keep.before:1", "image.keep.after:1", "commit.before:1",
    "commit.after:1",
]  # fmt: skip


def killed(root: Path, failpoint: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.images.killed", root, *arguments],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "ARDOCK_FAILPOINT": failpoint},
        check=False,
    )
    assert done.returncode == -9, f"{failpoint} was not passed"


async def consistent(root: Path) -> list[str]:
    """Ids of the images that the next engine finds; everything that they need is there, and nothing else is."""
    async with store(root) as (images, _):
        ids = [image.id for image in await images.list()]
        blobs = {f"sha256:{made.digest(layer)[7:19]}" for layer in APP.layers} if APP.id in ids else set()
        expected = sorted({*await parts(images), *blobs})
        # What nothing names is out of the way at once, and goes in the background.
        with trio.fail_after(10):
            while kept(root) != expected:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await images.check()).problems == ()
        for image_id in ids:
            assert made.shown(*images.layers_of(image_id))
        return ids


@pytest.mark.parametrize("failpoint", POINTS)
@pytest.mark.parametrize("action", ["load", "pull"])
async def test_in_the_middle_of_what_comes_in(tmp_path: Path, action: str, failpoint: str) -> None:
    root = tmp_path / "root"
    with plain_registry() as registry:
        for blob in (APP.config, *APP.layers):
            registry.put_blob("app", blob)
        registry.put_manifest("app", "1", APP.manifest)
        layout = made.layout(tmp_path / "layout", {"app:1": APP})
        killed(root, failpoint, action, str(layout) if action == "load" else f"{registry.host}/app:1")
        assert await consistent(root) in ([], [APP.id])
        # And the same once more works.
        async with store(root) as (images, _):
            if action == "load":
                await images.load(layout)
            else:
                await images.pull(f"{registry.host}/app:1")
        assert await consistent(root) == [APP.id]


@pytest.mark.parametrize(
    "failpoint", [point for point in POINTS if not point.startswith("blob.keep") or point[-1] == "1"]
)
async def test_in_the_middle_of_an_import(tmp_path: Path, failpoint: str) -> None:
    if failpoint == "layer.commit.after:3":
        pytest.skip("an import has one layer")
    killed(tmp_path / "root", failpoint, "import")
    assert len(await consistent(tmp_path / "root")) <= 1


@pytest.mark.parametrize("failpoint", [point for point in POINTS if point.endswith(":1")])
async def test_in_the_middle_of_a_commit(tmp_path: Path, failpoint: str) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
    upper = tmp_path / "upper"
    (upper / "d").mkdir(parents=True)
    (upper / "d" / "written").write_bytes(b"w" * 10_000)
    killed(root, failpoint, "commit", str(upper))
    ids = await consistent(root)
    assert APP.id in ids
    assert len(ids) <= 2
    async with store(root) as (images, _):
        if len(ids) == 2:
            assert made.shown(*images.layers_of("committed:1"))["d/written"] == b"w" * 10_000


@pytest.mark.parametrize("failpoint", ["commit.before:1", "commit.after:1", "image.remove.rows:1"])
@pytest.mark.parametrize("action", ["remove", "prune"])
async def test_in_the_middle_of_a_removal(tmp_path: Path, action: str, failpoint: str) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
    killed(root, failpoint, action, "app:1")
    ids = await consistent(root)
    # Its row decides.
    assert ids == ([APP.id] if failpoint == "commit.before:1" else [])


@pytest.mark.parametrize(
    "failpoint", ["image.keep.before:1", "commit.before:1", "commit.after:1", "image.keep.after:1"]
)
async def test_in_the_middle_of_a_name_that_moves(tmp_path: Path, failpoint: str) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
        other = await images.import_tar(chunks(archive({"o": b""})), "moved")
    killed(root, failpoint, "tag", "app:1")
    async with store(root) as (images, _):
        names = {image.id: image.names for image in await images.list()}
        assert names in (
            {APP.id: ("app:1",), other.id: ("moved:latest",)},
            {APP.id: ("app:1", "moved:latest"), other.id: ()},
        )
        assert images.id_of("moved") in names
    assert set(await consistent(root)) == {APP.id, other.id}


async def test_what_was_half_made_or_half_removed_goes_at_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
        whole = kept(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    trees = root / "snapshots" / "driver"
    async with store(root) as (images, _):
        left = Path(images.driver.prepare("layer-0011", ()))
        (left / "a").mkdir()
        (left / "out").symlink_to(outside)
    (trees / ("0" * 64)).mkdir()
    (root / "content" / "sha256" / ("0" * 64)).write_bytes(b"nobody's")
    (root / "content" / ".tmp-0011").write_bytes(b"half")
    (root / "content" / "images" / ("0" * 64)).write_bytes(b"no row")
    async with store(root) as (images, _):
        with_time = kept(root)
        while with_time != whole:
            await trio.sleep(0.01)
            with_time = kept(root)
        assert [image.id for image in await images.list()] == [APP.id]
    assert (outside / "file").read_text() == "kept"
