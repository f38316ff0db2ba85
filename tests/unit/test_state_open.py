"""Opening: what is ours and whole opens, with what was in it; anything else is refused with a reason and a remedy."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, given, settings

from ardock.engine.state import Changes
from ardock.model.errors import ArdockError, FolderUnusable
from ardock.model.events import Cursor
from tests.unit.states import Clock, database, departed, event, opened, write_ahead_log


async def _fill(root: Path, count: int = 50) -> None:
    async with opened(root) as (state, _):
        for number in range(count):
            await state.commit_and_wait(
                Changes(
                    events=(event(number),),
                    put=((f"{number:064x}", b"r" * 900),),
                    exits=(departed(number),),
                    request=(f"r-{number}", b"x" * 50),
                )
            )


async def test_a_missing_folder_is_made_for_root_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, loaded):
        assert loaded.fresh
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_the_epoch_lasts_as_long_as_the_boot(tmp_path: Path) -> None:
    epochs = []
    for boot_id, new_boot in (("a", False), ("a", False), ("b", True), ("b", False), ("a", True)):
        async with opened(tmp_path, boot_id=boot_id) as (state, loaded):
            assert loaded.new_boot == new_boot
            state.commit(Changes(events=(event(1),)))
            epochs.append((state.epoch, state.assigned))
    names = [name for name, _ in epochs]
    assert names[0] == names[1] != names[2] == names[3] != names[4] != names[0]
    assert [number for _, number in epochs] == [1, 2, 3, 4, 5]
    assert all(Cursor.parse(f"{name}:1") for name in names)


async def test_a_lost_database_begins_a_new_epoch(tmp_path: Path) -> None:
    await _fill(tmp_path, 3)
    async with opened(tmp_path) as (state, _):
        before = state.epoch
    shutil.rmtree(tmp_path / "state")
    async with opened(tmp_path) as (state, loaded):
        assert loaded.fresh
        assert not loaded.new_boot
        assert state.epoch != before
        assert state.assigned == 0


async def test_ten_thousand_containers_are_there(tmp_path: Path) -> None:
    """`bench/` tells how long it takes."""
    rows = tuple((f"{number:064x}", b"r" * 2000) for number in range(10_000))
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(Changes(put=rows))
    async with opened(tmp_path) as (_, loaded):
        assert sorted(loaded.containers) == list(rows)


async def test_a_database_of_the_first_version_opens_with_what_is_in_it(tmp_path: Path) -> None:
    await _fill(tmp_path, 3)
    with sqlite3.connect(database(tmp_path)) as connection:
        connection.executescript("DROP TABLE volumes; PRAGMA user_version = 1;")
    connection.close()
    async with opened(tmp_path) as (state, loaded):
        assert (len(loaded.containers), loaded.volumes, loaded.fresh) == (3, [], False)
        await state.commit_and_wait(Changes(put_volumes=(("v", b"volume"),)))
    async with opened(tmp_path) as (_, loaded):
        assert loaded.volumes == [("v", b"volume")]


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut_short(path: Path) -> None:
    """The making was cut short: a header, no tables."""
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


@pytest.mark.parametrize("spoil", [_empty, _cut_short])
async def test_an_unfinished_database_is_made_anew(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    await _fill(tmp_path, 1)
    spoil(database(tmp_path))
    async with opened(tmp_path) as (_, loaded):
        assert loaded.fresh


async def test_a_stale_write_ahead_log_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    write_ahead_log(tmp_path).write_bytes(b"of another database" * 1000)
    async with opened(tmp_path) as (_, loaded):
        assert loaded.fresh


async def test_garbage_behind_the_write_ahead_log_is_not_read(tmp_path: Path) -> None:
    """What a crash in the middle of a commit leaves: the commits before it count."""
    async with opened(tmp_path) as (state, _):
        await state.commit_and_wait(Changes(put=(("a", b"1"),), fsync=True))
        log = write_ahead_log(tmp_path).read_bytes()
        for suffix in ("", "-wal"):
            shutil.copy(f"{database(tmp_path)}{suffix}", f"{tmp_path}/copy{suffix}")
    whole = log
    for torn in (whole + b"\x55" * 5000, whole[:-1] + b"\x00"):
        root = tmp_path / f"torn-{len(torn)}"
        (root / "state").mkdir(parents=True)
        shutil.copy(tmp_path / "copy", database(root))
        write_ahead_log(root).write_bytes(torn)
        async with opened(root) as (state, loaded):
            if len(torn) > len(whole):
                assert loaded.containers == [("a", b"1")]
            await state.commit_and_wait(Changes(put=(("b", b"2"),)))


def _text(path: Path) -> None:
    path.write_bytes(b"dear diary\n" * 100)


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE containers (a)")
    connection.close()


def _named(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 252006675")
    connection.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()


def _without_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE exits")
    connection.close()


def _other_rows(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE exits SET data = x'c1'")
    connection.close()


def _half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


REFUSED = {
    "text": (_text, "is no SQLite database"),
    "another program's": (_foreign, "another program's database"),
    "another program's, empty": (_named, "application id 0xf055113"),
    "newer": (_newer, "written by a newer ardock (schema 1000; this one knows 2)"),
    "a table is gone": (_without_table, "is damaged (no such table: exits)"),
    "rows that are none": (_other_rows, "is damaged ("),
    "half of it": (_half, "is damaged ("),
    "zeroed": (_zeroed, "is damaged ("),
    "a folder": (_folder, "unable to open"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_ours_or_not_whole_is_refused(tmp_path: Path, case: str) -> None:
    spoil, reason = REFUSED[case]
    await _fill(tmp_path)
    spoil(database(tmp_path))
    content = database(tmp_path).read_bytes() if database(tmp_path).is_file() else b""
    with pytest.raises(FolderUnusable) as caught:
        async with opened(tmp_path):
            pass
    assert str(database(tmp_path)) in caught.value.message
    assert reason in caught.value.message
    if case not in ("newer", "a folder"):
        assert "move that folder away" in caught.value.message
    # It is as it was: whoever can mend it still can.
    assert not content or database(tmp_path).read_bytes() == content


async def test_another_engines_database_is_refused(tmp_path: Path) -> None:
    await _fill(tmp_path, 1)
    with pytest.raises(FolderUnusable, match="belongs to the engine 0badcafe, and this root folder's id is 11111111"):
        async with opened(tmp_path, engine_id="11111111"):
            pass


async def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(FolderUnusable, match="state: File exists"):
        async with opened(tmp_path):
            pass


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filled")
    trio.run(_fill, root)
    return root


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), damage=st.binary(min_size=1, max_size=300), cut=st.booleans())
def test_damage_anywhere_is_refused_or_does_no_harm(
    filled: Path, tmp_path: Path, place: float, damage: bytes, cut: bool
) -> None:
    """It opens, or says that it does not: no other error, no crash, no hang."""
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    (tmp_path / "state").mkdir()
    path = database(tmp_path)
    shutil.copy(database(filled), path)
    with path.open("r+b") as file:
        offset = round(place * (path.stat().st_size - 1))
        file.seek(offset)
        file.write(damage)
        if cut:
            file.truncate(offset + len(damage))

    async def use() -> ArdockError | None:
        try:
            async with opened(tmp_path, Clock()) as (state, _):
                await state.commit_and_wait(Changes(put=(("new", b"row"),), may_fail=True))
                await state.read_journal(0, 1 << 20)
        except ArdockError as error:
            return error
        return None

    error = trio.run(use)
    assert error is None or (isinstance(error, FolderUnusable) and str(path) in error.message)
