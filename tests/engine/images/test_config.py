"""An image's configuration, honoured where a container is made: in this process and over the socket, in every way to run one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

import ardock
from ardock import ContainerSpec
from ardock.engine import Engine as OwnEngine
from ardock.interface import Engine
from ardock.model.health import HealthCheck
from ardock.model.image import Progress

pytestmark = pytest.mark.root

CHANGES = (
    'ENTRYPOINT ["/bin/sh", "-c"]',
    'CMD ["id -un; pwd; echo $A $B $PATH; stat -c %F /data"]',
    "ENV A=image B=image PATH=/bin:/opt",
    "USER alice:staff",
    "WORKDIR /made/here",
    "VOLUME /data",
    "EXPOSE 80 53/udp",
    "LABEL a=image b=image",
    "STOPSIGNAL SIGUSR1",
    "HEALTHCHECK --interval=5s CMD true",
)
SAID = b"alice\n/made/here\nimage image /bin:/opt\ndirectory\n"


@pytest.fixture
async def images(either: Engine, busybox_root: Path) -> Engine:
    await either.images.import_tree(busybox_root, "box:v1", changes=CHANGES)
    await either.images.import_tree(busybox_root, "bare:v1")
    return either


async def test_a_run_of_nothing_but_the_image(images: Engine) -> None:
    result = await images.containers.run([], image="box:v1")
    assert (result.stdout, result.stderr, result.exit_code) == (SAID, b"", 0)
    results = [each async for each in images.containers.run_many([ContainerSpec(image="box:v1")] * 3)]
    assert [each.stdout for each in results] == [SAID] * 3
    async with await images.containers.spawn([], image="box:v1") as program:
        assert program.stdout is not None
        assert await program.stdout.read_all() == SAID
    # Their volumes go with them; a spawned one's when its end is written down.
    with trio.fail_after(10):
        while await images.volumes.list():  # noqa: ASYNC110 - what is waited for is the engine's own doing
            await trio.sleep(0.05)


@pytest.mark.parametrize(
    ("argv", "options", "said"),
    [
        (["echo $0 $1", "x", "y"], {}, b"x y\n"),
        (["echo", "word"], {"entrypoint": []}, b"word\n"),
        (["word"], {"entrypoint": ["echo"]}, b"word\n"),
        (["echo", "word"], {"entrypoint": [""]}, b"word\n"),
        (["echo $A $B $C"], {"env": {"A": "user", "C": "user"}}, b"user image user\n"),
        (["id -u; id -g"], {"user": "0"}, b"0\n0\n"),
        (["id -un; id -gn"], {}, b"alice\nstaff\n"),
        (["pwd"], {"cwd": "/elsewhere"}, b"/elsewhere\n"),
    ],
)
async def test_what_the_user_says_wins(
    images: Engine, argv: list[str], options: ardock.ContainerOptions, said: bytes
) -> None:
    options["image"] = "box:v1"
    result = await images.containers.run(argv, **options)
    assert (result.stdout, result.stderr) == (said, b"")


async def test_no_command(images: Engine) -> None:
    both: list[ardock.ContainerOptions] = [{"image": "bare:v1"}, {"image": "box:v1", "entrypoint": [""]}]
    for options in both:
        with pytest.raises(ardock.InvalidArgument, match="no command specified"):
            await images.containers.run([], **options)
        with pytest.raises(ardock.InvalidArgument, match="no command specified"):
            await images.containers.create([], **options)
    with pytest.raises(ardock.NotFound) as caught:
        await images.containers.create([], image="none:v1")
    assert caught.value.field == "image"
    (result,) = [each async for each in images.containers.run_many([ContainerSpec(image="none:v1")])]
    assert isinstance(result.error, ardock.NotFound)


async def test_a_kept_container_tells_what_it_got(images: Engine) -> None:
    made = await images.containers.create(
        ["trap 'exit 7' USR1; while :; do sleep 0.05; done"], image="box:v1", labels={"b": "user"}
    )
    spec = (await images.containers.inspect(made.id)).spec
    assert spec.command == ("/bin/sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.05; done")
    assert spec.env == {"A": "image", "B": "image", "PATH": "/bin:/opt"}
    assert (spec.user, spec.cwd, spec.stop_signal) == ("alice:staff", "/made/here", "SIGUSR1")
    assert spec.labels == {"a": "image", "b": "user"}
    assert set(spec.exposed_ports) == {"80/tcp", "53/udp"}
    assert spec.healthcheck == HealthCheck(test=("CMD-SHELL", "true"), interval=5_000_000_000)
    (volume,) = [mount for mount in spec.mounts if mount.anonymous]
    assert volume.target == "/data"
    await images.containers.start(made.id)
    # What is joined to it has its environment, user and folder.
    joined = await images.containers.exec_run(made.id, ["sh", "-c", "id -un; pwd; echo $A"])
    assert joined.stdout == b"alice\n/made/here\nimage\n"
    # It stops by the image's signal.
    await trio.sleep(0.2)
    await images.containers.stop(made.id, timeout=10)
    assert (await images.containers.wait(made.id)).exit_code == 7
    # The image may go or change: what the container got stays.
    listed = await images.containers.list(all=True)
    assert listed.containers[0].argv[0] == "/bin/sh"


async def test_a_name_that_moves_takes_the_next_container_along(images: Engine, busybox_root: Path) -> None:
    assert (await images.containers.run([], image="box:v1")).stdout == SAID
    await images.images.import_tree(busybox_root, "box:v1", changes=['CMD ["echo", "other"]'])
    assert (await images.containers.run([], image="box:v1")).stdout == b"other\n"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        await trio.lowlevel.checkpoint()
        yield data[start : start + 100_000]


async def test_an_image_s_way_through_every_call(images: Engine, tmp_path: Path) -> None:
    """Save, load, tag, history, commit, diff, export, prune, check, disk usage: the same here and over the socket."""
    before = await images.images.inspect("box:v1")
    made = await images.containers.create(["echo hi > /tmp/new; rm /home/../bin/vi"], image="box:v1", user="root")
    await images.containers.start(made.id)
    assert (await images.containers.wait(made.id)).exit_code == 0
    changes = {(each.kind, each.path) for each in await images.containers.diff(made.id)}
    assert {("A", "/tmp/new"), ("D", "/bin/vi"), ("C", "/tmp"), ("C", "/bin")} <= changes
    committed = await images.containers.commit(made.id, "box:v2", author="me", message="why", changes=["CMD x"])
    details = await images.images.inspect("box:v2")
    assert details.info == committed
    assert details.config.entrypoint == ("/bin/sh", "-c")
    assert details.config.cmd == ("/bin/sh", "-c", "x")
    assert (details.author, details.comment) == ("me", "why")
    assert details.diff_ids[:-1] == before.diff_ids
    history = await images.images.history("box:v2")
    assert (history[0].comment, len(history)) == ("why", 2)
    async with images.containers.export(made.id) as exported:
        assert b"tmp/new" in b"".join([piece async for piece in exported])
    await images.containers.remove(made.id)

    async with images.images.save(["box:v1", "box:v2"]) as saved:
        archive = b"".join([piece async for piece in saved])
    for name in ("box:v1", "box:v2", "bare:v1"):
        await images.images.remove(name)
    assert not await images.images.list()
    told: list[Progress] = []
    loaded = await images.images.load(pieces(archive), progress=told.append)
    assert [each.names for each in loaded] == [("box:v1",), ("box:v2",)]
    assert told
    assert (await images.images.inspect("box:v2")).diff_ids == details.diff_ids
    (tmp_path / "a.tar").write_bytes(archive)
    assert [each.id for each in await images.images.load(tmp_path / "a.tar")] == [each.id for each in loaded]

    await images.images.tag("box:v2", "other:x")
    assert set((await images.images.inspect("other:x")).info.names) == {"box:v2", "other:x"}
    usage = await images.disk_usage()
    assert len(usage.images) == 2
    assert (await images.images.check()).problems == ()
    pruned = await images.images.prune(all=True)
    assert pruned.space > 0
    assert not await images.images.list()


async def test_a_name_that_moves_while_volumes_are_made(
    engine: OwnEngine, busybox_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is of the image that its volumes and its configuration are of."""
    first = await engine.images.import_tree(busybox_root, "box:v1", changes=CHANGES)
    volumes = engine.containers._volumes
    prepare = volumes.prepare

    async def slow(*given: Any) -> Any:  # noqa: ANN401 - handed on
        await engine.images.import_tree(busybox_root, "box:v1", changes=['CMD ["echo", "other"]'])
        return await prepare(*given)

    monkeypatch.setattr(volumes, "prepare", slow)
    made = await engine.containers.create([], image="box:v1")
    container = await engine.containers.inspect(made.id)
    assert (container.image_id, container.spec.user) == (first.id, "alice:staff")
