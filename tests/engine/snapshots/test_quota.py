"""`--storage-opt size=` on disk: project quotas, on XFS and ext4 on loop files where the kernel counts projects."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import ardock
from ardock.engine import own_engine
from ardock.engine.snapshots.quota import ProjectQuotas, project_of
from tests.engine.folders import Folders
from tests.engine.snapshots.images import give_image
from tests.engine.snapshots.loops import file_system

pytestmark = pytest.mark.root

FULL = (b"No space left on device", b"Disk quota exceeded")


@pytest.fixture(params=["xfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    kind = request.param
    make = ("-q", "-O", "project,quota") if kind == "ext4" else ("-q",)
    with file_system(tmp_path, kind, make=make, options="prjquota") as point:
        problem = ProjectQuotas(point, "00000001").problem()
        if problem:
            pytest.skip(problem)
        yield point


@pytest.fixture
def place(disk: Path, folders: Folders) -> Folders:
    (disk / "root").mkdir()
    folders["root"].symlink_to(disk / "root", target_is_directory=True)
    return folders


def written(folder: Path, size: int) -> int:
    """Bytes that could be written, of so many."""
    # ext4 lets those past a quota who have this capability; no container has it.
    command = ["setpriv", "--bounding-set=-sys_resource", "dd", "if=/dev/zero", f"of={folder / 'file'}", "bs=1M"]
    subprocess.run([*command, f"count={size >> 20}", "oflag=sync"], capture_output=True, check=False)
    return (folder / "file").stat().st_size


def test_each_directory_has_a_limit_of_its_own(disk: Path) -> None:
    quotas = ProjectQuotas(disk, "12345678")
    folders = [disk / "containers" / name for name in ("one", "two", "three")]
    for folder, size in zip(folders, (4 << 20, 16 << 20, 1 << 30), strict=True):
        folder.mkdir(parents=True)
        quotas.limit(folder, size)
    (folders[0] / "below").mkdir()
    got = [written(folders[0] / "below", 32 << 20), written(folders[1], 32 << 20), written(folders[2], 32 << 20)]
    assert 2 << 20 <= got[0] <= 4 << 20
    assert 14 << 20 <= got[1] <= 16 << 20
    assert got[2] == 32 << 20
    assert len({project_of(folder) for folder in folders}) == 3


def test_numbers_are_found_again_and_used_again(disk: Path) -> None:
    """After a crash the directories themselves tell which are taken."""
    one, two, three = (disk / "containers" / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir(parents=True)
    ProjectQuotas(disk, "12345678").limit(one, 1 << 20)
    again = ProjectQuotas(disk, "12345678")
    again.limit(two, 1 << 20)
    first, second = project_of(one), project_of(two)
    assert first != second
    again.free(one)
    one.rmdir()
    os.sync()
    again.limit(three, 8 << 20)
    assert project_of(three) == first
    assert written(three, 16 << 20) >= 6 << 20  # the former limit is gone


def test_engines_do_not_meet(disk: Path) -> None:
    for name in ("one", "two"):
        (disk / name).mkdir()
    ProjectQuotas(disk, "00000001").limit(disk / "one", 1 << 20)
    ProjectQuotas(disk, "00000002").limit(disk / "two", 1 << 20)
    assert project_of(disk / "one") != project_of(disk / "two")


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
async def test_what_a_container_writes_is_limited(driver: str, place: Folders, rootfs: str) -> None:
    write = ["sh", "-c", "dd if=/dev/zero of=/f bs=1M count=32 && sync /f"]
    async with own_engine(**place, storage_driver=driver) as engine:
        image = await give_image(engine, rootfs)
        for _ in range(2):
            result = await engine.containers.run(write, image=image, scratch_size="8m")
            assert result.exit_code != 0
            assert any(text in result.stderr for text in FULL), result.stderr
        assert (await engine.containers.run(write, image=image, scratch_size="100m")).exit_code == 0
        assert (await engine.containers.run(write, image=image)).exit_code == 0
        if driver == "overlay":
            result = await engine.containers.run(write, rootfs=rootfs, scratch_size="8m")
            assert any(text in result.stderr for text in FULL), result.stderr
        kept = await engine.containers.create(write, image=image, scratch_size="8m")
        for _ in range(2):
            await engine.containers.start(kept.id)
            assert (await engine.containers.wait(kept.id)).exit_code != 0
        await engine.containers.remove(kept.id)
        with trio.fail_after(10):
            while os.listdir(engine.root / "containers") or engine.storage.driver.keys():  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.05)


async def test_a_size_for_all_that_name_none(place: Folders, rootfs: str) -> None:
    write = ["sh", "-c", "dd if=/dev/zero of=/f bs=1M count=32 && sync /f"]
    async with own_engine(**place, storage_options={"size": "8m"}) as engine:
        result = await engine.containers.run(write, rootfs=rootfs)
        assert any(text in result.stderr for text in FULL), result.stderr
        assert (await engine.containers.run(write, rootfs=rootfs, scratch_size="64m")).exit_code == 0
        kept = await engine.containers.create(write, rootfs=rootfs)
        assert (await engine.containers.inspect(kept.id)).spec.scratch_size == 8 << 20
        await engine.containers.remove(kept.id)


async def test_where_no_project_is_counted_a_size_is_refused(folders: Folders, tmp_path: Path, rootfs: str) -> None:
    with file_system(tmp_path, "ext4", make=("-q",)) as point:
        (point / "root").mkdir()
        folders["root"].symlink_to(point / "root", target_is_directory=True)
        async with own_engine(**folders) as engine:
            with pytest.raises(ardock.Unsupported, match="mount it with prjquota, or use --scratch memory"):
                await engine.containers.run(["true"], rootfs=rootfs, scratch_size="8m")
            assert os.listdir(engine.root / "containers") == []
