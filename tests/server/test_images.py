"""Calls on images at the server, on the wire: progress, bytes in both directions, and what becomes of those that end early."""

from __future__ import annotations

from pathlib import Path

import pytest

from ardock.protocol.session import WINDOW, Reply
from tests.server.client import Client, connected
from tests.server.fake import FakeEngine


async def test_a_pull_tells_how_far_it_is(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("images.pull", ref="a:b", platform="linux/arm64", credentials={"username": "me"})
    assert (await client.result(number))["names"] == ["a:b"]
    assert client.items_of(number)[-1] == {"part": "b", "status": "pulled"}
    assert engine.told == ["pull a:b linux/arm64 me"]


async def test_who_does_not_read_progress_holds_nothing_up_and_gets_the_newest(client: Client) -> None:
    """100,000 reports are more than the window: what does not fit is replaced by what is newer of the same part."""
    number = await client.begin("images.pull", ref="chatty")
    while number not in client.got or len(client.got[number]) < 2:
        await client.pump(credit=False)
    answer = await client.result(number)
    assert answer["names"] == ["chatty"]
    items = client.items_of(number)
    assert len(items) < 100_000
    newest = {item["part"]: item for item in items}
    assert newest["a"]["done"] == 100_000
    assert newest["b"]["status"] == "pulled"


async def test_a_pull_is_cancelled(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("images.pull", ref="hang")
    await engine.until_told("pull hang  None")
    client.session.cancel(number)
    await client.flush()
    reply = await client.reply(number)
    assert reply.error is not None
    assert reply.error.code == "cancelled"
    assert engine.told[-1] == "pull ended"


async def test_a_pull_ends_with_its_client(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as client:
        await client.begin("images.pull", ref="hang")
        await engine.until_told("pull hang  None")
    await engine.until_told("pull ended")


async def test_a_pull_that_fails(client: Client) -> None:
    assert (await client.error("images.pull", ref="missing")).code == "not_found"


async def test_push_and_check(client: Client) -> None:
    number = await client.begin("images.push", ref="a:b")
    assert (await client.result(number))["digest"] == "sha256:" + "2" * 64
    assert client.items_of(number) == [{"part": "a", "status": "uploading", "done": 1, "total": 2}]
    number = await client.begin("images.check")
    assert (await client.result(number))["blobs"] == 3
    assert client.items_of(number) == [{"part": "a", "status": "waiting"}]


async def send(client: Client, number: int, data: bytes) -> None:
    """Send `data`, or what of it goes before the answer."""
    while data and not any(isinstance(message, Reply) for message in client.got.get(number, ())):
        size = min(client.session.room(number), 50_000, len(data))
        if size:
            client.session.send_bytes(number, 0, data[:size])
            data = data[size:]
            await client.flush()
        else:
            await client.pump()


async def test_an_archive_comes_as_bytes(client: Client) -> None:
    number = await client.begin("images.load")
    await send(client, number, b"x" * 1_000_000)
    client.session.send_end(number, 0)
    await client.flush()
    assert await client.result(number) == {"images": [{"id": "sha256:1000000", "names": ["a:b"]}]}
    assert client.items_of(number)[-1]["done"] == 1_000_000


async def test_an_archive_that_is_refused_in_the_middle(client: Client) -> None:
    number = await client.begin("images.load")
    await send(client, number, b"bad" + b"x" * 10_000)
    reply = await client.reply(number)
    assert reply.error is not None
    assert reply.error.code == "invalid_argument"


async def test_an_archive_may_go_on_after_its_end(client: Client) -> None:
    """What comes when nobody takes it any more is dropped, more than a window of it, too."""
    number = await client.begin("images.load")
    await send(client, number, b"enough" + b"x" * (2 * WINDOW))
    await client.result(number)


async def test_an_archive_of_the_engine_s_machine(client: Client, engine: FakeEngine) -> None:
    assert (await client.call("images.load", path="/a.tar", platform="linux"))["images"][0]["names"] == ["a:b"]
    assert engine.told == ["load /a.tar linux"]


async def test_images_are_saved_as_bytes_at_the_client_s_pace(client: Client, engine: FakeEngine) -> None:
    number = await client.begin("images.save", refs=["a", "bc"])
    await client.result(number)
    assert client.bytes_of(number, 1) == b"a" * 100_000 + b"bc" * 100_000
    assert client.ended_channels(number) == {1}
    assert engine.told == ["save closed"]


async def test_a_save_that_fails(client: Client, engine: FakeEngine) -> None:
    assert (await client.error("images.save", refs=["missing"])).code == "not_found"
    number = await client.begin("images.save", refs=["a", "breaks"])
    reply = await client.reply(number)
    assert reply.error is not None
    assert reply.error.code == "disk_full"
    assert client.ended_channels(number) == set()
    assert engine.told == ["save closed"]


async def test_a_save_whose_client_leaves(path: Path, engine: FakeEngine) -> None:
    async with connected(path) as client:
        await client.begin("images.save", refs=["a" * 100, "b"])
    await engine.until_told("save closed")


async def test_changes_of_a_container_are_as_many_as_there_are(client: Client) -> None:
    number = await client.begin("containers.diff", ref="one")
    assert await client.result(number) == {}
    items = client.items_of(number)
    assert len(items) == 20_000
    assert items[-1] == {"kind": "A", "path": "/19999"}
    assert (await client.error("containers.diff", ref="two")).code == "not_found"


async def test_a_container_s_root_comes_as_bytes(client: Client) -> None:
    number = await client.begin("containers.export", ref="one")
    await client.result(number)
    assert client.bytes_of(number, 1) == b"tar of one"


async def test_calls_without_streams(client: Client, engine: FakeEngine) -> None:
    await client.call("images.tag", ref="a", name="b:c", request_id="t")
    await client.call("images.tag", ref="a", name="b:c", request_id="t")
    await client.call(
        "containers.commit", ref="one", name="n", author="me", message="m", changes=["CMD x"], pause=False
    )
    await client.call("images.import", name="y", path="/t", changes=["USER me"], message="m", platform="linux")
    assert engine.told == ["tag a b:c", "commit one n me m ['CMD x'] False", "import /t ['USER me'] m linux"]
    assert (await client.call("images.history", ref="a"))["entries"] == [{"created_by": "made a"}]
    assert await client.call("images.prune", all=True, filters={"label": ["a"]}) == {
        "done": ["True {'label': ('a',)}"],
        "space": 5,
    }
    assert (await client.call("images.inspect", ref="i"))["config"] == {"cmd": ["sh"]}
    assert (await client.call("engine.disk_usage"))["layers_size"] == 9


@pytest.mark.parametrize("method", ["images.pull", "images.push", "images.load", "images.check"])
async def test_what_tells_its_progress_takes_no_request_id(client: Client, method: str) -> None:
    params = {} if method in {"images.load", "images.check"} else {"ref": "a"}
    assert (await client.error(method, **params, request_id="r")).code == "unsupported"
