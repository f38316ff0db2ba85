"""``kill -9`` in the middle of commits: what was confirmed is there, and what is there is there whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ardock.engine import failpoints
from tests.unit.states import beside, opened

TOP = Path(__file__).parents[2]


def _start(root: Path, limit: int, failpoint: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    environment.pop(failpoints.VARIABLE, None)
    if failpoint:
        environment[failpoints.VARIABLE] = failpoint
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.state_killed", str(root), str(limit)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=TOP,
        env=environment,
    )


def _confirmed(text: str) -> list[int]:
    """The last line may be torn."""
    return [int(line) for line in text.split("\n")[:-1]]


async def _check(root: Path, confirmed: list[int], before: int) -> int:
    """Every commit is there whole or not at all, those that were confirmed are; the number of commits."""
    with beside(root) as connection:
        rows = connection.execute("SELECT row, count FROM journal ORDER BY row").fetchall()
    last = 0
    for row, count in rows:
        assert row == last + 1
        last += count
    async with opened(root) as (state, loaded):
        assert state.committed == last
        assert last % 2 == 0  # each commit had two events
        commits = last // 2
        assert confirmed == list(range(before, before + len(confirmed)))
        assert before + len(confirmed) <= commits
        assert {key for key, _ in loaded.containers} == {
            f"c{number}" for number in range(max(0, commits - 10), commits)
        }
        for number in range(commits):
            assert state.find_request(f"r{number}") == b"%d" % number
            assert state.find_exit(f"name-{number}") is not None
        assert state.find_request(f"r{commits}") is None
        return commits


@pytest.mark.parametrize("point", ["commit.before:1", "commit.before:3", "commit.after:1", "commit.after:5"])
async def test_killed_at_a_failpoint(tmp_path: Path, point: str) -> None:
    process = _start(tmp_path, 200, point)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    commits = await _check(tmp_path, _confirmed(output), 0)
    if point == "commit.before:1":
        assert commits == 0
    else:
        assert commits > 0


async def test_killed_at_any_moment_and_started_again(tmp_path: Path) -> None:
    commits = 0
    for rounds in range(6):
        process = _start(tmp_path, 100_000)
        assert process.stdout is not None
        # So many were confirmed, and it is in the middle of the next.
        output = "".join(process.stdout.readline() for _ in range(30 + 41 * rounds))
        process.kill()
        output += process.stdout.read()
        process.wait()
        process.stdout.close()
        found = await _check(tmp_path, _confirmed(output), commits)
        assert found >= commits + 30
        commits = found


async def test_the_program_alone_loses_nothing(tmp_path: Path) -> None:
    """Else the tests above would prove little."""
    process = _start(tmp_path, 50)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert await _check(tmp_path, _confirmed(output), 0) == 50
    assert len(_confirmed(output)) == 50


@pytest.mark.parametrize(
    ("text", "meaning"), [("a", ("a", 1)), ("commit.before:3", ("commit.before", 3)), ("a:1", ("a", 1))]
)
def test_a_failpoint_is_a_name_and_a_passage(text: str, meaning: tuple[str, int]) -> None:
    assert failpoints.parse(text) == meaning


@pytest.mark.parametrize("text", ["", ":1", "a:", "a:0", "a:-1", "a:x", "a:1:2"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME:N with N from 1"):
        failpoints.parse(text)
