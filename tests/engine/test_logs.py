"""Logs of real containers, written by a real keeper and read through the engine."""

from __future__ import annotations

import time

import pytest
import trio

import ardock
from ardock.model.logs import LogItem

FOLLOW = ardock.LogQuery(follow=True)


def sh(command: str, rootfs: str, **options: object) -> ardock.ContainerSpec:
    return ardock.ContainerSpec(argv=("sh", "-c", command), rootfs=rootfs, scratch="memory", **options)  # type: ignore[arg-type]


async def read(engine: ardock.Engine, ref: str, query: ardock.LogQuery | None = None) -> list[LogItem]:
    async with engine.containers.logs(ref, query) as log:
        return [item async for item in log]


def text(items: list[LogItem], stream: str | None = None) -> bytes:
    records = [item for item in items if isinstance(item, ardock.LogRecord)]
    return b"".join(record.data for record in records if stream in {None, record.stream})


async def test_a_log_has_all_that_was_written_by_time_and_stream(engine: ardock.Engine, rootfs: str) -> None:
    before = time.time_ns()
    made = await engine.containers.create(sh("echo one; echo two >&2; printf three", rootfs))
    assert await read(engine, made.id) == []
    await engine.containers.start(made.id)
    await engine.containers.wait(made.id)
    items = await read(engine, made.id)
    assert text(items, "stdout") == b"one\nthree"
    assert text(items, "stderr") == b"two\n"
    times = [item.time for item in items if isinstance(item, ardock.LogRecord)]
    assert before <= min(times)
    assert max(times) <= time.time_ns()
    assert text(await read(engine, made.id, ardock.LogQuery(tail=1, stderr=False))) == b"three"
    assert await read(engine, made.id, ardock.LogQuery(since=time.time_ns())) == []
    await engine.containers.remove(made.id)
    with pytest.raises(ardock.NotFound):
        await read(engine, made.id)


async def test_a_follower_sees_what_is_written_as_it_is_and_ends_with_the_container(
    engine: ardock.Engine, rootfs: str
) -> None:
    made = await engine.containers.create(
        sh("while read line; do echo got $line; done; echo bye", rootfs, stdin_open=True)
    )
    async with await engine.containers.attach(made.id, stdin=True, stdout=False, stderr=False) as attached:
        await engine.containers.start(made.id)
        assert attached.stdin is not None
        async with engine.containers.logs(made.id, FOLLOW) as log:
            for number in range(20):
                await attached.stdin.send_all(b"%d\n" % number)
                assert text([await anext(log)]) == b"got %d\n" % number
            await attached.stdin.aclose()
            assert text([item async for item in log]) == b"bye\n"
    await engine.containers.remove(made.id)


async def test_a_follower_is_exact_while_the_log_is_rotated_often(engine: ardock.Engine, rootfs: str) -> None:
    """1 MB through files of 4 KiB: whatever is not told is a gap of its size."""
    options = ardock.LogOptions(max_size="4k", max_files=50)
    made = await engine.containers.create(sh("seq 1 150000", rootfs, log=options))
    whole = b"".join(b"%d\n" % number for number in range(1, 150_001))
    await engine.containers.start(made.id)
    items = await read(engine, made.id, FOLLOW)
    at = 0
    for item in items:
        if isinstance(item, ardock.LogGap):
            at += item.missed
        else:
            assert item.data == whole[at : at + len(item.data)]
            at += len(item.data)
        assert item.cursor == at
    assert at == len(whole)
    kept = await read(engine, made.id)
    assert isinstance(kept[0], ardock.LogGap)
    assert text(kept) == whole[kept[0].missed :]
    await engine.containers.remove(made.id)


async def test_a_log_goes_on_with_the_next_run_and_so_do_its_cursors(engine: ardock.Engine, rootfs: str) -> None:
    made = await engine.containers.create(sh("echo run", rootfs))
    cursor = 0
    for _ in range(3):
        await engine.containers.start(made.id)
        await engine.containers.wait(made.id)
        (item,) = await read(engine, made.id, ardock.LogQuery(cursor=cursor))
        assert text([item]) == b"run\n"
        cursor = item.cursor
    assert cursor == 12
    assert text(await read(engine, made.id)) == b"run\n" * 3
    await engine.containers.remove(made.id)


async def test_many_followers_of_one_log_get_all_of_it(engine: ardock.Engine, rootfs: str) -> None:
    made = await engine.containers.create(sh("read line; seq 1 20000", rootfs, stdin_open=True))
    whole = b"".join(b"%d\n" % number for number in range(1, 20_001))
    found: list[bytes] = []

    async def follow() -> None:
        found.append(text(await read(engine, made.id, FOLLOW)))

    async with await engine.containers.attach(made.id, stdin=True, stdout=False, stderr=False) as attached:
        await engine.containers.start(made.id)
        assert attached.stdin is not None
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(follow)
            await attached.stdin.send_all(b"go\n")
    assert found == [whole] * 20
    await engine.containers.remove(made.id)


async def test_a_container_that_keeps_no_log_says_so(engine: ardock.Engine, rootfs: str) -> None:
    made = await engine.containers.create(sh("true", rootfs, log="none"))
    with pytest.raises(ardock.InvalidArgument, match="keeps no log"):
        await read(engine, made.id)
    await engine.containers.remove(made.id)
