"""The life of a container that is kept: in-process and through a socket alike."""

from __future__ import annotations

import pytest
import trio

import ardock
from ardock.interface import Engine
from ardock.model.container import Filters
from ardock.model.logs import LogItem, LogQuery, LogRecord


async def output(engine: Engine, ref: str, query: LogQuery | None = None) -> dict[str, bytes]:
    """What the log has, by stream."""
    found = {"stdout": b"", "stderr": b""}
    async with engine.containers.logs(ref, query) as items:
        async for item in items:
            assert isinstance(item, LogRecord), item
            found[item.stream] += item.data
    return found


async def status(engine: Engine, ref: str) -> str:
    return (await engine.containers.inspect(ref)).status


async def test_created_started_ended_removed(either: Engine, rootfs: str) -> None:
    containers = either.containers
    created = await containers.create(["sh", "-c", "echo out; echo err >&2; exit 3"], rootfs=rootfs, name="one")
    assert (len(created.id), created.name) == (64, "one")
    assert await status(either, "one") == "created"
    await containers.start("one")
    end = await containers.wait("one")
    assert (end.id, end.exit_code, end.reason) == (created.id, 3, "exited")
    info = await containers.inspect(created.id[:10])
    assert (info.status, info.run, info.name, info.pid) == ("exited", 1, "one", 0)
    assert 0 < info.created_at <= info.started_at <= info.finished_at
    assert info.timings is not None
    assert info.timings.total > 0
    assert await output(either, "one") == {"stdout": b"out\n", "stderr": b"err\n"}
    await containers.remove("one")
    with pytest.raises(ardock.NotFound) as caught:
        await containers.inspect("one")
    assert "one" in caught.value.message
    # Its exit code outlives it.
    assert (await containers.wait("one")).exit_code == 3
    assert (await containers.wait(created.id)).exit_code == 3


async def test_what_it_writes_is_there_when_it_is_started_again(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "echo run >> /record; cat /record; mkdir -p /new/folder; ls -d /new/folder"]
    await either.containers.create(command, rootfs=rootfs, name="again")
    for _ in range(3):
        await either.containers.start("again")
        assert (await either.containers.wait("again")).exit_code == 0
    text = (await output(either, "again"))["stdout"].decode()
    assert text == "".join("run\n" * count + "/new/folder\n" for count in (1, 2, 3))
    assert (await either.containers.inspect("again")).run == 3


async def test_stop_sends_the_stop_signal_and_kills_what_ignores_it(either: Engine, rootfs: str) -> None:
    polite = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
    await either.containers.create(polite, rootfs=rootfs, name="polite")
    await either.containers.start("polite")
    await said(either, "polite", b"ready")
    await either.containers.stop("polite")
    assert (await either.containers.wait("polite")).exit_code == 7
    await either.containers.create(["sleep", "1000"], rootfs=rootfs, name="stubborn")
    await either.containers.start("stubborn")
    await either.containers.stop("stubborn", timeout=0.1)
    end = await either.containers.wait("stubborn")
    assert (end.exit_code, end.signal) == (137, 9)
    # Stopped already: nothing to do.
    await either.containers.stop("stubborn")
    with pytest.raises(ardock.NotRunning):
        await either.containers.kill("stubborn")


async def said(engine: Engine, ref: str, words: bytes) -> None:
    """Wait until its log has `words`."""
    seen = b""
    with trio.fail_after(10):
        async with engine.containers.logs(ref, LogQuery(follow=True)) as items:
            async for item in items:
                seen += item.data if isinstance(item, LogRecord) else b""
                if words in seen:
                    return
    raise AssertionError(f"{words!r} was never said: {seen!r}")


async def test_restart_gives_it_a_new_process(either: Engine, rootfs: str) -> None:
    await either.containers.create(["sleep", "1000"], rootfs=rootfs, name="renewed")
    await either.containers.start("renewed")
    first = await either.containers.inspect("renewed")
    await either.containers.restart("renewed", timeout=0)
    second = await either.containers.inspect("renewed")
    assert (second.status, second.run, second.restarts) == ("running", 2, 1)
    assert second.pid not in (0, first.pid)
    await either.containers.remove("renewed", force=True)


async def test_it_is_found_by_id_prefix_and_name(either: Engine, rootfs: str) -> None:
    created = await either.containers.create(["true"], rootfs=rootfs, name="found")
    for ref in (created.id, created.id[:4], "found", "/found"):
        assert (await either.containers.inspect(ref)).id == created.id
    await either.containers.rename("found", "renamed")
    assert (await either.containers.inspect("renamed")).id == created.id
    with pytest.raises(ardock.NotFound):
        await either.containers.inspect("found")
    many = [await either.containers.create(["true"], rootfs=rootfs) for _ in range(17)]
    assert len({one.name for one in many}) == 17
    firsts = [one.id[0] for one in (*many, created)]
    twice = next(digit for digit in firsts if firsts.count(digit) > 1)
    with pytest.raises(ardock.Ambiguous):
        await either.containers.inspect(twice)


async def test_a_name_that_is_taken_is_refused_until_it_is_free(either: Engine, rootfs: str) -> None:
    first = await either.containers.create(["true"], rootfs=rootfs, name="taken")
    with pytest.raises(ardock.Conflict) as caught:
        await either.containers.create(["true"], rootfs=rootfs, name="taken")
    assert first.id[:12] in caught.value.message
    await either.containers.create(["true"], rootfs=rootfs, name="other")
    with pytest.raises(ardock.Conflict):
        await either.containers.rename("other", "taken")
    await either.containers.remove("taken")
    await either.containers.rename("other", "taken")
    with pytest.raises(ardock.InvalidArgument):
        await either.containers.create(["true"], rootfs=rootfs, name="no spaces")


async def test_bad_requests_change_nothing(either: Engine, rootfs: str) -> None:
    containers = either.containers
    await containers.create(["sleep", "1000"], rootfs=rootfs, name="busy")
    with pytest.raises(ardock.NotRunning):
        await containers.exec("busy", ["true"])
    await containers.start("busy")
    with pytest.raises(ardock.Conflict):
        await containers.start("busy")
    with pytest.raises(ardock.Conflict) as caught:
        await containers.remove("busy")
    assert "running" in caught.value.message
    with pytest.raises(ardock.InvalidArgument):
        await containers.kill("busy", "SIGNOTHING")
    with pytest.raises(ardock.InvalidArgument):
        await containers.list(filters={"colour": ("red",)})
    with pytest.raises(ardock.InvalidArgument):
        await containers.list(filters={"status": ("happy",)})
    for missing in ("nobody", "f" * 64):
        with pytest.raises(ardock.NotFound):
            await containers.start(missing)
    with pytest.raises(ardock.NotFound):
        await containers.create(["true"], rootfs="/nowhere/at/all")
    assert await status(either, "busy") == "running"
    await containers.remove("busy", force=True)
    assert (await containers.list(all=True)).containers == []


async def test_a_program_that_cannot_be_started_leaves_it_as_it_was(either: Engine, rootfs: str) -> None:
    await either.containers.create(["/no/such/program"], rootfs=rootfs, name="broken")
    with pytest.raises(ardock.CommandNotFound):
        await either.containers.start("broken")
    info = await either.containers.inspect("broken")
    assert (info.status, info.run) == ("created", 0)
    assert "/no/such/program" in info.error
    await either.containers.remove("broken")


async def test_remove_when_ended(either: Engine, rootfs: str) -> None:
    created = await either.containers.create(["sh", "-c", "exit 4"], rootfs=rootfs, remove=True)
    async with trio.open_nursery() as nursery:
        codes: list[int] = []

        async def wait() -> None:
            codes.append((await either.containers.wait(created.id, "next-exit")).exit_code)

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        await either.containers.start(created.id)
    assert codes == [4]
    with trio.fail_after(5):
        while (await either.containers.list(all=True)).containers:  # noqa: ASYNC110 - polled on purpose
            await trio.sleep(0.02)
    assert (await either.containers.wait(created.id)).exit_code == 4


async def test_list_filters_and_orders(either: Engine, rootfs: str) -> None:
    containers = either.containers
    await containers.create(["true"], rootfs=rootfs, name="old", labels={"tier": "back", "x": ""})
    await containers.create(["sleep", "1000"], rootfs=rootfs, name="mid", labels={"tier": "front"})
    await containers.create(["sh", "-c", "exit 9"], rootfs=rootfs, name="new")
    await containers.start("mid")
    await containers.start("new")
    await containers.wait("new")

    async def names(**options: object) -> list[str]:
        filters: Filters = {name: (value,) for name, value in options.items() if isinstance(value, str)}
        limit = options.get("limit")
        listing = await containers.list(
            all=bool(options.get("everything")), filters=filters, limit=limit if isinstance(limit, int) else None
        )
        assert listing.epoch
        return [one.name for one in listing.containers]

    assert await names() == ["mid"]
    assert await names(everything=True) == ["new", "mid", "old"]
    assert await names(limit=2) == ["new", "mid"]
    assert await names(everything=True, label="tier") == ["mid", "old"]
    assert await names(everything=True, label="tier=back") == ["old"]
    assert await names(status="created") == ["old"]
    assert await names(everything=True, exited="9") == ["new"]
    assert await names(everything=True, name="^m") == ["mid"]
    assert await names(everything=True, before="new") == ["mid", "old"]
    assert await names(everything=True, since="old") == ["new", "mid"]
    await containers.remove("mid", force=True)


async def test_logs_by_tail_time_and_stream(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.02; done; echo bad >&2"]
    await either.containers.create(command, rootfs=rootfs, name="writer")
    await either.containers.start("writer")
    assert (await output(either, "writer", LogQuery(follow=True)))["stdout"].count(b"line") == 5
    assert await output(either, "writer", LogQuery(tail=2, stderr=False)) == {
        "stdout": b"line 4\nline 5\n",
        "stderr": b"",
    }
    assert await output(either, "writer", LogQuery(stdout=False)) == {"stdout": b"", "stderr": b"bad\n"}
    items: list[LogItem] = []
    async with either.containers.logs("writer") as reading:
        items = [item async for item in reading]
    third = items[2]
    assert isinstance(third, LogRecord)
    later = await output(either, "writer", LogQuery(since=third.time))
    assert later["stdout"] == b"line 3\nline 4\nline 5\n"
    earlier = await output(either, "writer", LogQuery(until=third.time))
    assert earlier["stdout"] == b"line 1\nline 2\n"
    resumed = await output(either, "writer", LogQuery(cursor=third.cursor))
    assert resumed["stdout"] == b"line 4\nline 5\n"


async def test_exec_in_it(either: Engine, rootfs: str) -> None:
    await either.containers.create(["sleep", "1000"], rootfs=rootfs, name="host", env={"COLOUR": "blue"})
    await either.containers.start("host")
    spec = ardock.ExecSpec(
        argv=("sh", "-c", "cat; echo $COLOUR $SHAPE $PWD; id -u >&2; exit 5"),
        env={"SHAPE": "round"},
        cwd="/tmp",
        user="1000",
    )
    result = await either.containers.exec_run("host", spec, input=b"given\n")
    assert (result.exit_code, result.stdout, result.stderr) == (5, b"given\nblue round /tmp\n", b"1000\n")
    async with await either.containers.exec("host", ardock.ExecSpec(argv=("cat",), stdin_open=True)) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        await program.stdin.send_all(b"echo")
        await program.stdin.aclose()
        assert await program.stdout.read_all() == b"echo"
        assert (await program.wait()).exit_code == 0
    async with await either.containers.exec("host", ardock.ExecSpec(argv=("tty",), tty=True)) as program:
        assert program.terminal is not None
        assert b"/dev/pts/" in await program.terminal.receive_some()
    exec_id = await either.containers.exec_detached("host", ["sleep", "1000"])
    assert exec_id in (await either.containers.inspect("host")).execs
    await either.containers.kill("host", exec_id=exec_id)
    with trio.fail_after(5):
        while (await either.containers.inspect("host")).execs:  # noqa: ASYNC110 - polled on purpose
            await trio.sleep(0.02)
    with pytest.raises(ardock.CommandNotFound):
        await either.containers.exec_run("host", ["nosuchprogram"])
    await either.containers.remove("host", force=True)


async def test_attached_before_the_start_its_streams_are_whole(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "cat; echo done; echo bad >&2"]
    await either.containers.create(command, rootfs=rootfs, name="streams", stdin_open=True)
    async with await either.containers.attach("streams", stdin=True) as attached:
        await either.containers.start("streams")
        assert attached.stdin is not None
        assert attached.stdout is not None
        assert attached.stderr is not None
        async with trio.open_nursery() as nursery:
            data = b"x" * 3_000_000

            async def type_in() -> None:
                assert attached.stdin is not None
                await attached.stdin.send_all(data)
                await attached.stdin.aclose()

            nursery.start_soon(type_in)
            assert await attached.stdout.read_all() == data + b"done\n"
        assert await attached.stderr.read_all() == b"bad\n"
    assert (await either.containers.wait("streams")).exit_code == 0
    assert (await output(either, "streams"))["stdout"] == data + b"done\n"


async def test_attached_later_its_output_comes_from_the_start(either: Engine, rootfs: str) -> None:
    command = ["sh", "-c", "echo first; read line; echo got $line"]
    await either.containers.create(command, rootfs=rootfs, name="later", stdin_open=True)
    await either.containers.start("later")
    await said(either, "later", b"first")
    async with await either.containers.attach("later", stdin=True) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        await attached.stdin.send_all(b"word\n")
        assert await attached.stdout.read_all() == b"first\ngot word\n"


async def test_events_tell_its_life_in_order(either: Engine, rootfs: str) -> None:
    cursor = await either.events.cursor()
    await either.containers.create(["sleep", "1000"], rootfs=rootfs, name="told", labels={"a": "b"})
    await either.containers.start("told")
    await either.containers.exec_run("told", ["true"])
    await either.containers.rename("told", "retold")
    await either.containers.stop("retold", timeout=0)
    await either.containers.remove("retold")
    seen = []
    with trio.fail_after(10):
        async with either.events.subscribe(since=cursor) as events:
            async for event in events:
                assert isinstance(event, ardock.Event)
                seen.append(event)
                if event.action == "destroy":
                    break
    actions = [event.action.partition(":")[0] for event in seen]
    assert actions == [
        "create", "start", "exec_create", "exec_start", "exec_die", "rename", "kill", "kill", "die", "stop", "destroy",
    ]  # fmt: skip
    assert [event.seq for event in seen] == list(range(cursor.seq + 1, cursor.seq + 1 + len(seen)))
    start = seen[1]
    assert start.timings is not None
    assert start.timings.total > 0
    assert start.attributes["a"] == "b"
    assert seen[5].attributes["oldName"] == "/told"
    assert seen[8].attributes["exitCode"] == "137"


async def test_a_kill_for_want_of_memory_is_told_while_it_runs_and_once(either: Engine, rootfs: str) -> None:
    cursor = await either.events.cursor()
    # dd wants a buffer of 64 MB; the shell outlives it.
    command = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000"]
    await either.containers.create(command, rootfs=rootfs, name="hungry", memory="16m", memory_swap="16m")
    await either.containers.start("hungry")
    actions: list[str] = []
    with trio.fail_after(20):
        async with either.events.subscribe(since=cursor) as events:
            async for event in events:
                assert isinstance(event, ardock.Event)
                actions.append(event.action)
                if event.action == "oom":
                    assert (await either.containers.inspect("hungry")).status == "running"
                    await either.containers.kill("hungry")
                if event.action == "die":
                    break
    assert actions == ["create", "start", "oom", "kill", "die"]
    end = await either.containers.wait("hungry")
    assert (end.exit_code, end.oom_killed) == (137, True)
    await either.containers.remove("hungry")
