"""Group commit: what is handed over is numbered at once, in the file together, and told only then."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from ardock.engine.state import Changes
from ardock.model.errors import ArdockError, EngineClosed
from tests.unit.states import beside, departed, event, events, no_commit, opened


async def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, loaded):
        assert loaded == ([], [], False, True, [])
        await state.commit_and_wait(
            Changes(
                events=(event(1), event(2)),
                put=(("a", b"row a"), ("b", b""), ("c", b"\x00\xff")),
                put_images=(("i", b"image"), ("j", b"other")),
                put_volumes=(("v", b"volume"), ("w", b"")),
                exits=(departed(9, 3),),
                request=("r-1", b"result"),
                fsync=True,
            )
        )
        await state.commit_and_wait(
            Changes(put=(("a", b"newer a"),), drop=("c",), drop_images=("j", "never there"), drop_volumes=("w",))
        )
        epoch = state.epoch
    async with opened(tmp_path) as (state, loaded):
        assert sorted(loaded.containers) == [("a", b"newer a"), ("b", b"")]
        assert loaded.images == [("i", b"image")]
        assert loaded.volumes == [("v", b"volume")]
        assert not loaded.fresh
        assert not loaded.new_boot
        assert (state.epoch, state.assigned, state.committed) == (epoch, 2, 2)
        assert state.find_exit("name-9") == departed(9, 3)
        assert state.find_request("r-1") == b"result"
        assert state.find_request("r-2") is None


async def test_the_order_within_one_commit_counts(tmp_path: Path) -> None:
    """Put and dropped and put again between two commits: as if each had been written by itself."""
    async with opened(tmp_path) as (state, _):
        for changes in (
            Changes(put=(("kept", b"1"), ("gone", b"1"))),
            Changes(drop=("kept", "gone")),
            Changes(put=(("kept", b"2"),)),
            Changes(put_images=(("x", b"1"),)),
            Changes(drop_images=("x",)),
        ):
            state.commit(changes)
    async with opened(tmp_path) as (_, loaded):
        assert loaded.containers == [("kept", b"2")]
        assert loaded.images == []


async def test_numbers_are_given_at_once_and_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        state.commit(events(1, 2, 3))
        assert (state.assigned, state.committed) == (3, 0)
        state.commit(Changes(put=(("a", b""),)))
        state.commit(events(4))
        assert state.assigned == 4
        assert await state.until_committed(4)
        assert state.committed == 4
    async with opened(tmp_path) as (state, _):
        state.commit(events(5))
        assert state.assigned == 5
    with beside(tmp_path) as connection:
        rows = connection.execute("SELECT row, count, entries FROM journal ORDER BY row").fetchall()
    last = 0
    for row, count, entries in rows:
        assert (row, entries) == (last + 1, last)
        last = row + count - 1
    assert last == 5


async def test_what_comes_while_one_is_written_shares_a_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        with no_commit(tmp_path):
            state.commit(events(0))
            await trio.sleep(0.02)  # it is being written now
            for number in range(1, 101):
                state.commit(Changes(events=(event(number),), put=((f"c{number}", b"row"),)))
        assert await state.until_committed(101)
    with beside(tmp_path) as connection:
        assert connection.execute("SELECT count FROM journal ORDER BY row").fetchall() == [(1,), (100,)]


async def test_then_comes_when_it_is_in_the_file_and_in_order(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    async with opened(tmp_path) as (state, _):

        def then(number: int, error: ArdockError | None) -> None:
            assert error is None
            with beside(tmp_path) as connection:
                written = connection.execute("SELECT max(row + count) - 1 FROM journal").fetchone()[0]
            seen.append((number, written))

        for number in range(1, 6):
            state.commit(events(number), partial(then, number))
        await state.until_committed(5)
        assert [number for number, _ in seen] == [1, 2, 3, 4, 5]
        assert all(written >= number for number, written in seen)


async def test_what_is_not_written_is_not_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        with no_commit(tmp_path):
            called: list[ArdockError | None] = []
            state.commit(events(1), called.append)
            assert not await state.until_committed(1, 0.05)
            assert state.committed == 0
            assert called == []
        assert await state.until_committed(1, None)
        await trio.testing.wait_all_tasks_blocked()
        assert called == [None]


async def test_a_wait_that_is_cancelled_leaves_the_commit_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        with no_commit(tmp_path):
            with trio.move_on_after(0.02) as scope:
                await state.commit_and_wait(Changes(put=(("a", b"row"),)))
            assert scope.cancelled_caught
    async with opened(tmp_path) as (_, loaded):
        assert loaded.containers == [("a", b"row")]


async def test_leaving_writes_what_was_handed_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        for number in range(2000):
            state.commit(events(number))
    with pytest.raises(EngineClosed):
        state.commit(events(1))
    with pytest.raises(EngineClosed):
        await state.commit_and_wait(events(1))
    async with opened(tmp_path) as (state, _):
        assert state.committed == 2000


async def test_leaving_by_an_error_or_by_being_cancelled_does_so_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="by the way"):  # noqa: PT012 - as it is, not in a group
        async with opened(tmp_path) as (state, _):
            state.commit(events(1))
            raise RuntimeError("by the way")
    with trio.CancelScope() as scope:
        async with opened(tmp_path) as (state, _):
            state.commit(events(2))
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with opened(tmp_path) as (state, _):
        assert state.committed == 2


async def test_an_error_of_a_callback_is_told_and_ends_it(tmp_path: Path) -> None:
    """A fault of ours: neither swallowed nor a reason to hang."""

    def then(_: ArdockError | None) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with opened(tmp_path) as (state, _):
            state.commit(events(1), then)
            assert not await state.until_committed(7)
            await trio.sleep_forever()


async def test_large_and_many_rows_go_in_whole(tmp_path: Path) -> None:
    rows = {f"{number:064x}": bytes([number % 256]) * (number * 37) for number in range(1000)}
    rows["large"] = b"x" * (5 << 20)
    async with opened(tmp_path) as (state, _):
        state.commit(Changes(put=tuple(rows.items())))
        for key, row in rows.items():
            state.commit(Changes(put=((key + "'", row),)))
    async with opened(tmp_path) as (_, loaded):
        assert dict(loaded.containers) == rows | {key + "'": row for key, row in rows.items()}


async def test_strange_ids_and_names_are_kept_as_they_are(tmp_path: Path) -> None:
    keys = ['"', "\\", "ä€\U0001f600", "a b", "'; DROP TABLE containers; --", "\n"]
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(Changes(put=tuple((key, key.encode()) for key in [*keys, "x"])))
        await state.commit_and_wait(Changes(drop=(keys[0], "x")))
    async with opened(tmp_path) as (_, loaded):
        assert dict(loaded.containers) == {key: key.encode() for key in keys[1:]}


async def test_a_busy_database_is_waited_for(tmp_path: Path) -> None:
    """A backup program holds it: nothing is lost or refused."""
    async with opened(tmp_path) as (state, _):
        with no_commit(tmp_path):
            seen: list[ArdockError | None] = []
            state.commit(Changes(events=(event(1),), may_fail=True), seen.append)
            await trio.sleep(0.05)
        assert await state.until_committed(1)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [None]
