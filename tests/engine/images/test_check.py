"""`image fsck`: what is damaged on the disk is found, told, and mended where that can be; a lost index comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.snapshots.vfs import Vfs
from ardock.model.errors import ContentDamaged
from tests.engine.images import made
from tests.engine.images.stores import chunks, kept, store, told
from tests.engine.images.trees import archive

pytestmark = pytest.mark.root

APP = made.image({"a": b"1" * 10_000, "d": None, "d/x": b"x"}, {"b": b"2", "d/.wh.x": b""})


def blob(root: Path, digest: str) -> Path:
    return root / "content" / "sha256" / digest[7:]


@pytest.mark.parametrize("driver", [Overlay, Vfs])
async def test_a_whole_store_has_no_problems(tmp_path: Path, driver: type[Overlay | Vfs]) -> None:
    async with store(tmp_path / "root", driver=driver) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
        await images.import_tar(chunks(archive({"o": b"12345"})), "made")
        before = kept(tmp_path / "root")
        found = await images.check()
        assert (found.problems, found.images, found.layers, found.blobs) == ((), 2, 3, 5)
        assert kept(tmp_path / "root") == before


async def test_a_changed_file_is_found_and_the_layer_is_unpacked_anew(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
        top, bottom = images.layers_of("app:1")
        (Path(bottom) / "a").write_bytes(b"changed")
        shutil.rmtree(top)
        found = await images.check()
        assert sorted((problem.what.split(":")[0], problem.remedy) for problem in found.problems) == [
            ("its files are missing", "unpacked anew from its archive"),
            ("its files were changed on the disk", "unpacked anew from its archive"),
        ]
        assert made.shown(top, bottom) == {"a": b"1" * 10_000, "b": b"2", "d": None}
        assert (await images.check()).problems == ()


async def test_a_changed_layer_without_archive_is_told(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, _):
        await images.import_tar(chunks(archive({"o": b"12345"})), "made")
        (layer,) = images.layers_of("made")
        (Path(layer) / "o").write_bytes(b"changed")
        (problem,) = (await images.check()).problems
        assert "changed on the disk" in problem.what
        assert "make the image anew" in problem.remedy
        # It is not given away as what it was.
        with pytest.raises(ContentDamaged, match="changed on the disk"):
            async with images.save(["made"]):
                pass


async def test_a_damaged_archive_is_removed_and_comes_again(tmp_path: Path) -> None:
    layout = made.layout(tmp_path / "layout", {"app:1": APP})
    async with store(tmp_path / "root") as (images, _):
        await images.load(layout)
        damaged = made.digest(APP.layers[1])
        path = blob(tmp_path / "root", damaged)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        (problem,) = (await images.check()).problems
        assert (problem.subject, problem.what) == (damaged, "damaged on the disk (of app:1)")
        assert not path.exists()
        # It runs all the same.
        assert made.shown(*images.layers_of("app:1")) == {"a": b"1" * 10_000, "b": b"2", "d": None}
        await images.load(layout)
        assert path.exists()
        assert (await images.check()).problems == ()


async def test_a_damaged_configuration_is_told_where_it_is_needed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
    blob(root, APP.id).write_bytes(b"{}")
    async with store(root) as (images, _):
        with pytest.raises(ContentDamaged, match="fsck"):
            await images.inspect("app:1")
        assert [problem.subject for problem in (await images.check()).problems] == [APP.id]


async def test_a_lost_index_comes_back_with_all_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP}))
        await images.tag("app:1", "other:2")
        gone = await images.import_tar(chunks(archive({"o": b"12345"})), "made")
        await images.import_tar(chunks(archive({"p": b""})), "whole")
        (lost,) = images.layers_of("made")
        before = await images.list()
    shutil.rmtree(root / "state")
    shutil.rmtree(lost)
    async with store(root) as (images, state):
        after = await images.list()
        assert after == [image for image in before if image.id != gone.id]
        assert images.id_of("other:2") == APP.id
        assert (await images.check()).problems == ()
        assert {(action, name) for action, name, _ in await told(state)} == {
            ("recover", "app:1"),
            ("recover", "whole:latest"),
        }
    async with store(root) as (images, _):
        assert await images.list() == after


async def test_an_image_without_its_configuration_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    async with store(root) as (images, _):
        await images.load(made.layout(tmp_path / "layout", {"app:1": APP, "two:1": made.image({"x": b""})}))
    blob(root, APP.id).unlink()
    async with store(root) as (images, _):
        assert [image.names for image in await images.list()] == [("two:1",)]
        assert "app:1" in caplog.text
        await images.load(tmp_path / "layout")
        assert made.shown(*images.layers_of("app:1")) == {"a": b"1" * 10_000, "b": b"2", "d": None}


async def test_an_empty_root_folder_is_no_lost_index(tmp_path: Path) -> None:
    async with store(tmp_path / "root") as (images, state):
        assert len(images) == 0
        assert await told(state) == []
