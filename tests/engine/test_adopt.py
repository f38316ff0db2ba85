# ruff: noqa: ASYNC240, ASYNC251 - a test may wait for small local files and programs
"""One engine owns a root folder; what an earlier one left behind is ended and reported by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

import ardock
from tests.engine import leftovers
from tests.engine.folders import Folders

PROGRAM = Path(__file__).with_name("embedding.py")


class Embedding:
    """The program, running with its containers."""

    def __init__(self, folders: Folders, rootfs: str, count: int, storm: int = 0) -> None:
        arguments = [str(folders["root"]), str(folders["run_dir"]), rootfs, str(count), str(storm)]
        self.process = subprocess.Popen([sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        assert line, "the program has failed, see above"
        self.engine_id, self.logged = line

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def keeper_of(folders: Folders, engine_id: str) -> int:
    """The keeper's main process: its launchers are its children."""
    pids = leftovers.keepers(engine_id)
    (main,) = [
        pid for pid in pids if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) not in pids
    ]
    return main


async def test_what_a_killed_engine_left_is_ended_and_reported(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 10)
    embedding.kill()
    assert len(leftovers.processes(embedding.engine_id)) >= 11, "they live on without an engine"
    async with ardock.open_engine(**folders) as engine:
        assert engine.id == embedding.engine_id
        assert leftovers.processes(engine.id) == []
        adopted = {record.labels["number"]: record for record in engine.adopted}
        assert len(engine.adopted) == len(adopted) == 11
        for number in range(10):
            record = adopted[str(number)]
            assert (record.outcome, record.exit.exit_code, record.exit.signal) == ("killed", 137, 9)
            assert record.stdout == f"captured {number}\n".encode()
            assert record.argv[0] == "sh"
            assert 0 < record.exit.started_at < record.exit.finished_at
        assert adopted["log"].id == embedding.logged
        assert b"logged" in (engine.root / adopted["log"].log).read_bytes()
        # It works as if nothing had been.
        assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0
        await leftovers.no_containers(engine.id, engine.root)
    async with ardock.open_engine(**folders) as engine:
        assert engine.adopted == []


@pytest.mark.timeout(120)
async def test_nothing_leaks_of_200_running_and_50_being_launched(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 200, storm=50)
    await trio.sleep(0.3)
    embedding.kill()
    async with ardock.open_engine(**folders) as engine:
        running = [record for record in engine.adopted if record.labels["number"] != "storm"]
        assert {record.labels["number"] for record in running} == {*map(str, range(200)), "log"}
        assert {(record.outcome, record.exit.exit_code) for record in running} == {("killed", 137)}
        for record in running:
            number = record.labels["number"]
            assert record.stdout == (b"" if number == "log" else f"captured {number}\n".encode())
        for record in engine.adopted:
            assert record.exit.finished_at >= record.exit.started_at > 0
        assert leftovers.processes(engine.id) == []
        await leftovers.no_containers(engine.id, engine.root)


async def test_those_that_have_ended_meanwhile_are_reported_with_their_own_exit(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 2)
    embedding.kill()
    for pid in leftovers.processes(embedding.engine_id):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"):
            os.kill(pid, signal.SIGKILL)
    await trio.sleep(0.5)
    async with ardock.open_engine(**folders) as engine:
        assert {(record.outcome, record.exit.exit_code) for record in engine.adopted} == {("exited", 137)}


@pytest.mark.timeout(120)
async def test_a_killed_keeper_takes_its_containers_along_and_the_next_engine_reports_them_lost(
    folders: Folders, rootfs: str
) -> None:
    embedding = Embedding(folders, rootfs, 200)
    embedding.kill()
    pids = leftovers.processes(embedding.engine_id)
    assert len(pids) >= 201
    os.kill(keeper_of(folders, embedding.engine_id), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while leftovers.processes(embedding.engine_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers.processes(embedding.engine_id) == [], "none outlives the keeper, also while there is no engine"
    async with ardock.open_engine(**folders) as engine:
        assert len(engine.adopted) == 201
        assert {(record.outcome, record.exit.exit_code, record.exit.reason) for record in engine.adopted} == {
            ("lost", 255, "lost")
        }
        assert {record.labels["number"] for record in engine.adopted} == {*map(str, range(200)), "log"}
        await leftovers.no_containers(engine.id, engine.root)
        assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0


async def test_a_program_that_refuses_to_die_with_the_keeper_is_killed_by_the_next_engine(
    folders: Folders, rootfs: str
) -> None:
    """A container whose PID 1 is not the keeper's to end by its death alone: with the host's pid namespace, children stay."""
    async with ardock.open_engine(**folders) as engine:
        container = await engine.containers.start(["sh", "-c", "sleep 1000 & sleep 1000"], rootfs=rootfs, pid="host")
        await trio.sleep(0.2)
        os.kill(keeper_of(folders, engine.id), signal.SIGKILL)
        with pytest.raises(ardock.KeeperLost):
            await container.wait()
        assert container.exit is not None
        assert (container.exit.exit_code, container.exit.reason) == (255, "lost")
        await container.aclose()
    async with ardock.open_engine(**folders) as engine:
        assert leftovers.processes(engine.id) == []


async def test_a_keeper_that_dies_under_a_living_engine_fails_its_calls_and_another_takes_over(
    engine: ardock.Engine, folders: Folders, rootfs: str
) -> None:
    errors: list[ardock.ArdockError] = []

    async def run() -> None:
        try:
            await engine.containers.run(["sleep", "1000"], rootfs=rootfs)
        except ardock.ArdockError as error:
            errors.append(error)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(run)
            while len(leftovers.processes(engine.id)) < 20:  # noqa: ASYNC110 - the kernel tells nobody
                await trio.sleep(0.02)
            os.kill(keeper_of(folders, engine.id), signal.SIGKILL)
    assert [error.code for error in errors] == ["keeper_lost"] * 20
    assert (await engine.containers.run(["echo", "on"], rootfs=rootfs)).stdout == b"on\n"


async def test_a_second_engine_on_the_same_folder_is_refused(engine: ardock.Engine, folders: Folders) -> None:
    with pytest.raises(ardock.EngineLocked) as caught:
        async with ardock.open_engine(**folders):
            pass
    assert caught.value.owner == os.getpid()
    assert str(folders["root"]) in caught.value.message


async def test_engines_with_different_folders_live_side_by_side(
    engine: ardock.Engine, rootfs: str, tmp_path: Path, engine_ids: set[str]
) -> None:
    async with await engine.containers.start(["sleep", "1000"], rootfs=rootfs) as container:
        # They may share a run folder: each has a part of its own.
        for _ in range(2):
            async with ardock.open_engine(tmp_path / "other", engine.run_dir.parent) as other:
                engine_ids.add(other.id)
                assert other.id != engine.id
                assert other.adopted == []
                assert (await other.containers.run(["true"], rootfs=rootfs)).exit_code == 0
        assert container.exit is None


async def test_stale_folders_and_groups_of_this_engine_are_tidied_and_no_others(folders: Folders, rootfs: str) -> None:
    async with ardock.open_engine(**folders) as engine:
        identity = engine.id
    (folders["root"] / "scratch" / "k77" / "x").mkdir(parents=True)
    stranger = Path("/sys/fs/cgroup/pids/ardock-test-stranger/k77")
    own = Path(f"/sys/fs/cgroup/pids/ardock-{identity}/k77/abc")
    if not stranger.parents[1].is_dir():
        pytest.skip("no cgroup v1 pids hierarchy")
    stranger.mkdir(parents=True)
    own.mkdir(parents=True)
    try:
        async with ardock.open_engine(**folders):
            assert not (folders["root"] / "scratch" / "k77").exists()
            assert not own.parent.exists()
            assert stranger.exists()
    finally:
        stranger.rmdir()
        stranger.parent.rmdir()
        if own.parents[1].exists():
            own.parents[1].rmdir()
