# ruff: noqa: ASYNC240 - a test may look at small local files
"""Volumes: made, found, mounted, filled from images, in use, removed; with containers and by themselves."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

import ardock
from ardock import ContainerSpec, Mount, interface
from ardock._core import CancelFlag
from ardock.engine import Engine, own_engine
from ardock.engine.volumes.copying import Content, fill
from ardock.model.volume import ANONYMOUS_LABEL
from tests.engine.folders import Folders

pytestmark = pytest.mark.root


@pytest.fixture
def rootfs(clean_rootfs: str) -> str:
    """What is in an image of it is counted here."""
    return clean_rootfs


def at(target: str, source: str = "", **more: object) -> Mount:
    return Mount(type="volume", source=source, target=target, **more)  # type: ignore[arg-type]


def there(engine_root: Path) -> list[str]:
    return sorted(path.name for path in (engine_root / "volumes").iterdir())


async def names(engine: interface.Engine) -> list[str]:
    return [volume.name for volume in await engine.volumes.list()]


async def run(engine: interface.Engine, rootfs: str, script: str, *mounts: Mount) -> str:
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, mounts=mounts)
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()


# By themselves


async def test_a_volume_is_made_found_listed_and_removed(either: interface.Engine, folders: Folders) -> None:
    made = await either.volumes.create("data", labels={"a": "b"})
    assert (made.name, made.driver, made.labels, made.users) == ("data", "local", {"a": "b"}, ())
    assert made.mountpoint == str(folders["root"] / "volumes" / "data" / "_data")
    assert Path(made.mountpoint).stat().st_mode & 0o7777 == 0o755
    assert await either.volumes.create("data") == made
    assert await either.volumes.inspect("data") == made
    assert await either.volumes.list() == [made]
    await either.volumes.remove("data")
    assert (await either.volumes.list(), there(folders["root"])) == ([], [])
    with pytest.raises(ardock.NotFound, match="no such volume: 'data'"):
        await either.volumes.remove("data")
    await either.volumes.remove("data", force=True)


async def test_one_without_a_name_gets_docker_s_label(either: interface.Engine) -> None:
    made = await either.volumes.create(labels={"x": ""})
    assert len(made.name) == 64
    assert made.labels == {ANONYMOUS_LABEL: "", "x": ""}
    await either.volumes.remove(made.name)


@pytest.mark.parametrize("name", ["a", "-a", ".a", "a/b", "a b", "é", "a\0b", "a" * 300, ".."])
async def test_what_is_no_name_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(ardock.InvalidArgument) as caught:
        await engine.volumes.create(name)
    assert caught.value.field == "name"
    assert await engine.volumes.list() == []


@pytest.mark.parametrize(
    "mount",
    [
        at("/a", 12),  # type: ignore[arg-type] # the point of it
        at(3, "ab"),  # type: ignore[arg-type] # idem
        "x",
        at("/", "ab"),
        at("rel", "ab"),
        at("/a", "/ab"),
        at("/a", "ab", driver_options={"a": 1}),
        at("/a", "ab", labels=None),
        at("/a", "a\udc80b"),
        at("/a\udc80", "ab"),
        at("/a", "ab", subpath="\0"),
        at("/proc"),
    ],
)
async def test_a_mount_that_is_none_is_refused_and_leaves_no_anonymous_volume(
    engine: Engine, rootfs: str, mount: Mount
) -> None:
    spec = ContainerSpec(argv=("true",), rootfs=rootfs, mounts=(at("/anon"), mount))
    for call in (engine.containers.run, engine.containers.create, engine.containers.spawn):
        with trio.fail_after(10), pytest.raises(ardock.InvalidArgument):
            await call(spec)
    (result,) = [result async for result in engine.containers.run_many([spec])]
    assert isinstance(result.error, ardock.InvalidArgument)
    with trio.fail_after(10):
        while set(there(engine.root)) - {"ab"}:  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)


async def test_other_drivers_are_refused(engine: Engine) -> None:
    with pytest.raises(ardock.Unsupported, match="no volume driver 'nfs'"):
        await engine.volumes.create("data", driver="nfs")


# In containers


async def test_what_a_container_writes_the_next_one_reads(either: interface.Engine, rootfs: str) -> None:
    await run(either, rootfs, "echo hello > /data/file", at("/data", "one"))
    assert await run(either, rootfs, "cat /x/file", at("/x", "one", read_only=True)) == "hello\n"
    assert await run(either, rootfs, "touch /x/file 2>&1 || true", at("/x", "one", read_only=True)) != ""
    assert await names(either) == ["one"]
    await either.volumes.remove("one")


async def test_a_volume_in_use_stays_and_the_error_names_its_users(either: interface.Engine, rootfs: str) -> None:
    first = await either.containers.create(["true"], rootfs=rootfs, name="first", mounts=[at("/a", "shared")])
    second = await either.containers.create(["true"], rootfs=rootfs, name="second", mounts=[at("/b", "shared")])
    assert set((await either.volumes.inspect("shared")).users) == {first.id, second.id}
    with pytest.raises(ardock.Conflict) as caught:
        await either.volumes.remove("shared")
    assert f"{first.id[:12]} (first), {second.id[:12]} (second)" in caught.value.message
    with pytest.raises(ardock.Conflict):
        await either.volumes.remove("shared", force=True)
    await either.containers.remove(first.id)
    await either.containers.remove(second.id, volumes=True)
    assert await names(either) == ["shared"]
    await either.volumes.remove("shared")


async def test_an_anonymous_volume_goes_with_rm_and_with_a_thrown_away_container(
    either: interface.Engine, folders: Folders, rootfs: str
) -> None:
    await run(either, rootfs, "echo x > /data/x", at("/data"))
    with trio.fail_after(5):
        while there(folders["root"]):  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)
    kept = await either.containers.create(["true"], rootfs=rootfs, mounts=[at("/data")])
    (volume,) = await either.volumes.list()
    assert volume.labels == {ANONYMOUS_LABEL: ""}
    assert (await either.containers.inspect(kept.id)).spec.mounts == (at("/data", volume.name, anonymous=True),)
    await either.containers.remove(kept.id, volumes=True)
    assert await names(either) == []
    # Without -v it stays.
    kept = await either.containers.create(["true"], rootfs=rootfs, mounts=[at("/data")])
    await either.containers.remove(kept.id)
    (volume,) = await either.volumes.list()
    assert (await either.volumes.prune()).removed == [volume.name]
    assert there(folders["root"]) == []


async def test_volumes_outlive_their_engine(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as first:
        await run(first, rootfs, "echo kept > /d/f", at("/d", "one"))
        created = await first.containers.create(["true"], rootfs=rootfs, mounts=[at("/data")])
        before = await first.volumes.list()
    async with own_engine(**folders) as second:
        assert await second.volumes.list() == before
        assert await run(second, rootfs, "cat /d/f", at("/d", "one")) == "kept\n"
        await second.containers.remove(created.id, volumes=True)
        assert await names(second) == ["one"]
        await second.volumes.remove("one")


async def test_volumes_from_others(either: interface.Engine, rootfs: str, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    source = await either.containers.create(
        ["true"],
        rootfs=rootfs,
        name="source",
        mounts=[at("/data"), at("/named", "named"), Mount(source=str(tmp_path / "host"), target="/host")],
    )
    spec = ContainerSpec(
        argv=("sh", "-c", "echo x > /data/x; echo y > /named/y; touch /host/z"), rootfs=rootfs, volumes_from=("source",)
    )
    assert (await either.containers.run(spec)).exit_code == 0
    assert (tmp_path / "host" / "z").exists()
    # Another's place, an own mount there; and read-only.
    spec = ContainerSpec(
        argv=("sh", "-c", "ls /named /data; touch /data/y 2>/dev/null && echo writable"),
        rootfs=rootfs,
        volumes_from=("source:ro",),
        mounts=(at("/named", "other"),),
    )
    assert (await either.containers.run(spec)).stdout == b"/data:\nx\n\n/named:\n"
    other = await either.containers.create(["true"], rootfs=rootfs, volumes_from=["source:ro"])
    data, _, host = (await either.containers.inspect(other.id)).spec.mounts
    assert (data.type, data.read_only, data.anonymous, host.type, host.read_only) == (
        "volume",
        True,
        True,
        "bind",
        True,
    )
    # It goes with the last of them.
    await either.containers.remove(source.id, volumes=True)
    assert data.source in await names(either)
    await either.containers.remove(other.id, volumes=True)
    assert await names(either) == ["named", "other"]
    assert set((await either.volumes.prune(all=True)).removed) == {"named", "other"}
    with pytest.raises(ardock.NotFound, match="no such container: 'absent'"):
        await either.containers.create(["true"], rootfs=rootfs, volumes_from=["absent"])


async def test_what_fails_leaves_no_anonymous_volume(either: interface.Engine, folders: Folders, rootfs: str) -> None:
    mounts = [at("/data"), Mount(source="/absent", target="/x")]
    with pytest.raises(ardock.NotFound):
        await either.containers.create(["true"], rootfs=rootfs, mounts=mounts)
    with pytest.raises(ardock.NotFound):
        await either.containers.run(["true"], rootfs=rootfs, mounts=mounts)
    with pytest.raises(ardock.NotFound):
        await either.containers.spawn(["true"], rootfs=rootfs, mounts=mounts)
    with trio.fail_after(5):
        while there(folders["root"]):  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)
    assert await names(either) == []


async def test_spawn_takes_volumes(either: interface.Engine, rootfs: str) -> None:
    async with await either.containers.spawn(
        ["sh", "-c", "echo x > /d/x; cat /d/x"], rootfs=rootfs, mounts=[at("/d")]
    ) as running:
        assert running.stdout is not None
        assert await running.stdout.read_all() == b"x\n"


async def test_many_with_volumes(either: interface.Engine, folders: Folders, rootfs: str) -> None:
    specs = [
        ContainerSpec(
            argv=("sh", "-c", f"echo {number} >> /shared/all; echo {number} > /own/x; cat /own/*"),
            rootfs=rootfs,
            mounts=(at("/shared", "shared"), at("/own")) if number % 3 else (),
        )
        for number in range(90)
    ]
    specs.append(ContainerSpec(argv=("true",), rootfs=rootfs, mounts=(at("/x", "-bad-"),)))
    results = [result async for result in either.containers.run_many(specs, in_flight=20)]
    assert {result.index: result.stdout for result in results if result.exit_code == 0} == {
        number: f"{number}\n".encode() for number in range(90) if number % 3
    }
    (bad,) = [result for result in results if result.index == 90]
    assert isinstance(bad.error, ardock.InvalidArgument)
    assert len(results) == 91
    path = Path((await either.volumes.inspect("shared")).mountpoint) / "all"
    assert len(path.read_text().splitlines()) == 60
    with trio.fail_after(10):
        while there(folders["root"]) != ["shared"]:  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)
    # The loop is left while volumes are being made.
    async with either.containers.run_many(specs) as batch:
        async for _ in batch:
            break
    with trio.fail_after(10):
        while there(folders["root"]) != ["shared"]:  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)
    await either.volumes.remove("shared")


# Filled from images


async def test_an_empty_volume_gets_what_the_image_has_there_once(
    either: interface.Engine, rootfs: str, tmp_path: Path
) -> None:
    await either.images.import_tree(rootfs, "busybox")
    containers = either.containers
    count = "ls /etc | wc -l"
    assert (await containers.run(["sh", "-c", count], image="busybox", mounts=[at("/etc", "etc")])).stdout == b"2\n"
    data = Path((await either.volumes.inspect("etc")).mountpoint)
    assert sorted(path.name for path in data.iterdir()) == ["group", "passwd"]
    (data / "passwd").unlink()
    assert (await containers.run(["sh", "-c", count], image="busybox", mounts=[at("/etc", "etc")])).stdout == b"1\n"
    result = await containers.run(["sh", "-c", count], image="busybox", mounts=[at("/etc", "no", no_copy=True)])
    assert result.stdout == b"0\n"
    await containers.run(["true"], image="busybox", mounts=[at("/tmp", "tmp")])
    assert Path((await either.volumes.inspect("tmp")).mountpoint).stat().st_mode & 0o7777 == 0o1777
    await either.volumes.prune(all=True)


async def test_volumes_of_an_images_config(
    either: interface.Engine, folders: Folders, rootfs: str, tmp_path: Path
) -> None:
    """Each becomes an anonymous volume with what the image has there, unless a mount is in its place."""
    source = tmp_path / "source"
    shutil.copytree(rootfs, source, symlinks=True)
    (source / "data").mkdir()
    (source / "data" / "file").write_text("of the image\n")
    await either.images.import_tree(source, "with-volumes", changes=["VOLUME /data /other/"])
    containers = either.containers
    spec = ContainerSpec(argv=("sh", "-c", "cat /data/file; echo x > /other/x; ls /other"), image="with-volumes")
    # Thrown away, in every way; the volumes go with it.
    assert (await containers.run(spec)).stdout == b"of the image\nx\n"
    results = [result async for result in containers.run_many([spec, spec])]
    assert [result.stdout for result in results] == [b"of the image\nx\n"] * 2, results
    async with await containers.spawn(spec) as running:
        assert running.stdout is not None
        assert await running.stdout.read_all() == b"of the image\nx\n"
    with trio.fail_after(10):
        while there(folders["root"]):  # noqa: ASYNC110 - on the disk
            await trio.sleep(0.01)
    # Kept.
    created = await containers.create(spec)
    mounts = (await containers.inspect(created.id)).spec.mounts
    assert [(mount.target, mount.anonymous) for mount in mounts] == [("/data", True), ("/other/", True)]
    for _ in range(2):
        await containers.start(created.id)
        assert (await containers.wait(created.id)).exit_code == 0
    # The same volumes, of another container's.
    result = await containers.run(
        ["sh", "-c", "cat /data/file /other/x"], image="with-volumes", volumes_from=[created.name]
    )
    assert result.stdout == b"of the image\nx\n"
    await containers.remove(created.id, volumes=True)
    assert await names(either) == []
    # A mount in the place of one, however that is written.
    created = await containers.create(spec, mounts=[at("/data/", "mine"), Mount(type="tmpfs", target="/other")])
    assert await names(either) == ["mine"]
    await containers.remove(created.id, volumes=True)
    assert await names(either) == ["mine"]
    await either.volumes.remove("mine")


def test_all_that_a_directory_of_an_image_holds_is_copied(tmp_path: Path) -> None:
    """Owners, modes, extended attributes, hard links, devices; merged as an overlay shows the layers."""
    top, base, data = tmp_path / "top", tmp_path / "base", tmp_path / "data"
    (base / "var" / "lib" / "sub").mkdir(parents=True)
    (top / "var" / "lib").mkdir(parents=True)
    data.mkdir()
    lib = base / "var" / "lib"
    for name in ("kept", "gone", "changed"):
        (lib / name).write_text(f"base {name}")
    os.link(lib / "kept", lib / "sub" / "same")
    os.chown(lib / "kept", 1000, 70_000)
    os.setxattr(lib / "kept", "user.note", b"a\0b")
    os.setxattr(lib / "kept", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    (lib / "link").symlink_to("../../etc")
    os.mkfifo(lib / "fifo")
    os.mknod(lib / "null", 0o20666, os.makedev(1, 3))
    os.mknod(top / "var" / "lib" / "gone", 0o20000, os.makedev(0, 0))
    (top / "var" / "lib" / "changed").write_text("top")
    (top / "var" / "lib").chmod(0o2750)
    os.chown(top / "var" / "lib", 7, 8)
    (base / "data").symlink_to("/var/lib")
    content = Content((str(top), str(base)), "overlay", "/data")
    fill(data, content, tmp_path / "aside", CancelFlag())
    assert not (tmp_path / "aside").exists()
    assert sorted(path.name for path in data.iterdir()) == ["changed", "fifo", "kept", "link", "null", "sub"]
    status = data.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2750, 7, 8)
    kept = (data / "kept").stat()
    assert (kept.st_uid, kept.st_gid, kept.st_nlink) == (1000, 70_000, 2)
    assert kept.st_ino == (data / "sub" / "same").stat().st_ino
    assert kept.st_mtime_ns == (lib / "kept").stat().st_mtime_ns
    assert os.getxattr(data / "kept", "user.note") == b"a\0b"
    assert os.getxattr(data / "kept", "security.capability") == os.getxattr(lib / "kept", "security.capability")
    assert (data / "changed").read_text() == "top"
    assert (data / "link").readlink() == Path("../../etc")
    assert (data / "null").stat().st_rdev == os.makedev(1, 3)
    # A second time nothing is done; nor where the image has no directory.
    (data / "kept").unlink()
    fill(data, content, tmp_path / "aside", CancelFlag())
    assert not (data / "kept").exists()
    (tmp_path / "empty").mkdir(mode=0o700)
    fill(tmp_path / "empty", Content((str(top), str(base)), "overlay", "/absent"), tmp_path / "aside", CancelFlag())
    assert list((tmp_path / "empty").iterdir()) == []


async def test_an_image_whose_content_is_copied_is_in_use(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(rootfs, source, symlinks=True)
    (source / "many").mkdir()
    for number in range(3000):
        (source / "many" / f"{number}").write_bytes(b"x")
    await engine.images.import_tree(source, "many")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(engine.containers.create, ["true"], image="many", mounts=[at("/many", "data")]))
        with trio.fail_after(5):
            while not there(folders := engine.root) or not (folders / "volumes" / "data" / "_data").is_dir():
                await trio.lowlevel.checkpoint()
        with pytest.raises(ardock.Conflict, match="uses it"):
            await engine.images.remove("many")
    assert len(os.listdir((await engine.volumes.inspect("data")).mountpoint)) == 3000
    for one in (await engine.containers.list(all=True)).containers:
        await engine.containers.remove(one.id)
    await engine.images.remove("many")
    await engine.volumes.remove("data")


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
async def test_what_the_layers_show_together_is_copied(folders: Folders, rootfs: str, driver: str) -> None:
    async with own_engine(**folders, storage_driver=driver) as engine:
        containers = engine.containers
        await engine.images.import_tree(rootfs, "base")
        script = "mkdir -p /etc/sub && rm /etc/group && echo new > /etc/sub/new && chmod 711 /etc"
        created = await containers.create(["sh", "-c", script], image="base")
        await containers.start(created.id)
        assert (await containers.wait(created.id)).exit_code == 0
        await containers.commit(created.id, "two")
        result = await containers.run(
            ["sh", "-c", "find /etc | sort; stat -c %a /etc"], image="two", mounts=[at("/etc", "etc")]
        )
        assert result.stdout == b"/etc\n/etc/passwd\n/etc/sub\n/etc/sub/new\n711\n", result.stderr
        await containers.remove(created.id)
        await engine.volumes.remove("etc")


async def test_filling_ends_soon_when_it_is_cancelled(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(rootfs, source, symlinks=True)
    (source / "many").mkdir()
    for number in range(3000):
        (source / "many" / f"{number}").write_bytes(os.urandom(2000))
    await engine.images.import_tree(source, "many")
    with trio.move_on_after(0.05) as scope:
        await engine.containers.create(["true"], image="many", mounts=[at("/many", "data"), at("/x")])
    assert scope.cancelled_caught
    assert await names(engine) in ([], ["data"])
    if await names(engine):
        assert list(Path((await engine.volumes.inspect("data")).mountpoint).iterdir()) == []
    # Whole the next time.
    done = await engine.containers.run(["sh", "-c", "ls /many | wc -l"], image="many", mounts=[at("/many", "data")])
    assert done.stdout == b"3000\n"
    await engine.volumes.remove("data")


async def test_a_volume_in_use_is_filled_in_place(engine: Engine, rootfs: str) -> None:
    await engine.images.import_tree(rootfs, "busybox")
    async with await engine.containers.spawn(["sleep", "100"], image="busybox", mounts=[at("/empty", "etc")]) as first:
        await engine.containers.run(["true"], image="busybox", mounts=[at("/etc", "etc")])
        shown = await engine.containers.exec_run(first.id, ["ls", "/empty"])
        assert shown.stdout == b"group\npasswd\n"
        assert (await engine.containers.exec_run(first.id, ["touch", "/empty/mine"])).exit_code == 0
    result = await engine.containers.run(["ls", "/etc"], image="busybox", mounts=[at("/etc", "etc")])
    assert b"mine" in result.stdout
    await engine.volumes.remove("etc")


async def test_two_at_once_fill_a_new_volume_once(engine: Engine, rootfs: str) -> None:
    await engine.images.import_tree(rootfs, "busybox")
    results: list[bytes] = []

    async def one() -> None:
        done = await engine.containers.run(
            ["sh", "-c", "ls /etc; rm /etc/group; sleep 0.1"], image="busybox", mounts=[at("/etc", "etc")]
        )
        results.append(done.stdout)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(one)
    assert b"group\npasswd\n" in results
    assert not (Path((await engine.volumes.inspect("etc")).mountpoint) / "group").exists()
    await engine.volumes.remove("etc")
