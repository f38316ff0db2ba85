# ruff: noqa: ASYNC240, ASYNC251 - a test may wait for small local files and programs
"""One engine owns a root folder; what an earlier one left behind goes on, and the next takes it over."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

import ardock
from ardock import LogRecord
from ardock.engine import Engine, own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.histories import check_history, history

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


async def labelled(engine: Engine) -> dict[str, list[str]]:
    """Ids of all containers by the label ``number``."""
    found: dict[str, list[str]] = {}
    for container in (await engine.containers.list(all=True)).containers:
        found.setdefault(container.labels["number"], []).append(container.id)
    return found


async def remove_all(engine: Engine) -> None:
    for container in (await engine.containers.list(all=True)).containers:
        await engine.containers.remove(container.id, force=True)


async def test_what_a_killed_engine_left_goes_on(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 10)
    embedding.kill()
    assert len(leftovers.processes(embedding.engine_id)) >= 11, "they live on without an engine"
    async with own_engine(**folders) as engine:
        assert engine.id == embedding.engine_id
        assert {(one.outcome, one.exit) for one in engine.adopted} == {("running", None)}
        assert len(leftovers.processes(engine.id)) >= 11
        found = await labelled(engine)
        assert set(found) == {*map(str, range(10)), "log"}
        (logged,) = found["log"]
        assert logged == embedding.logged
        # It can be acted on like any other.
        assert (await engine.containers.exec_run(logged, ["echo", "joined"])).stdout == b"joined\n"
        async with engine.containers.logs(logged) as items:
            assert [item.data async for item in items if isinstance(item, LogRecord)] == [b"logged\n"]
        info = await engine.containers.inspect(logged)
        assert (info.status, info.spec.argv[0]) == ("running", "sh")
        await engine.containers.kill(logged)
        assert (await engine.containers.wait(logged)).exit_code == 137
        await remove_all(engine)
        # It works as if nothing had been.
        assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0
        await leftovers.no_containers(engine.id, engine.root)
    async with own_engine(**folders) as engine:
        assert engine.adopted == []
        assert leftovers.processes(engine.id) == []


@pytest.mark.timeout(120)
async def test_nothing_is_lost_of_200_running_and_50_being_launched(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 200, storm=50)
    await trio.sleep(0.5)
    embedding.kill()
    async with own_engine(**folders) as engine:
        found = await labelled(engine)
        found.pop("storm", None)
        assert set(found) == {*map(str, range(200)), "log"}
        assert {len(ids) for ids in found.values()} == {1}
        with trio.fail_after(20):
            while "storm" in await labelled(engine):  # noqa: ASYNC110 - they end by themselves
                await trio.sleep(0.05)
        events = await history(engine)
        check_history(events)
        ended = {event.id for event in events if event.action == "die"}
        assert {event.id for event in events if event.action == "destroy"} == ended
        for container_id in list(ended)[:50]:
            assert (await engine.containers.wait(container_id)).exit_code == 0
        await remove_all(engine)
        await leftovers.no_containers(engine.id, engine.root)


async def test_those_that_have_ended_meanwhile_are_told_with_their_own_exit(folders: Folders, rootfs: str) -> None:
    embedding = Embedding(folders, rootfs, 2)
    embedding.kill()
    before = time.time_ns()
    for pid in leftovers.processes(embedding.engine_id):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"):
            os.kill(pid, signal.SIGKILL)
    await trio.sleep(0.5)
    after = time.time_ns()
    async with own_engine(**folders) as engine:
        assert {(one.outcome, one.exit.exit_code) for one in engine.adopted if one.exit} == {("exited", 137)}
        assert len(engine.adopted) == 3
        for one in engine.adopted:
            assert (await engine.containers.wait(one.id)).exit_code == 137
        events = await history(engine)
        check_history(events)
        assert [before < event.time < after for event in events if event.action == "die"] == [True] * 3


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
    async with own_engine(**folders) as engine:
        assert len(engine.adopted) == 201
        assert {(one.outcome, one.exit.exit_code, one.exit.reason) for one in engine.adopted if one.exit} == {
            ("lost", 255, "lost")
        }
        check_history(await history(engine))
        for record in engine.adopted[:5]:
            assert (await engine.containers.wait(record.id)).reason == "lost"
        await leftovers.no_containers(engine.id, engine.root)
        assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("deaf", ["a child in the host's pid namespace", "a set-user-id program"])
def test_what_the_keepers_death_does_not_reach_is_killed_without_an_engine(
    folders: Folders, rootfs: str, tmp_path: Path, deaf: str, number: signal.Signals
) -> None:
    """The parent's death signal is PID 1's alone, and forgotten by some execve: of set-user-id programs, by AppArmor.

    SIGTERM goes to every process of the keeper's, as at the machine's end.
    """
    command = [sys.executable, "-m", "ardock.cli"]
    command += ["--root", str(folders["root"]), "--run-dir", str(folders["run_dir"])]

    def ardock_says(*words: str) -> str:
        done = subprocess.run(
            [*command, *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    if deaf == "a set-user-id program":
        root = tmp_path / "rootfs"
        shutil.copytree(rootfs, root, symlinks=True)
        program = root / "sleep"
        shutil.copy2(root / "bin/busybox", program)
        os.chown(program, 1000, 1000)
        program.chmod(0o4755)
        words, count = ["--rootfs", str(root), "/sleep", "1000"], 1
    else:
        words, count = ["--pid", "host", "--rootfs", rootfs, "sh", "-c", "sleep 1000 & sleep 1000"], 2
    container = ardock_says("run", "-d", *words)
    engine_id = (folders["root"] / "engine-id").read_text().strip()
    until_processes(engine_id, count)
    if number == signal.SIGKILL:
        os.kill(keeper_of(folders, engine_id), number)
    else:
        for pid in leftovers.keepers(engine_id):
            os.kill(pid, number)
    until_processes(engine_id, 0)
    assert ardock_says("wait", container) == "255"
    ardock_says("rm", container)


def until_processes(engine_id: str, count: int) -> None:
    """Wait until so many run in containers."""
    deadline = time.monotonic() + 20
    while len(leftovers.processes(engine_id)) != count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(leftovers.processes(engine_id)) == count


async def test_a_program_that_refuses_to_die_with_the_keeper_is_killed_by_the_next_engine(
    folders: Folders, rootfs: str
) -> None:
    """A container whose PID 1 is not the keeper's to end by its death alone: with the host's pid namespace, children stay."""
    async with own_engine(**folders) as engine:
        container = await engine.containers.spawn(["sh", "-c", "sleep 1000 & sleep 1000"], rootfs=rootfs, pid="host")
        await trio.sleep(0.2)
        os.kill(keeper_of(folders, engine.id), signal.SIGKILL)
        with pytest.raises(ardock.KeeperLost):
            await container.wait()
        assert container.exit is not None
        assert (container.exit.exit_code, container.exit.reason) == (255, "lost")
        await container.aclose()
    async with own_engine(**folders) as engine:
        assert leftovers.processes(engine.id) == []


async def test_a_keeper_that_dies_under_a_living_engine_fails_its_calls_and_another_takes_over(
    engine: Engine, folders: Folders, rootfs: str
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


async def test_a_second_engine_on_the_same_folder_is_refused(engine: Engine, folders: Folders) -> None:
    with pytest.raises(ardock.EngineLocked) as caught:
        async with own_engine(**folders):
            pass
    assert caught.value.owner == os.getpid()
    assert str(folders["root"]) in caught.value.message


async def test_engines_with_different_folders_live_side_by_side(
    engine: Engine, rootfs: str, tmp_path: Path, engine_ids: set[str]
) -> None:
    async with await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs) as container:
        # They may share a run folder: each has a part of its own.
        for _ in range(2):
            async with own_engine(tmp_path / "other", engine.run_dir.parent) as other:
                engine_ids.add(other.id)
                assert other.id != engine.id
                assert other.adopted == []
                assert (await other.containers.run(["true"], rootfs=rootfs)).exit_code == 0
        assert container.exit is None


async def test_stale_folders_and_groups_of_this_engine_are_tidied_and_no_others(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        identity = engine.id
    (folders["root"] / "scratch" / "k77" / "x").mkdir(parents=True)
    stranger = Path("/sys/fs/cgroup/pids/ardock-test-stranger/k77")
    own = Path(f"/sys/fs/cgroup/pids/ardock-{identity}/k77/abc")
    if not stranger.parents[1].is_dir():
        pytest.skip("no cgroup v1 pids hierarchy")
    stranger.mkdir(parents=True)
    own.mkdir(parents=True)
    try:
        async with own_engine(**folders):
            assert not (folders["root"] / "scratch" / "k77").exists()
            assert not own.parent.exists()
            assert stranger.exists()
    finally:
        stranger.rmdir()
        stranger.parent.rmdir()
        if own.parents[1].exists():
            own.parents[1].rmdir()


async def test_an_engine_that_closes_leaves_kept_containers_running(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        await engine.containers.create(["sleep", "1000"], rootfs=rootfs, name="kept")
        await engine.containers.start("kept")
        pid = (await engine.containers.inspect("kept")).pid
        thrown = await engine.containers.spawn(["sleep", "1000"], rootfs=rootfs)
    assert not Path(f"/proc/{thrown.pid}").exists(), "what its program holds ends with it"
    for _ in range(2):
        async with own_engine(**folders) as engine:
            assert [(one.name, one.outcome) for one in engine.adopted] == [("kept", "running")]
            info = await engine.containers.inspect("kept")
            assert (info.status, info.pid, info.exit) == ("running", pid, None)
            assert (await engine.containers.exec_run("kept", ["echo", "there"])).stdout == b"there\n"
    async with own_engine(**folders) as engine:
        await engine.containers.remove("kept", force=True)
        check_history(await history(engine))
