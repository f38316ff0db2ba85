"""What a container has written: told, exported, and made an image of; running or not."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
import trio

import ardock
from ardock import interface
from ardock.engine import Engine
from ardock.model.image import Change
from tests.engine.images import made

pytestmark = pytest.mark.root

SCRIPT = "echo new > /new; mkdir -p /d/e; echo f > /d/e/f; rm /etc/gone; echo more >> /etc/kept; rm -r /opq; mkdir /opq; touch /opq/in"


@pytest.fixture
async def base(engine: Engine, busybox_root: Path, tmp_path: Path) -> str:
    """An image with something to change."""
    tool = (busybox_root / "bin" / "busybox").read_bytes()
    image = made.image(
        {"bin": None, "bin/sh": tool, "etc": None, "etc/gone": b"1", "etc/kept": b"2", "opq": None, "opq/old": b"3"},
        {"tmp": None, "var": None, "var/x": b"4"},
        config={"Cmd": ["sh"], "Env": ["PATH=/bin", "A=1"], "Labels": {"l": "1"}, "WorkingDir": "/var"},
    )
    await engine.images.load(made.layout(tmp_path / "layout", {"base:1": image}))
    return "base:1"


async def written(engine: interface.Engine, base: str, script: str = SCRIPT) -> str:
    created = await engine.containers.create(["/bin/sh", "-c", script], image=base)
    await engine.containers.start(created.id)
    exit_record = await engine.containers.wait(created.id)
    assert exit_record.exit_code == 0
    return created.id


async def read(stream: object) -> bytes:
    async with stream as pieces:  # type: ignore[attr-defined]
        return b"".join([piece async for piece in pieces])


async def test_changes_are_told_as_docker_tells_them(either: interface.Engine, base: str) -> None:
    container = await written(either, base)
    assert await either.containers.diff(container) == [
        Change("A", "/d"),
        Change("A", "/d/e"),
        Change("A", "/d/e/f"),
        Change("C", "/etc"),
        Change("D", "/etc/gone"),
        Change("C", "/etc/kept"),
        Change("A", "/new"),
        Change("C", "/opq"),
        Change("A", "/opq/in"),
        Change("D", "/opq/old"),
    ]
    fresh = await either.containers.create(["sh"], image=base)
    assert await either.containers.diff(fresh.id) == []
    with pytest.raises(ardock.NotFound):
        await either.containers.diff("absent")


async def test_the_whole_root_is_exported(either: interface.Engine, base: str) -> None:
    container = await written(either, base)
    with tarfile.open(fileobj=io.BytesIO(await read(either.containers.export(container)))) as tar:
        names = set(tar.getnames())
        kept = tar.extractfile("etc/kept")
        assert kept is not None
        assert kept.read() == b"2more\n"
    assert {"new", "d/e/f", "var/x", "opq/in", "bin/sh"} <= names
    assert not names & {"etc/gone", "opq/old"}
    assert not any(name.startswith(("proc/", "sys/", "dev/")) for name in names)
    assert not any(".wh." in name for name in names)


async def test_an_image_is_made_of_it(either: interface.Engine, engine: Engine, base: str) -> None:
    container = await written(either, base)
    info = await either.containers.commit(
        container, "made:1", author="me", message="why", changes=['CMD ["sh", "-c", "cat /new"]', "ENV B=2"]
    )
    assert info.names == ("made:1",)
    details = await either.images.inspect("made:1")
    assert (details.author, details.comment) == ("me", "why")
    assert details.config.cmd == ("sh", "-c", "cat /new")
    assert {"A=1", "B=2"} <= set(details.config.env)
    assert details.config.labels == {"l": "1"}
    assert details.diff_ids[:2] == (await either.images.inspect(base)).diff_ids
    (step, *_) = await either.images.history("made:1")
    assert step.comment == "why"
    shown = made.shown(*engine.images.layers_of("made:1"))
    assert shown["new"] == b"new\n"
    assert shown["etc/kept"] == b"2more\n"
    assert set(shown) >= {"d/e/f", "opq/in", "var/x"}
    assert not set(shown) & {"etc/gone", "opq/old"}
    # What is made in every container to be mounted on is in no image.
    layer = Path(engine.images.layers_of("made:1")[0])
    assert sorted(os.listdir(layer)) == ["d", "etc", "new", "opq"]
    assert sorted(os.listdir(layer / "etc")) == ["gone", "kept"]
    # It is an image like any other: it runs without the one that it stands on, and is given away.
    await either.containers.remove(container)
    await either.images.remove(base)
    result = await either.containers.run(["/bin/sh", "-c", "read x < /new; echo $x"], image="made:1")
    assert result.stdout == b"new\n"
    data = await read(either.images.save(["made:1"]))
    assert (await engine.images.check()).problems == ()
    await either.images.remove("made:1")

    async def chunks() -> object:
        yield data

    (loaded,) = await either.images.load(chunks())  # type: ignore[arg-type]
    assert loaded.id == info.id


async def test_a_running_container_stands_still_meanwhile_and_goes_on(engine: Engine, base: str) -> None:
    # Two files that always say the same, but between two writes.
    script = "n=0; while :; do n=$((n+1)); echo $n > /tmp/a; echo $n > /tmp/b; done"
    created = await engine.containers.create(["/bin/sh", "-c", script], image=base)
    await engine.containers.start(created.id)
    await trio.sleep(0.3)
    for number in range(3):
        await engine.containers.commit(created.id, f"still:{number}")
        shown = made.shown(*engine.images.layers_of(f"still:{number}"))
        first, second = shown["tmp/a"], shown["tmp/b"]
        # Empty: between its opening and its writing.
        if first and second:
            assert int(first) - int(second) in (0, 1), "they are of different moments"
    before = (await engine.containers.inspect(created.id)).status
    assert before == "running"
    await engine.containers.commit(created.id, "moving", pause=False)
    # It goes on: what it has written is another number by and by.
    await trio.sleep(0.2)
    await engine.containers.commit(created.id, "later")
    assert newest(engine, "later") > newest(engine, "still:0")
    await engine.containers.remove(created.id, force=True)


def newest(engine: Engine, image: str) -> int:
    shown = made.shown(*engine.images.layers_of(image))
    return max(int(shown[name] or b"0") for name in ("tmp/a", "tmp/b"))


async def test_what_cannot_be_committed_says_why(engine: Engine, rootfs: str, base: str) -> None:
    bare = await engine.containers.create(["true"], rootfs=rootfs)
    with pytest.raises(ardock.InvalidArgument, match="export it, and import that"):
        await engine.containers.commit(bare.id, "x")
    memory = await engine.containers.create(["sh"], image=base, scratch="memory")
    with pytest.raises(ardock.Unsupported, match="writes to memory"):
        await engine.containers.commit(memory.id, "x")
    kept = await engine.containers.create(["sh"], image=base)
    with pytest.raises(ardock.InvalidArgument, match="changes"):
        await engine.containers.commit(kept.id, "x", changes=["RUN x"])
    with pytest.raises(ardock.InvalidArgument):
        await engine.containers.commit(kept.id, "UPPER")
    # One that has never run has written nothing: its image has a layer without anything.
    info = await engine.containers.commit(kept.id, "empty")
    assert made.shown(engine.images.layers_of(info.id)[0]) == {}


async def test_a_rootfs_container_is_compared_and_exported(engine: Engine, rootfs: str) -> None:
    created = await engine.containers.create(["sh", "-c", "echo x > /made"], rootfs=rootfs)
    await engine.containers.start(created.id)
    await engine.containers.wait(created.id)
    assert Change("A", "/made") in await engine.containers.diff(created.id)
    with tarfile.open(fileobj=io.BytesIO(await read(engine.containers.export(created.id)))) as tar:
        assert {"made", "bin/busybox"} <= set(tar.getnames())


async def test_room_is_told(engine: Engine, base: str) -> None:
    container = await written(engine, base)
    usage = await engine.disk_usage()
    assert [line.users for line in usage.images] == [1]
    assert usage.layers_size == usage.images[0].size > 1_000_000
    assert usage.blobs_size > 0
    assert [(line.id, line.users) for line in usage.containers] == [(container, 0)]
    assert 0 < usage.containers[0].size < 1000
