# ruff: noqa: ASYNC221, ASYNC240 - a test may wait for small local files and programs
"""An engine that dies in the middle of what it does with volumes: the next one has each whole or not at all, and none is leaked.

Also: a database that was lost or put back, and disks that are full, read-only or damaged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import ardock
from ardock import Mount
from ardock.engine import Engine, own_engine
from ardock.model.volume import ANONYMOUS_LABEL
from tests.engine import leftovers
from tests.engine.folders import Folders

pytestmark = pytest.mark.root


@pytest.fixture
def rootfs(clean_rootfs: str) -> str:
    """What is in an image of it is counted here."""
    return clean_rootfs


TOP = Path(__file__).parents[2]
PLACES = (
    *(f"volume.{place}:{count}" for place in ("prepared", "settled", "unsettled", "discarding") for count in (1, 2, 5, 9)),
    "volume.filled:1", "volume.filled:3",
    *(f"commit.{side}:{count}" for side in ("before", "after") for count in (2, 4, 7, 12, 20, 33)),
    *(f"keeper.{what}.{side}:{count}" for what in ("send", "ended") for side in ("before", "after") for count in (1, 3)),
)  # fmt: skip


async def look(engine: Engine) -> None:
    """Rows, directories and containers agree."""
    rows = {volume.name: volume for volume in await engine.volumes.list()}
    assert sorted(path.name for path in (engine.root / "volumes").iterdir()) == sorted(rows)
    for name in rows:
        assert sorted(path.name for path in (engine.root / "volumes" / name).iterdir()) == ["_data", "volume.json"]
    used: dict[str, set[str]] = {}
    for one in (await engine.containers.list(all=True)).containers:
        info = await engine.containers.inspect(one.id)
        for mount in info.spec.mounts:
            used.setdefault(mount.source, set()).add(one.id)
    assert used.keys() <= rows.keys(), "a container's volumes are there"
    for name, volume in rows.items():
        assert set(volume.users) == used.get(name, set())


@pytest.mark.parametrize("place", PLACES)
async def test_killed_at_a_place_no_volume_is_lost_or_leaked(place: str, folders: Folders, rootfs: str) -> None:
    arguments = [str(folders["root"]), str(folders["run_dir"]), rootfs]
    dead = subprocess.run(
        [sys.executable, "-m", "tests.engine.volume_failing", *arguments],
        cwd=TOP,
        env={**os.environ, "ARDOCK_FAILPOINT": place},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (dead.returncode, dead.stderr) == (-9, ""), "it dies where it should, and of nothing else"
    told = [line.split() for line in dead.stdout.splitlines()]

    def names(word: str) -> set[str]:
        return {line[1] for line in told if line[0] == word}

    async with own_engine(**folders) as engine:
        containers = engine.containers
        with trio.fail_after(20):
            while (await containers.list()).containers:  # noqa: ASYNC110 - polled
                await trio.sleep(0.01)
        with trio.fail_after(20):
            # What has ended by now takes its volumes with it in the background.
            while True:
                try:
                    await look(engine)
                    break
                except (AssertionError, FileNotFoundError):
                    await trio.sleep(0.05)
                    if trio.current_effective_deadline() - trio.current_time() < 10:
                        await look(engine)
        volumes = {volume.name: volume for volume in await engine.volumes.list()}
        # What was answered is true.
        assert names("made") - names("removed") - volumes.keys() <= {f"own{len(names('removed')) * 2 + 1}"}
        assert not names("removed") & volumes.keys()
        assert not names("pruned") & volumes.keys()
        for name, volume in volumes.items():
            if name.startswith("own"):
                assert volume.labels == {"turn": name.removeprefix("own")}
        # A container's are whole, and what it has written is in them.
        for container_id in names("created") - names("rm") - names("rm-v"):
            try:
                info = await containers.inspect(container_id)
            except ardock.NotFound:
                continue
            named, anonymous = info.spec.mounts
            etc = Path(volumes[named.source].mountpoint)
            assert sorted(path.name for path in etc.iterdir()) == ["group", "passwd"]
            if container_id in names("ended"):
                copy = Path(volumes[anonymous.source].mountpoint) / "copy"
                assert copy.read_text() == (etc / "passwd").read_text()
        # An anonymous volume is a container's, or stayed behind on purpose.
        stayed = [volume for volume in volumes.values() if ANONYMOUS_LABEL in volume.labels and not volume.users]
        assert len(stayed) <= len(names("rm")) + 1
        # And all of it can be acted on.
        for one in (await containers.list(all=True)).containers:
            await containers.remove(one.id, force=True, volumes=True)
        await engine.volumes.prune(all=True)
        assert await engine.volumes.list() == []
        assert list((engine.root / "volumes").iterdir()) == []
        await leftovers.no_containers(engine.id, engine.root)


async def test_a_lost_database_loses_no_volume(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        made = await engine.volumes.create("data", labels={"a": "b"})
        nameless = await engine.volumes.create()
        (Path(made.mountpoint) / "file").write_text("precious")
    shutil.rmtree(folders["root"] / "state")
    (folders["root"] / "volumes" / "plain" / "_data").mkdir(parents=True)
    (folders["root"] / "volumes" / ".tmp-0011").mkdir()
    (folders["root"] / "volumes" / "no volume").mkdir()
    async with own_engine(**folders) as engine:
        assert await engine.volumes.inspect("data") == made
        assert await engine.volumes.inspect(nameless.name) == nameless
        assert (await engine.volumes.inspect("plain")).labels == {}
        assert len(await engine.volumes.list()) == 3
        assert (Path(made.mountpoint) / "file").read_text() == "precious"
        assert (folders["root"] / "volumes" / "no volume").is_dir()
        assert not (folders["root"] / "volumes" / ".tmp-0011").exists()
    async with own_engine(**folders) as engine:
        assert len(await engine.volumes.list()) == 3


async def test_a_directory_that_was_taken_away_is_made_anew(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        await engine.volumes.create("data")
    shutil.rmtree(folders["root"] / "volumes")
    async with own_engine(**folders) as engine:
        done = await engine.containers.run(
            ["sh", "-c", "echo x > /d/x"], rootfs=rootfs, mounts=[Mount(type="volume", source="data", target="/d")]
        )
        assert done.exit_code == 0
        await engine.volumes.remove("data")


async def test_a_file_in_the_place_of_the_folder_is_one_clear_error(folders: Folders) -> None:
    folders["root"].mkdir()
    (folders["root"] / "volumes").write_text("")
    with pytest.raises(ardock.FolderUnusable, match=r"volumes: .*volumes'"):
        async with own_engine(**folders):
            pass


async def test_a_damaged_row_names_the_volume(folders: Folders) -> None:
    import sqlite3

    async with own_engine(**folders) as engine:
        await engine.volumes.create("data")
    with sqlite3.connect(folders["root"] / "state" / "ardock.db") as connection:
        connection.execute("UPDATE volumes SET record = x'c1'")
    connection.close()
    with pytest.raises(ardock.FolderUnusable, match="the record of volume data in the state is damaged"):
        async with own_engine(**folders):
            pass


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_disk_that_takes_nothing_is_told_and_leaves_nothing(folders: Folders, rootfs: str, kind: str) -> None:
    """In a mount namespace of its own."""
    folders["root"].mkdir()
    done = subprocess.run(
        [
            *("unshare", "-m", sys.executable, "-m", "tests.engine.volumes_on_bad_disk"),
            *(str(folders["root"]), str(folders["run_dir"]), rootfs, kind),
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
