"""The journal is kept by bytes and age; its last entry always is."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from ardock.engine.state import Changes, Retention, State
from tests.unit.states import Clock, beside, event, opened


def _kept(root: Path) -> tuple[int, int, int]:
    """First number, last number and bytes of what is in the file."""
    with beside(root) as connection:
        first, last, size = connection.execute(
            "SELECT min(row), max(row + count - 1), sum(length(data)) FROM journal"
        ).fetchone()
    return first, last, size


async def _add(state: State, count: int) -> None:
    for _ in range(count):
        await state.commit_and_wait(Changes(events=(event(1),)))


async def test_the_journal_is_kept_by_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path, retention=Retention(journal_bytes=20_000)) as (state, _):
        await _add(state, 300)
        await state.commit_and_wait(Changes())  # what is too much goes before it
        first, last, size = _kept(tmp_path)
        assert last == 300
        assert 1 < first < 300
        assert 20_000 <= size <= 20_000 * 17 / 16 + 200
        assert state.journal_bytes == size
    async with opened(tmp_path, retention=Retention(journal_bytes=20_000)) as (state, _):
        assert state.journal_bytes == _kept(tmp_path)[2]
        await _add(state, 1)
        assert state.committed == 301


async def test_a_smaller_limit_holds_from_the_next_opening_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await _add(state, 200)
    async with opened(tmp_path, retention=Retention(journal_bytes=1)) as (state, _):
        pass
    assert _kept(tmp_path)[:2] == (200, 200)


async def test_the_journal_is_kept_by_age_and_its_end_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        await _add(state, 10)
        clock.pass_(6 * 86_400)
        await _add(state, 10)
    clock.pass_(2 * 86_400)
    async with opened(tmp_path, clock):
        pass
    assert _kept(tmp_path)[:2] == (11, 20)
    clock.pass_(365 * 86_400)
    async with opened(tmp_path, clock, boot_id="another") as (state, _):
        assert state.assigned == 20
    assert _kept(tmp_path)[:2] == (20, 20)


@pytest.mark.parametrize("seconds", [-10 * 365 * 86_400, 10 * 365 * 86_400])
async def test_a_step_of_the_wall_clock_removes_nothing(tmp_path: Path, seconds: int) -> None:
    """A clock that is wrong for a minute after boot would have cost the whole journal."""
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        await _add(state, 10)
    clock.step(seconds)
    async with opened(tmp_path, clock):
        pass
    assert _kept(tmp_path)[:2] == (1, 10)


async def test_much_is_removed_in_passes_between_commits(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        await _add(state, 2500)
    async with opened(tmp_path, retention=Retention(journal_bytes=1000)) as (state, _):
        await _add(state, 1)
        assert state.committed == 2501
        with trio.fail_after(30):
            while _kept(tmp_path)[0] < 2480:
                await state.commit_and_wait(Changes())
