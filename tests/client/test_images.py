"""The client's calls on images: over a real socket to a server whose engine is a fake, and to a scripted one that breaks off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from ardock.client.trio_client import RemoteEngine, connect
from ardock.model import errors
from ardock.model.image import Change, Progress
from ardock.model.registry import Credentials
from ardock.server.server import serving
from tests.client.server import ScriptedServer
from tests.server.fake import FakeEngine, as_any


@pytest.fixture
async def fake(tmp_path: Path, nursery: trio.Nursery) -> FakeEngine:
    return FakeEngine(nursery, tmp_path)


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[RemoteEngine]:
    async with serving(as_any(fake), group=None) as path, connect(path) as engine:
        yield engine


async def test_progress_is_told_in_the_caller_s_task(engine: RemoteEngine, fake: FakeEngine) -> None:
    told: list[Progress] = []
    tasks: set[str] = set()

    def progress(one: Progress) -> None:
        told.append(one)
        tasks.add(trio.lowlevel.current_task().name)

    mine = trio.lowlevel.current_task().name
    image = await engine.images.pull(
        "a:b", platform="linux/arm64", credentials=Credentials(username="me", password="x"), progress=progress
    )
    assert image.names == ("a:b",)
    assert told[-1] == Progress(part="b", status="pulled")
    assert tasks == {mine}
    assert fake.told == ["pull a:b linux/arm64 me"]


async def test_what_the_callback_raises_ends_the_pull(engine: RemoteEngine, fake: FakeEngine) -> None:
    def progress(_: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await engine.images.pull("hang", progress=progress)
    assert fake.told == ["pull hang  None", "pull ended"]


async def test_a_cancelled_pull_has_ended_when_it_returns(engine: RemoteEngine, fake: FakeEngine) -> None:
    with trio.CancelScope() as scope:
        await engine.images.pull("hang", progress=lambda _: scope.cancel())
    assert scope.cancelled_caught
    assert fake.told == ["pull hang  None", "pull ended"]


async def test_errors(engine: RemoteEngine) -> None:
    with pytest.raises(errors.NotFound):
        await engine.images.pull("missing")
    with pytest.raises(errors.NotFound):
        async with engine.images.save(["missing"]):
            pass
    with pytest.raises(errors.NotFound):
        await engine.containers.diff("two")


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await trio.lowlevel.checkpoint()
        yield chunk


async def drain(engine: RemoteEngine, refs: list[str], into: list[bytes]) -> None:
    async with engine.images.save(refs) as saved:
        async for piece in saved:
            into += [piece]


async def test_load(engine: RemoteEngine, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Progress] = []
    loaded = await engine.images.load(pieces(b"x" * 500_000, b"y" * 500_000), progress=told.append)
    assert loaded[0].id == "sha256:1000000"
    assert told[-1].done == 1_000_000
    monkeypatch.chdir("/usr")
    await engine.images.load("a.tar", platform="linux")
    assert fake.told == ["load /usr/a.tar linux"]
    with pytest.raises(errors.InvalidArgument, match="no archive"):
        await engine.images.load(pieces(b"bad", *[b"x" * 100_000] * 20))


async def test_save_and_export(engine: RemoteEngine, fake: FakeEngine) -> None:
    async with engine.images.save(["a", "b"]) as saved:
        assert b"".join([piece async for piece in saved]) == b"a" * 100_000 + b"b" * 100_000
    async with engine.images.save(["abc"] * 50) as saved:
        async for _ in saved:
            break
    with pytest.raises(errors.DiskFull):
        await drain(engine, ["a", "breaks"], [])
    await fake.until_told("save closed")
    async with engine.containers.export("one") as exported:
        assert b"".join([piece async for piece in exported]) == b"tar of one"


async def test_the_rest(engine: RemoteEngine, fake: FakeEngine) -> None:
    assert (await engine.images.push("a")).size == 7
    await engine.images.tag("a", "b")
    assert (await engine.images.history("a"))[0].created_by == "made a"
    assert (await engine.images.inspect("i")).config.cmd == ("sh",)
    assert (await engine.images.prune(filters={"until": ("5",)})).space == 5
    assert (await engine.images.check()).blobs == 3
    assert (await engine.disk_usage()).layers_size == 9
    await engine.containers.commit("one", "n", changes=["CMD x"])
    changes = await engine.containers.diff("one")
    assert len(changes) == 20_000
    assert changes[1] == Change("A", "/1")
    assert fake.told == ["tag a b", "commit one n   ['CMD x'] True"]


async def test_a_pull_goes_on_over_another_connection(server: ScriptedServer, nursery: trio.Nursery) -> None:
    """It is asked for again: what came already is there."""

    async def script() -> None:
        async with server.expecting() as peer:
            number, _ = await peer.call("images.pull")
            await peer.notify("items", number, [{"part": "a", "status": "downloading", "done": 5}])
        async with server.expecting() as peer:
            number, params = await peer.call("images.pull")
            assert params == {"ref": "a:b"}
            await peer.notify("items", number, [{"part": "a", "status": "exists"}])
            await peer.reply(number, {"id": "sha256:1"})
            await peer.until_lost()

    told: list[str] = []
    nursery.start_soon(script)
    async with connect(server.path) as engine:
        image = await engine.images.pull("a:b", progress=lambda one: told.append(one.status))
    assert image.id == "sha256:1"
    assert told == ["downloading", "exists"]


async def test_a_lost_connection_ends_what_has_bytes(server: ScriptedServer, nursery: trio.Nursery) -> None:
    async def script() -> None:
        async with server.expecting() as peer:
            await peer.call("images.load")
            await peer.notification("bytes")
        async with server.expecting() as peer:
            number, _ = await peer.call("images.save")
            await peer.notify("items", number, [])
            await peer.notify("bytes", number, 1, b"half")

    nursery.start_soon(script)
    async with connect(server.path) as engine:
        with pytest.raises(errors.ConnectionLost):
            await engine.images.load(pieces(*[b"x" * 100_000] * 100))
        got: list[bytes] = []
        with pytest.raises(errors.ConnectionLost):
            await drain(engine, ["a"], got)
        assert got == [b"half"]
