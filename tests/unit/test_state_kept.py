"""Exits of departed containers and results of requests: found while they are kept, however the wall clock steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardock.engine.state import Changes, Departed, Retention
from ardock.engine.state.kept import Kept
from ardock.model.errors import Ambiguous
from ardock.model.records import ExitRecord
from tests.unit.states import Clock, beside, departed, opened


def _exit(key: str, name: str, code: int) -> Departed:
    return Departed(key, name, ExitRecord(id=key, exit_code=code))


async def test_an_exit_is_found_by_id_name_and_prefix(tmp_path: Path) -> None:
    exits = (_exit("aa11", "web", 1), _exit("aa22", "db", 2), _exit("bb33", "aa", 3), _exit("bb44", "web", 4))
    async with opened(tmp_path) as (state, _):
        state.commit(Changes(exits=exits))
    for _ in range(2):  # the second time from the file alone
        async with opened(tmp_path) as (state, _):
            assert state.find_exit("aa11") == exits[0]
            assert state.find_exit("web") == exits[3]  # the last one that had the name
            assert state.find_exit("db") == exits[1]
            assert state.find_exit("aa") == exits[2]  # a name goes before a prefix
            assert state.find_exit("aa2") == exits[1]
            assert state.find_exit("c") is None
            assert state.find_exit("") is None
            with pytest.raises(Ambiguous, match="bb: 2 removed containers"):
                state.find_exit("bb")


async def test_exits_and_requests_are_found_before_they_are_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as (state, _):
        state.commit(Changes(exits=(departed(1),), request=("r", b"result")))
        assert state.find_exit("name-1") == departed(1)
        assert state.find_request("r") == b"result"


async def test_they_are_kept_for_their_time_and_number(tmp_path: Path) -> None:
    clock = Clock()
    retention = Retention(exits=3, exit_age=100, requests=2, request_age=10, request_bytes=100)

    async with opened(tmp_path, clock, retention=retention) as (state, _):
        for number in range(1, 6):
            state.commit(Changes(exits=(departed(number),), request=(f"r{number}", b"x" * 10)))
        assert [state.find_exit(f"name-{number}") is not None for number in range(1, 6)] == [False] * 2 + [True] * 3
        assert [state.find_request(f"r{number}") is not None for number in range(1, 6)] == [False] * 3 + [True] * 2
        state.commit(Changes(request=("large", b"x" * 95)))
        assert state.find_request("r5") is None  # both together are too long
        assert state.find_request("large") is not None
        await state.commit_and_wait(Changes())
        clock.pass_(11)
        assert state.find_request("large") is None
        assert state.find_exit("name-5") is not None
    clock.pass_(80)
    async with opened(tmp_path, clock, retention=retention) as (state, _):
        assert state.find_exit("name-5") is not None
        assert state.find_exit("name-2") is None
        clock.pass_(10)
        assert state.find_exit("name-5") is None


async def test_what_is_past_its_time_leaves_the_file(tmp_path: Path) -> None:
    clock = Clock()
    retention = Retention(exits=5, exit_age=100, requests=5, request_age=10)
    async with opened(tmp_path, clock, retention=retention) as (state, _):
        for number in range(20):
            await state.commit_and_wait(Changes(exits=(departed(number),), request=(f"r{number}", b"")))
    async with opened(tmp_path, clock, retention=retention):
        pass  # removes what is too much, when it is opened too
    with beside(tmp_path) as connection:
        assert connection.execute("SELECT sum(count) FROM exits").fetchone() == (5,)
        assert connection.execute("SELECT sum(count) FROM requests").fetchone() == (5,)
    clock.pass_(50)
    async with opened(tmp_path, clock, retention=retention):
        pass
    with beside(tmp_path) as connection:
        assert connection.execute("SELECT sum(count) FROM exits").fetchone() == (5,)
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    # Numbering goes on where all rows are gone.
    async with opened(tmp_path, clock, retention=retention) as (state, _):
        await state.commit_and_wait(Changes(request=("new", b"1")))
    async with opened(tmp_path, clock, retention=retention) as (state, _):
        assert state.find_request("new") == b"1"


@pytest.mark.parametrize("seconds", [-10 * 365 * 86_400, 10 * 365 * 86_400])
async def test_a_step_of_the_wall_clock_changes_no_age(tmp_path: Path, seconds: int) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        await state.commit_and_wait(Changes(exits=(departed(1),), request=("r", b"result")))
        clock.step(seconds)
        assert state.find_exit("name-1") is not None
        assert state.find_request("r") is not None
    async with opened(tmp_path, clock) as (state, _):
        assert state.find_exit("name-1") is not None
        assert state.find_request("r") is not None


async def test_after_a_new_boot_the_wall_clock_counts(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as (state, _):
        await state.commit_and_wait(Changes(exits=(departed(1),), request=("r", b"result")))
    clock.pass_(3600)
    clock.boot = 20_000_000_000  # less than before
    async with opened(tmp_path, clock, boot_id="boot-2") as (state, _):
        assert state.find_exit("name-1") is not None
        assert state.find_request("r") is None


async def test_a_container_that_departs_again_is_found_as_it_was_last(tmp_path: Path) -> None:
    """Its keeper's record was not acknowledged before the engine died: the same exit is told twice."""
    async with opened(tmp_path) as (state, _):
        state.commit(Changes(exits=(departed(1, 3),)))
        state.commit(Changes(exits=(departed(1, 3, name="other"),)))
        assert state.find_exit("other") == departed(1, 3, name="other")
    async with opened(tmp_path) as (state, _):
        assert state.find_exit("other") == departed(1, 3, name="other")


def test_values_are_bounded_in_every_way() -> None:
    kept: Kept[str] = Kept(3, 10.0, 100)
    assert kept.put("a", "1", 0, 40) == []
    assert kept.put("b", "2", 0, 40) == []
    assert kept.put("b", "3", 0, 60) == []  # replaced: its old size does not count
    assert kept.find("b") == "3"
    assert kept.put("c", "4", 0, 1) == ["1"]
    assert kept.put("d", "5", 10**9, 0) == []
    assert kept.put("e", "6", 10**9, 0) == ["3"]
    assert kept.expire(10 * 10**9) == []
    assert kept.expire(10 * 10**9 + 1) == ["4"]
    assert kept.beginning("") == ["d", "e"]
    assert kept.take("d") == "5"
    assert kept.take("d") is None
    assert len(kept) == 1
