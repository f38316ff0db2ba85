"""What happens to the state on a full disk: run by `test_state_disk` in a mount namespace of its own, one scenario a process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from ardock.engine.state import Changes, State
from ardock.engine.state.reserve import RESERVE_BYTES
from ardock.model.errors import ArdockError, DiskFull, EngineClosed
from tests.unit.states import departed, event, opened


def fill(root: Path, name: str = "filler") -> Path:
    """Use up all room."""
    path = root / name
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(fd)
    return path


def row(number: int, size: int = 8000) -> tuple[tuple[str, bytes], ...]:
    return ((f"c{number}", os.urandom(size)),)


async def until_full(state: State) -> int:
    """Create until it is refused; how many were created."""
    for number in range(10_000):
        try:
            await state.commit_and_wait(
                Changes(events=(event(number, "create"),), put=row(number), may_fail=True, fsync=True)
            )
        except DiskFull:
            return number
    raise AssertionError("the disk is never full")


async def creates_are_refused_and_ends_go_on(root: Path) -> None:
    async with opened(root) as (state, _):
        assert (root / "state/reserve").stat().st_size == RESERVE_BYTES
        fill(root)
        created = await until_full(state)
        assert state.disk_full
        assert state.assigned == state.committed == created
        # At once, by the callback, without a number; without one it is raised.
        errors: list[ArdockError | None] = []
        state.commit(Changes(events=(event(1),), may_fail=True), errors.append)
        assert [type(error) for error in errors] == [DiskFull]
        with pytest.raises(DiskFull, match="the file system is full; free space on it"):
            state.commit(Changes(events=(event(1),), may_fail=True))
        assert state.assigned == created
        # The reserve has given its room: what must be told is told.
        for number in range(300):
            await state.commit_and_wait(
                Changes(events=(event(number, "die"),), exits=(departed(number),), drop=(f"c{number}",), fsync=True)
            )
        assert not (root / "state/reserve").exists()
        epoch = state.epoch
    async with opened(root) as (state, loaded):
        assert state.epoch == epoch
        assert state.committed == created + 300
        assert state.disk_full
        assert len(loaded.containers) == max(0, created - 300)


async def it_goes_on_when_there_is_room(root: Path) -> None:
    async with opened(root) as (state, _):
        filler = fill(root)
        await until_full(state)
        filler.unlink()
        with trio.fail_after(30):
            while state.disk_full:  # noqa: ASYNC110 - nobody else waits for it
                await trio.sleep(0.01)
        assert (root / "state/reserve").stat().st_size == RESERVE_BYTES
        await state.commit_and_wait(Changes(events=(event(1, "create"),), put=row(1), may_fail=True))


async def what_must_not_fail_waits_for_room(root: Path) -> None:
    """Neither the disk nor the reserve has any: it is kept, in order, and written when there is room."""
    async with opened(root) as (state, _):
        filler = fill(root)
        (root / "state/reserve").unlink()
        fill(root, "filler-2")
        before = state.committed
        done: list[int] = []
        refused: list[ArdockError | None] = []
        # A create that was handed over before the disk was known to be full: its number is given, so it is told as refused.
        state.commit(Changes(events=(event(7, "create"),), put=row(7, 200_000), may_fail=True), refused.append)
        for number in range(100):
            state.commit(
                Changes(events=(event(number, "die"),), put=row(number, 20_000)),
                lambda _, n=number: done.append(n),  # type: ignore[misc]
            )
        assert state.assigned == before + 101
        assert not await state.until_committed(state.assigned, 1.0)
        assert [type(error) for error in refused] == [DiskFull]
        assert done != list(range(100))
        filler.unlink()
        with trio.fail_after(30):
            assert await state.until_committed(state.assigned)
        told = [one for entry in await state.read_journal(before, 1 << 30) for one in entry.events()]
        assert [one.seq for one in told] == list(range(before + 1, before + 102))
        assert [one.action for one in told] == ["refused", *["die"] * 100]
        assert told[0].attributes == {"type": "container", "action": "create", "reason": "disk_full"}
        assert told[0].id == event(7).id
        await trio.lowlevel.checkpoint()
        assert done == list(range(100))
    async with opened(root) as (_, loaded):
        assert {key for key, _ in loaded.containers} == {f"c{number}" for number in range(100)}


async def closing_does_not_wait_for_room(root: Path) -> None:
    async with opened(root) as (state, _):
        await state.commit_and_wait(Changes(events=(event(1),)))
        fill(root)
        (root / "state/reserve").unlink()
        fill(root, "filler-2")
        errors: list[ArdockError | None] = []
        state.commit(Changes(events=(event(2),), put=row(1, 1 << 20)), errors.append)
    assert [type(error) for error in errors] == [EngineClosed]
    async with opened(root) as (state, loaded):
        assert state.committed == 1
        assert loaded.containers == []
        assert state.disk_full


async def it_opens_on_a_full_disk_after_kill(root: Path) -> None:
    """With a new boot, too, whose epoch must be written."""
    program = (
        "import os, sys, trio\n"
        "from pathlib import Path\n"
        "from tests.unit.states import opened\n"
        "from tests.unit.state_on_full_disk import fill, until_full\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as (state, _):\n"
        "        fill(Path(sys.argv[1]))\n"
        "        print(await until_full(state), flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "trio.run(main)\n"
    )
    created = await trio.run_process(
        [sys.executable, "-c", program, str(root)], capture_stdout=True, check=False, env=dict(os.environ)
    )
    assert created.returncode == -9
    for boot_id in ("boot-1", "boot-2"):
        async with opened(root, boot_id=boot_id) as (state, loaded):
            assert len(loaded.containers) == int(created.stdout)
            assert loaded.new_boot == (boot_id == "boot-2")
            assert state.disk_full
            await state.commit_and_wait(Changes(events=(event(1, "die"),)))


async def it_opens_in_the_reserves_room(root: Path) -> None:
    async with opened(root) as (state, _):
        await state.commit_and_wait(Changes(put=row(1)))
    fill(root)
    async with opened(root, boot_id="boot-2") as (state, loaded):
        assert len(loaded.containers) == 1
        assert state.disk_full
        assert not (root / "state/reserve").exists()
        await state.commit_and_wait(Changes(drop=("c1",)))


async def a_new_one_says_that_there_is_no_room(root: Path) -> None:
    fill(root)
    with pytest.raises(DiskFull, match="the file system is full; free space on it"):
        async with opened(root):
            pass


SCENARIOS: dict[str, Callable[[Path], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        creates_are_refused_and_ends_go_on,
        it_goes_on_when_there_is_room,
        what_must_not_fail_waits_for_room,
        closing_does_not_wait_for_room,
        it_opens_on_a_full_disk_after_kill,
        it_opens_in_the_reserves_room,
        a_new_one_says_that_there_is_no_room,
    )
}


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Nobody outside this mount namespace sees it, and it goes with it.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
        try:
            trio.run(SCENARIOS[name], Path(folder))
        finally:
            subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
