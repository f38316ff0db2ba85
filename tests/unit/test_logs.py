"""The reader of the keeper's logs, against logs that are written by the same rules one system call at a time."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ardock.engine.logs import LogReader, LogWatcher, open_log
from ardock.engine.logs import files as log_files
from ardock.engine.logs import format as log_format
from ardock.engine.logs.walk import Walk
from ardock.model.errors import InvalidArgument
from ardock.model.logs import LogGap, LogItem, LogQuery, LogRecord
from tests.unit.log_writer import LogWriter

FOLLOW = LogQuery(follow=True)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    made = LogWriter(tmp_path)
    yield made
    made.close()


def read(folder: Path, query: LogQuery | None = None) -> list[LogItem]:
    """All that there is, by a walk without a loop."""
    walk = Walk(folder, "log", query or LogQuery())
    try:
        return read_on(walk)
    finally:
        walk.close()


def read_on(walk: Walk) -> list[LogItem]:
    items: list[LogItem] = []
    while (more := walk.step()) is not None:
        items += more
    return items


def data_of(items: list[LogItem]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, LogRecord))


def missed_of(items: list[LogItem]) -> int:
    return sum(item.missed for item in items if isinstance(item, LogGap))


def check_whole(items: list[LogItem], text: bytes, start: int = 0) -> None:
    """Records and gaps follow each other from `start` to the end of `text`, and each record has its bytes."""
    at = start
    for item in items:
        if isinstance(item, LogGap):
            at += item.missed
        else:
            assert item.data == text[at : at + len(item.data)]
            at += len(item.data)
        assert item.cursor == at
    assert at == len(text)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# What there is


def test_records_come_with_time_stream_and_cursor(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"out\n", 1, 10)
    writer.write(b"err", 2, 20)
    assert read(tmp_path) == [
        LogRecord(time=10, stream="stdout", data=b"out\n", cursor=4),
        LogRecord(time=20, stream="stderr", data=b"err", cursor=7),
    ]


def test_streams_are_chosen_and_the_cursor_counts_both(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"out", 1)
    writer.write(b"err", 2)
    (only,) = read(tmp_path, LogQuery(stdout=False))
    assert only == LogRecord(time=0, stream="stderr", data=b"err", cursor=6)


def test_all_files_are_read_from_the_eldest_on(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_files=100)
    for number in range(200):
        writer.write(b"line %d\n" % number, 1 + number % 2)
    assert writer.turns > 5
    check_whole(read(tmp_path), writer.text)


def test_what_rotation_has_removed_is_a_gap(tmp_path: Path, writer: LogWriter) -> None:
    for number in range(200):
        writer.write(b"line %d\n" % number)
    first, *rest = items = read(tmp_path)
    assert isinstance(first, LogGap)
    assert first.reason == "rotated"
    assert first.missed > 0
    assert all(isinstance(item, LogRecord) for item in rest)
    check_whole(items, writer.text)


def test_what_the_disk_did_not_take_is_a_gap(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"before")
    writer.lose(1000)
    writer.write(b"after")
    items = read(tmp_path)
    assert items[1] == LogGap(missed=1000, reason="lost", cursor=1006)
    check_whole(items, writer.text)


def test_what_was_lost_between_two_files_is_a_gap_of_its_reason(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"before")
    writer.lose_at_turn(77)
    writer.write(b"after")
    items = read(tmp_path)
    assert items[1] == LogGap(missed=77, reason="lost", cursor=83)
    check_whole(items, writer.text)


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    assert read(tmp_path) == []


@pytest.mark.parametrize(
    "torn",
    [
        b"x",
        log_format.record_header(0, 1, 100),
        log_format.record_header(0, 1, 100) + b"y" * 99,
        bytes(64),
        b"\xff" * 64,
    ],
    ids=["header", "no data", "data", "zeros", "garbage"],
)
def test_nothing_of_a_torn_end_is_told(tmp_path: Path, writer: LogWriter, torn: bytes) -> None:
    writer.write(b"whole")
    writer.tear(torn)
    assert data_of(read(tmp_path)) == b"whole"


def test_a_log_that_goes_on_behind_a_torn_end_is_followed(tmp_path: Path, writer: LogWriter) -> None:
    walk = Walk(tmp_path, "log", FOLLOW)
    writer.write(b"one")
    writer.tear(log_format.record_header(0, 1, 50) + b"torn")
    assert data_of(read_on(walk)) == b"one"
    writer.mend()
    writer.write(b"two")
    assert data_of(read_on(walk)) == b"two"
    walk.close()


def test_a_file_whose_header_the_disk_never_got_is_passed_over(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"one")
    writer.turn()
    os.truncate(tmp_path / "log", 0)
    assert data_of(read(tmp_path)) == b"one"
    (tmp_path / "log").write_bytes(bytes(4096))
    assert data_of(read(tmp_path)) == b"one"


def test_a_record_longer_than_a_piece_is_read_whole(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_size=10 << 20)
    long = bytes(range(256)) * 3000
    assert len(long) > log_files.PIECE
    for data in (b"before", long, b"after"):
        writer.write(data)
    check_whole(read(tmp_path), writer.text)


def test_a_reader_that_does_not_follow_ends_with_what_was_there_at_its_beginning(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, max_files=100)
    writer.write(b"there")
    walk = Walk(tmp_path, "log", LogQuery())
    items: list[LogItem] = []
    # It never gets to the end of a log that is written faster than it reads, unless it knows where that was.
    while (more := walk.step()) is not None:
        items += more
        writer.write(b"later" * 100)
    assert data_of(items) == b"there"
    walk.close()


def test_every_file_is_closed(tmp_path: Path, writer: LogWriter) -> None:
    before = open_files()
    for number in range(200):
        writer.write(b"line %d\n" % number)
    for query in (LogQuery(), LogQuery(tail=3), FOLLOW, LogQuery(cursor=10**9)):
        walk = Walk(tmp_path, "log", query)
        read_on(walk)
        assert open_files() == before + 1
        walk.close()
        walk.close()
    assert open_files() == before


# Choosing


def test_since_and_until_go_by_each_records_time(tmp_path: Path, writer: LogWriter) -> None:
    """The clock may have been set back: the order is the file's."""
    for time in (10, 20, 15, 30):
        writer.write(b"%d " % time, 1, time)
    assert data_of(read(tmp_path, LogQuery(since=15))) == b"20 15 30 "
    assert data_of(read(tmp_path, LogQuery(until=20))) == b"10 15 "
    assert data_of(read(tmp_path, LogQuery(since=15, until=30))) == b"20 15 "


def test_a_cursor_in_the_middle_of_a_record_cuts_it(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"0123456789")
    assert read(tmp_path, LogQuery(cursor=4)) == [LogRecord(time=0, stream="stdout", data=b"456789", cursor=10)]


@given(
    writes=st.lists(st.tuples(st.binary(min_size=1, max_size=400), st.sampled_from([1, 2])), max_size=30),
    max_files=st.integers(1, 4),
    data=st.data(),
)
@settings(deadline=None, max_examples=150)
def test_any_cursor_resumes_exactly_there(writes: list[tuple[bytes, int]], max_files: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        writer = LogWriter(Path(name), max_files=max_files)
        for written, stream in writes:
            writer.write(written, stream)
        cursor = data.draw(st.integers(0, len(writer.text)))
        check_whole(read(Path(name), LogQuery(cursor=cursor)), writer.text, cursor)
        writer.close()


def test_a_cursor_that_the_log_never_had_does_not_hide_what_comes(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"old")
    walk = Walk(tmp_path, "log", LogQuery(cursor=1000, follow=True))
    assert read_on(walk) == []
    writer.write(b"new")
    assert data_of(read_on(walk)) == b"new"
    walk.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (LogQuery(stdout=False, stderr=False), "stdout"),
        (LogQuery(tail=-1), "tail"),
        (LogQuery(cursor=-1), "cursor"),
        (LogQuery(since=-1), "since"),
        (LogQuery(tail=1, cursor=1), "tail"),
    ],
)
async def test_a_query_that_contradicts_itself_is_refused(tmp_path: Path, query: LogQuery, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        async with open_log(tmp_path, "log", query, running=lambda: False, changed=trio.sleep_forever):
            pass
    assert refused.value.field == field


# The last lines


def last_lines(records: list[tuple[int, int, bytes, int]], streams: set[int], count: int) -> dict[int, bytes]:
    """What of each stream belongs to the last lines, by going through the bytes one by one."""
    lines: list[tuple[int, int, bytes]] = []  # by their last byte
    begun: dict[int, tuple[int, bytes]] = {}
    for _, stream, data, cursor in records:
        if stream not in streams:
            continue
        for index in range(len(data)):
            at = cursor - len(data) + index
            line = begun.pop(stream, (0, b""))[1] + data[index : index + 1]
            if line.endswith(b"\n"):
                lines.append((at, stream, line))
            else:
                begun[stream] = (at, line)
    lines += [(at, stream, line) for stream, (at, line) in begun.items()]
    lines.sort()
    chosen = lines[len(lines) - min(count, len(lines)) :]
    return {stream: b"".join(line for _, s, line in chosen if s == stream) for stream in streams}


@given(
    writes=st.lists(
        st.tuples(st.text("a\n", min_size=1, max_size=40).map(str.encode), st.sampled_from([1, 1, 1, 2])), max_size=40
    ),
    count=st.integers(0, 30),
    streams=st.sampled_from([{1}, {2}, {1, 2}]),
)
@settings(deadline=None, max_examples=400)
def test_tail_is_the_last_lines_of_the_chosen_streams(
    writes: list[tuple[bytes, int]], count: int, streams: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        writer = LogWriter(Path(name), max_size=256, max_files=100)
        for written, stream in writes:
            writer.write(written, stream)
        items = read(Path(name), LogQuery(tail=count, stdout=1 in streams, stderr=2 in streams))
        wanted = last_lines(writer.records, streams, count)
        for number, label in ((1, "stdout"), (2, "stderr")):
            got = b"".join(item.data for item in items if isinstance(item, LogRecord) and item.stream == label)
            assert got == wanted.get(number, b"")
        cursors = [item.cursor for item in items]
        assert cursors == sorted(set(cursors))
        writer.close()


def test_tail_of_more_lines_than_there_are_is_all_without_a_gap(tmp_path: Path, writer: LogWriter) -> None:
    for number in range(200):
        writer.write(b"line %d\n" % number)
    items = read(tmp_path, LogQuery(tail=10_000))
    assert data_of(items) == writer.text[-len(data_of(items)) :]
    assert missed_of(items) == 0


def test_tail_goes_on_with_what_is_written_after_it(tmp_path: Path, writer: LogWriter) -> None:
    writer.write(b"a\nb\nhalf")
    walk = Walk(tmp_path, "log", LogQuery(tail=1, follow=True))
    none = Walk(tmp_path, "log", LogQuery(tail=0, follow=True))
    assert data_of(read_on(walk)) == b"half"
    assert data_of(read_on(none)) == b""
    writer.write(b" line\nc\n")
    assert data_of(read_on(walk)) == b" line\nc\n"
    assert data_of(read_on(none)) == b" line\nc\n"
    walk.close()
    none.close()


def test_tail_of_a_log_that_is_not_there_yet_is_all_that_comes(tmp_path: Path) -> None:
    walk = Walk(tmp_path, "log", LogQuery(tail=0, follow=True))
    assert read_on(walk) == []
    writer = LogWriter(tmp_path)
    writer.write(b"first\n")
    assert data_of(read_on(walk)) == b"first\n"
    walk.close()
    writer.close()


# Following across rotation


@given(
    writes=st.lists(st.tuples(st.integers(1, 400), st.sampled_from([1, 2, 0])), max_size=25),
    max_files=st.sampled_from([1, 2, 3, 100]),
    data=st.data(),
)
@settings(deadline=None, max_examples=200)
def test_a_follower_that_looks_between_any_two_system_calls_of_the_writer_gets_each_byte_once(
    writes: list[tuple[int, int]], max_files: int, data: st.DataObject
) -> None:
    """Byte or gap; and no gap where all files are kept."""
    with tempfile.TemporaryDirectory() as name:
        walk = Walk(Path(name), "log", FOLLOW)
        items: list[LogItem] = []

        def look() -> None:
            for _ in range(data.draw(st.sampled_from([0, 0, 0, 1, 2]))):
                items.extend(walk.step() or ())

        writer = LogWriter(Path(name), max_files=max_files, pause=look)
        lost = 0
        for number, (size, stream) in enumerate(writes):
            if stream:
                writer.write(bytes([number % 251]) * size, stream)
            else:
                writer.lose(size)
                lost += size
        items += read_on(walk)
        check_whole(items, writer.text)
        if max_files == 100:
            assert missed_of(items) == lost
        walk.close()
        writer.close()


@given(max_files=st.integers(1, 4), at=st.lists(st.integers(0, 200), max_size=4), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_finding_the_files_meets_each_one_whatever_rotation_does_meanwhile(
    max_files: int, at: list[int], seed: int
) -> None:
    """Rotations happen between any two of the names that are looked at; only what they remove may be missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = LogWriter(folder, max_files=max_files)
        for number in range(seed):
            writer.write(b"%d" % number)
            writer.turn()
        # Held open, so that no new file gets the inode of one that was removed.
        held = [os.open(path, os.O_RDONLY) for path in folder.iterdir()]
        before = {os.fstat(fd).st_ino for fd in held}
        looks = 0
        real = log_files.LogFile.open

        def opened(path: Path) -> log_files.LogFile | None:
            nonlocal looks
            for _ in range(at.count(looks)):
                writer.write(b"more")
                writer.turn()
            looks += 1
            return real(path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log_files.LogFile, "open", opened)
            files, _ = log_files.open_all(folder, "log")
        met = {file.identity.inode for file in files}
        still = {path.stat().st_ino for path in folder.iterdir()}
        assert before & still <= met
        offsets = [file.offset for file in files]
        assert offsets == sorted(offsets, reverse=True)
        log_files.close_all(files)
        writer.close()
        for fd in held:
            os.close(fd)


class Life:
    """A container's, as `open_log` asks for it."""

    def __init__(self, folder: Path, watcher: LogWatcher | None) -> None:
        self._folder = folder
        self._watcher = watcher
        self.running = True
        self._ended = trio.Event()

    def log(self, query: LogQuery = FOLLOW) -> AbstractAsyncContextManager[LogReader]:
        return open_log(
            self._folder, "log", query, running=lambda: self.running, changed=self.changed, watcher=self._watcher
        )

    def end(self) -> None:
        self.running = False
        self._ended.set()
        self._ended = trio.Event()

    async def changed(self) -> None:
        """The next end, not one that has been."""
        await self._ended.wait()


@pytest.fixture(params=["watched", "polled"])
def life(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> Life:
    """Of a container whose log is watched by inotify, and of one where that is not to be had."""
    if request.param == "polled":
        return Life(tmp_path, None)
    watcher = LogWatcher.make()
    assert watcher is not None
    nursery.start_soon(watcher.run)
    return Life(tmp_path, watcher)


async def collect(life: Life, seen: Callable[[int], None] = lambda _: None) -> list[LogItem]:
    items: list[LogItem] = []
    async with life.log() as log:
        async for item in log:
            items.append(item)
            seen(item.cursor)
    return items


async def test_a_follower_gets_every_byte_once_over_1000_rotations(tmp_path: Path, life: Life) -> None:
    """The writer, another thread, is never more than the kept files ahead, so nothing is missed."""
    read_to = 0
    moved = threading.Condition()
    writer = LogWriter(tmp_path, max_size=1000, max_files=40)

    def seen(cursor: int) -> None:
        nonlocal read_to
        with moved:
            read_to = cursor
            moved.notify()

    def write() -> None:
        number = 0
        while writer.turns < 1000:
            writer.write(b"%d " % number * (number % 50), 1 + number % 2)
            number += 1
            with moved:
                assert moved.wait_for(lambda: len(writer.text) - read_to < 30_000, timeout=50)

    async def write_and_end() -> None:
        await trio.to_thread.run_sync(write)
        life.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_and_end)
        items = await collect(life, seen)
    assert missed_of(items) == 0
    check_whole(items, writer.text)
    writer.close()


async def test_a_follower_that_rotation_passes_by_is_told_how_much_it_missed(life: Life, writer: LogWriter) -> None:
    items: list[LogItem] = []
    async with life.log() as log:
        writer.write(b"first")
        items += await log.read()
        for number in range(500):
            writer.write(b"line %d\n" % number)
        life.end()
        async for item in log:
            items.append(item)
    gaps = [item for item in items if isinstance(item, LogGap)]
    assert [gap.reason for gap in gaps] == ["rotated"]
    check_whole(items, writer.text)


async def test_following_ends_with_the_container_and_all_that_it_wrote(life: Life, writer: LogWriter) -> None:
    async with trio.open_nursery() as nursery:

        async def play() -> None:
            await trio.sleep(0.1)  # the follower waits by then, or looks once more
            writer.write(b"last words")
            life.end()

        nursery.start_soon(play)
        items = await collect(life)
    assert data_of(items) == b"last words"


async def test_following_begins_before_the_log_does(tmp_path: Path, life: Life) -> None:
    async with life.log() as log:
        with trio.move_on_after(0.2) as waited:
            await log.read()
        assert waited.cancelled_caught
        writer = LogWriter(tmp_path)
        writer.write(b"hello")
        (item,) = await log.read()
        assert data_of([item]) == b"hello"
        life.end()
        assert await log.read() == []
    writer.close()


async def test_following_a_removed_log_reads_it_to_its_end(tmp_path: Path, life: Life, writer: LogWriter) -> None:
    async with life.log() as log:
        writer.write(b"one")
        assert data_of(await log.read()) == b"one"
        writer.write(b"two")
        (tmp_path / "log").unlink()
        life.end()
        assert data_of(await log.read()) == b"two"
        assert await log.read() == []


async def test_following_until_a_time_ends_then(tmp_path: Path, writer: LogWriter) -> None:
    clock = 90
    query = LogQuery(follow=True, until=100)
    writer.write(b"before", 1, 80)
    async with open_log(
        tmp_path, "log", query, running=lambda: True, changed=trio.sleep_forever, now=lambda: clock
    ) as log:
        assert data_of(await log.read()) == b"before"
        writer.write(b"in time ", 1, 99)
        writer.write(b"too late", 1, 100)
        clock = 101
        assert data_of(await log.read()) == b"in time "
        assert await log.read() == []


async def test_a_watched_log_is_looked_at_when_it_is_written_to_and_not_meanwhile(
    tmp_path: Path, writer: LogWriter, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = LogWatcher.make()
    assert watcher is not None
    nursery.start_soon(watcher.run)
    looks = 0
    step = Walk.step

    def counted(walk: Walk) -> list[LogItem] | None:
        nonlocal looks
        looks += 1
        return step(walk)

    monkeypatch.setattr(Walk, "step", counted)
    life = Life(tmp_path, watcher)
    async with life.log() as first, life.log() as second:
        for log in (first, second):
            with trio.move_on_after(0.3):
                await log.read()
        # Beginning, end, and once more as the file is watched only from the beginning on.
        assert looks <= 6
        assert repr(watcher) == "<LogWatcher of 1 files>"
        writer.write(b"x")
        for log in (first, second):
            assert data_of(await log.read()) == b"x"
    assert repr(watcher) == "<LogWatcher of 0 files>"


async def test_a_container_that_ends_while_the_log_is_looked_at_is_not_waited_for(
    life: Life, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Walk.step

    def ending(walk: Walk) -> list[LogItem] | None:
        found = step(walk)
        if found is None and life.running:
            writer.write(b"last words")
            trio.from_thread.run_sync(life.end)
        return found

    monkeypatch.setattr(Walk, "step", ending)
    with trio.fail_after(10):
        assert data_of(await collect(life)) == b"last words"
