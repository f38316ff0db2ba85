"""Containers on every driver: each has a root of its own, which goes with it and with nothing else."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

import ardock
from ardock.engine import Engine, own_engine
from ardock.engine.snapshots import open_storage
from tests.engine.folders import Folders
from tests.engine.snapshots.images import give_image
from tests.engine.snapshots.loops import file_system

pytestmark = pytest.mark.root


# A pool that is made in no time.
OPTIONS = {"devicemapper": {"dm.basesize": "128m", "dm.loopdatasize": "768m", "dm.loopmetadatasize": "16m"}}
# What would have to be done where no size can be limited.
REMEDIES = {"overlay": "prjquota", "vfs": "prjquota", "devicemapper": r"dm.basesize"}


@pytest.fixture(params=["overlay", "vfs", "btrfs", "devicemapper"])
def name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(name: str, folders: Folders, tmp_path: Path) -> Iterator[Folders]:
    """Folders of an engine whose root folder is on what the driver needs."""
    if name == "devicemapper":
        yield from thin_place(folders)
        return
    if name != "btrfs":
        yield folders
        return
    with file_system(tmp_path, "btrfs") as point:
        root = Path(folders["root"])
        root.symlink_to(point / "root", target_is_directory=True)
        (point / "root").mkdir()
        yield folders


def thin_place(folders: Folders) -> Iterator[Folders]:
    try:
        folders["root"].mkdir()
        open_storage(folders["root"], "devicemapper", OPTIONS["devicemapper"]).driver.close()
    except ardock.ArdockError as error:
        pytest.skip(str(error))
    yield folders
    # The last keeper holds the roots of what was killed for a moment.
    deadline = time.monotonic() + 30
    while True:
        open_storage(folders["root"]).driver.close()
        left = subprocess.run(["dmsetup", "ls"], capture_output=True, text=True, check=True).stdout
        if "ardock" not in left:
            break
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def opened(place: Folders, name: str) -> AbstractAsyncContextManager[Engine]:
    return own_engine(**place, storage_driver=name, storage_options=OPTIONS.get(name))


@pytest.fixture
async def engine(name: str, place: Folders) -> AsyncIterator[Engine]:
    async with opened(place, name) as engine:
        yield engine
        for one in (await engine.containers.list(all=True)).containers:
            await engine.containers.remove(one.id, force=True)
        await until_none(engine)


@pytest.fixture
async def image(engine: Engine, rootfs: str) -> str:
    return await give_image(engine, rootfs)


async def until_none(engine: Engine) -> None:
    """No root of a container is left; what ended is removed in the background."""
    with trio.fail_after(10):
        while made(engine):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.02)


def made(engine: Engine) -> list[str]:
    root = engine.root
    return sorted(engine.storage.driver.keys()) + sorted(os.listdir(root / "containers"))


async def test_a_throw_away_one_has_the_images_root_for_itself(engine: Engine, image: str) -> None:
    command = "cat /layered; ls /; echo mine > /etc/passwd; rm -r /bin/[; touch /new"
    for _ in range(3):
        result = await engine.containers.run(["sh", "-c", command], image=image)
        assert (result.exit_code, result.stderr) == (0, b"")
        names = result.stdout.decode().split()
        assert names[0] == "upper"
        assert {"bin", "etc", "layered", "root", "tmp"} <= set(names)
        assert not {"home", "new"} & set(names)
    await until_none(engine)


async def test_what_one_has_written_is_told_exported_and_counted(engine: Engine, image: str) -> None:
    """The same on every driver; `give_image` has committed already."""
    command = "echo mine > /mine; mkdir /new; rm /layered; head -c 300000 /dev/urandom > /new/file"
    kept = await engine.containers.create(["sh", "-c", command], image=image)
    assert await engine.containers.diff(kept.id) == []
    await engine.containers.start(kept.id)
    await engine.containers.wait(kept.id)
    found = [(change.kind, change.path) for change in await engine.containers.diff(kept.id)]
    assert found == [("D", "/layered"), ("A", "/mine"), ("A", "/new"), ("A", "/new/file")]
    data = io.BytesIO()
    async with engine.containers.export(kept.id) as chunks:
        async for chunk in chunks:
            data.write(chunk)
    data.seek(0)
    with tarfile.open(fileobj=data) as tar:
        names = tar.getnames()
    assert {"mine", "new/file", "etc/passwd"} <= set(names)
    assert not {"layered", "home"} & set(names)
    (line,) = await engine.containers.usage()
    assert line.size >= 300_000


async def test_many_at_once(engine: Engine, image: str) -> None:
    specs = [ardock.ContainerSpec(argv=("sh", "-c", f"echo {n} > /n; cat /n"), image=image) for n in range(40)]
    seen = {}
    async for result in engine.containers.run_many(specs, in_flight=8):
        assert result.error is None
        seen[result.index] = result.stdout
    assert seen == {n: f"{n}\n".encode() for n in range(40)}
    await until_none(engine)


async def test_a_loop_over_many_that_is_left_leaves_no_root(engine: Engine, image: str) -> None:
    specs = [ardock.ContainerSpec(argv=("sleep", "1000"), image=image) for _ in range(4)]
    specs.append(ardock.ContainerSpec(argv=("true",), image=image))
    async with engine.containers.run_many(specs) as results:
        async for result in results:
            assert result.exit_code == 0
            break
    assert (await engine.containers.list()).containers == []
    await until_none(engine)


async def test_one_that_runs_is_joined_and_its_root_goes_with_it(engine: Engine, image: str) -> None:
    async with await engine.containers.spawn(
        ["sh", "-c", "echo 1 > /mine; sleep 1000"], image=image, user="alice"
    ) as one:
        with trio.fail_after(10):
            while True:
                found = await engine.containers.exec_run(one.id, ["id", "-un"])
                if found.exit_code == 0:
                    break
        assert found.stdout == b"alice\n"
    await until_none(engine)


async def test_a_kept_one_keeps_its_root_until_it_is_removed(name: str, place: Folders, rootfs: str) -> None:
    """Across starts and engines."""
    async with opened(place, name) as engine:
        image = await give_image(engine, rootfs)
        count = "echo x >> /count; wc -l < /count"
        kept = await engine.containers.create(["sh", "-c", count], image=image)
        await engine.containers.start(kept.id)
        await engine.containers.wait(kept.id)
    async with own_engine(**place) as engine:
        assert len(made(engine)) == 1
        await engine.containers.start(kept.id)
        await engine.containers.wait(kept.id)
        async with engine.containers.logs(kept.id) as items:
            lines = [item.data async for item in items]  # type: ignore[union-attr]
        assert b"".join(lines).split() == [b"1", b"2"]
        await engine.containers.remove(kept.id)
        assert made(engine) == []


async def test_one_that_goes_on_without_an_engine_is_found_and_joined(name: str, place: Folders, rootfs: str) -> None:
    async with opened(place, name) as engine:
        image = await give_image(engine, rootfs)
        kept = await engine.containers.create(["sh", "-c", "echo 1 > /mine; sleep 1000"], image=image)
        await engine.containers.start(kept.id)
    async with own_engine(**place) as engine:
        found = await engine.containers.exec_run(kept.id, ["cat", "/mine", "/layered"])
        assert (found.stdout, found.stderr) == (b"1\nupper\n", b"")
        await engine.containers.remove(kept.id, force=True)
        assert made(engine) == []


async def test_one_that_cannot_be_made_leaves_no_root(engine: Engine, image: str) -> None:
    with pytest.raises(ardock.NotFound):
        await engine.containers.create(["true"], image=image, user="nobody-of-that-name")
    with pytest.raises(ardock.NotFound):
        await engine.containers.run(["true"], image=image, user="nobody-of-that-name")
    with pytest.raises(ardock.CommandNotFound):
        await engine.containers.run(["/no/such/program"], image=image)
    with pytest.raises(ardock.NotFound):
        await engine.containers.run(["true"], image="no-such-image")
    await until_none(engine)


async def test_one_that_is_given_up_while_its_root_is_made_leaves_none(engine: Engine, image: str) -> None:
    for milliseconds in (0, 1, 3, 10):
        with trio.move_on_after(milliseconds / 1000):
            await engine.containers.run(["sleep", "1000"], image=image)
    assert (await engine.containers.list()).containers == []
    await until_none(engine)


async def test_writes_to_memory_go_above_the_layers(engine: Engine, image: str) -> None:
    """Whatever the driver: nothing is made on the disk."""
    command = "echo mine > /mine; cat /mine /layered"
    result = await engine.containers.run(["sh", "-c", command], image=image, scratch="memory", scratch_size="1m")
    assert (result.stdout, result.stderr) == (b"mine\nupper\n", b"")
    result = await engine.containers.run(["dd", "if=/dev/zero", "of=/f", "bs=1M", "count=4"], image=image,
                                         scratch="memory", scratch_size="1m")  # fmt: skip
    assert b"No space left" in result.stderr


async def test_none_does_not_let_a_container_write_into_its_image(engine: Engine, image: str, name: str) -> None:
    if name == "overlay":
        with pytest.raises(ardock.InvalidArgument, match="scratch"):
            await engine.containers.run(["true"], image=image, scratch="none")
        return
    result = await engine.containers.run(["rm", "/layered"], image=image, scratch="none")
    assert result.exit_code == 0
    result = await engine.containers.run(["cat", "/layered"], image=image, scratch="none")
    assert result.stdout == b"upper\n"


async def test_a_size_is_enforced_or_refused(engine: Engine, image: str, name: str) -> None:
    """Never ignored: whoever cannot limit it says what would."""
    write = ["sh", "-c", "dd if=/dev/zero of=/f bs=1M count=32 && sync"]
    if name == "btrfs":
        result = await engine.containers.run(write, image=image, scratch_size="8m")
        assert b"Disk quota exceeded" in result.stderr
        result = await engine.containers.run(write, image=image, scratch_size="100m")
        assert result.exit_code == 0
    else:
        with pytest.raises(ardock.Unsupported, match=r"scratch_size|storage") as refused:
            await engine.containers.run(write, image=image, scratch_size="8m")
        assert refused.value.option == "scratch_size"
        assert REMEDIES[name] in str(refused.value)
        with pytest.raises(ardock.Unsupported):
            await engine.containers.create(write, image=image, scratch_size="8m")
    await until_none(engine)


@pytest.mark.parametrize("point", ["snapshot.prepare.made:1", "snapshot.prepare.named:1"])
async def test_killed_while_a_root_is_made(point: str, folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders, storage_driver="vfs") as engine:
        await give_image(engine, rootfs)
    ran = await trio.run_process(
        [sys.executable, "-m", "tests.engine.snapshots.runs", folders["root"], folders["run_dir"]],
        env={**os.environ, "ARDOCK_FAILPOINT": point},
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL
    async with own_engine(**folders) as engine:
        assert made(engine) == []
        assert not [each for each in os.listdir(engine.root / "snapshots" / "vfs") if each.startswith(".")]
