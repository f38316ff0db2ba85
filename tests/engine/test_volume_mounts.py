# ruff: noqa: ASYNC240 - a test may look at small local files
"""Volumes with a file system of their own, directories of the host's, and paths within volumes: mounted and unmounted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

import ardock
from ardock import Mount, interface
from ardock.engine import Engine, own_engine
from ardock.model.events import Cursor, Event
from tests.engine import leftovers
from tests.engine.folders import Folders

pytestmark = pytest.mark.root

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=2m,mode=700,noexec"}


def at(target: str, source: str = "", **more: object) -> Mount:
    return Mount(type="volume", source=source, target=target, **more)  # type: ignore[arg-type]


async def output(engine: interface.Engine, rootfs: str, script: str, *mounts: Mount) -> str:
    result = await engine.containers.run(["sh", "-c", script], rootfs=rootfs, mounts=mounts)
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()


async def kept(engine: interface.Engine, rootfs: str, *mounts: Mount, script: str = "sleep 1000") -> str:
    created = await engine.containers.create(["sh", "-c", script], rootfs=rootfs, mounts=mounts)
    await engine.containers.start(created.id)
    return created.id


async def told(engine: interface.Engine, container_id: str, script: str) -> str:
    result = await engine.containers.exec_run(container_id, ["sh", "-c", script])
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode()


# A file system of its own


async def test_a_tmpfs_is_one_for_all_that_use_it_and_gone_with_the_last(either: interface.Engine, rootfs: str) -> None:
    before = leftovers.mounts()
    await either.volumes.create("fast", options=TMPFS)
    first = await kept(either, rootfs, at("/a", "fast"))
    await told(either, first, "echo hello > /a/file")
    second = await kept(either, rootfs, at("/b", "fast", read_only=True))
    shown = await told(either, second, "cat /b/file; grep ' /b ' /proc/self/mounts")
    assert shown.startswith("hello\ntmpfs /b tmpfs ro,noexec,relatime,size=2048k,mode=700")
    assert await output(
        either, rootfs, "dd if=/dev/zero of=/c/big bs=1M count=4 2>&1 || true; ls -s /c/big", at("/c", "fast")
    )
    # Nothing of it is to be seen on the host.
    assert leftovers.mounts() == before
    assert list(Path((await either.volumes.inspect("fast")).mountpoint).iterdir()) == []
    for one in (first, second):
        await either.containers.remove(one, force=True)
    assert await output(either, rootfs, "ls -A /a", at("/a", "fast")) == ""
    await either.volumes.remove("fast")


async def test_a_container_that_is_started_again_has_it_again(engine: Engine, rootfs: str) -> None:
    await engine.volumes.create("fast", options=TMPFS)
    created = await engine.containers.create(
        ["sh", "-c", "ls -A /a; echo x > /a/x"], rootfs=rootfs, mounts=[at("/a", "fast")]
    )
    for _ in range(2):
        await engine.containers.start(created.id)
        assert (await engine.containers.wait(created.id)).exit_code == 0
    async with engine.containers.logs(created.id) as items:
        assert [item async for item in items] == []
    await engine.containers.remove(created.id)
    await engine.volumes.remove("fast")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"type": "tmpfs", "device": "tmpfs", "o": "colour=blue"}, "the option 'colour=blue'"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=many"}, "size=many"),
        ({"type": "nosuchfs", "device": "x"}, 'this kernel has no file system "nosuchfs"'),
        ({"type": "ext4", "device": "/absent"}, "/absent"),
        ({"type": "nfs", "device": ":/export", "o": "addr=127.0.0.1,rw,nfsvers=4"}, "nfs"),
        ({"type": "none", "device": "/absent", "o": "bind"}, "/absent"),
    ],
)
async def test_what_the_kernel_refuses_is_told_and_leaves_nothing(
    engine: Engine, rootfs: str, options: dict[str, str], sentence: str
) -> None:
    await engine.volumes.create("odd", options=options)
    with trio.fail_after(20), pytest.raises(ardock.ArdockError) as caught:
        await engine.containers.run(["true"], rootfs=rootfs, mounts=[at("/a", "odd")])
    assert sentence.replace("'", '"') in caught.value.message
    assert "volume odd" in caught.value.message
    with trio.fail_after(20), pytest.raises(ardock.ArdockError):
        await engine.containers.create(["true"], rootfs=rootfs, mounts=[at("/a", "odd")])
    assert (await engine.containers.list(all=True)).containers == []
    await engine.volumes.remove("odd")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"colour": "blue"}, "invalid option 'colour'"),
        ({"type": "tmpfs"}, "missing required option 'device'"),
        ({"device": "tmpfs"}, "missing required option 'type'"),
        ({"type": "none", "device": "/srv"}, "give o=bind"),
        ({"type": "none", "device": "srv", "o": "bind"}, "not an absolute path"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "remount"}, "o=remount"),
        ({"type": "none", "device": "/srv", "o": "bind,size=1m"}, "o=size=1m"),
    ],
)
async def test_options_that_are_none_are_refused_when_it_is_made(
    either: interface.Engine, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ardock.InvalidArgument) as caught:
        await either.volumes.create("odd", options=options)
    assert sentence in caught.value.message
    assert await either.volumes.list() == []


async def test_a_size_of_a_directory_is_refused(engine: Engine) -> None:
    with pytest.raises(ardock.Unsupported, match="give type=tmpfs"):
        await engine.volumes.create("odd", options={"size": "1m"})


async def test_the_same_name_with_other_options_is_another_volume(either: interface.Engine, rootfs: str) -> None:
    made = await either.volumes.create("fast", options=TMPFS)
    assert await either.volumes.create("fast") == made
    assert await either.volumes.create("fast", options=TMPFS) == made
    with pytest.raises(ardock.Conflict, match="with other options"):
        await either.volumes.create("fast", options={**TMPFS, "o": "size=1m"})
    mount = at("/a", "made-here", driver="local", driver_options=TMPFS, labels={"x": "y"})
    assert "size=2048k" in await output(either, rootfs, "grep ' /a ' /proc/self/mounts", mount)
    info = await either.volumes.inspect("made-here")
    assert (info.options, info.labels) == (TMPFS, {"x": "y"})
    for name in ("fast", "made-here"):
        await either.volumes.remove(name)


async def test_a_block_device_is_mounted_and_unmounted(engine: Engine, rootfs: str, tmp_path: Path) -> None:
    if shutil.which("mkfs.ext4") is None or shutil.which("losetup") is None:
        pytest.skip("no mkfs.ext4 or losetup")
    image = tmp_path / "disk"
    image.write_bytes(b"")
    os.truncate(image, 16 << 20)
    await trio.run_process(["mkfs.ext4", "-q", str(image)])
    loop = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    if loop.returncode != 0:
        pytest.skip(f"no loop device: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    try:
        await engine.volumes.create("disk", options={"type": "ext4", "device": device, "o": "nodev,data=ordered"})
        await output(engine, rootfs, "echo kept > /d/file", at("/d", "disk"))
        assert await output(engine, rootfs, "cat /x/file", at("/x", "disk", read_only=True)) == "kept\n"
        # The kernel has let go of the device.
        with trio.fail_after(10):
            while Path(f"/proc/fs/ext4/{Path(device).name}").exists():  # noqa: ASYNC110 - the kernel's
                await trio.sleep(0.02)
        await engine.volumes.remove("disk")
    finally:
        subprocess.run(["losetup", "-d", device], check=False)  # noqa: ASYNC221


async def test_the_next_engine_has_the_same_tmpfs(folders: Folders, rootfs: str) -> None:
    """A tmpfs has no name but its mounts: it is had from the container that shows it."""
    async with own_engine(**folders) as first:
        await first.volumes.create("fast", options=TMPFS)
        one = await kept(first, rootfs, at("/tmp/deep/er", "fast", read_only=True), at("/a", "fast"))
        await told(first, one, "echo mine > /a/file")
    async with own_engine(**folders) as second:
        assert await output(second, rootfs, "cat /b/file; echo more >> /b/file", at("/b", "fast")) == "mine\n"
        assert await told(second, one, "cat /a/file") == "mine\nmore\n"
        await second.containers.remove(one, force=True)
        assert await output(second, rootfs, "ls -A /b", at("/b", "fast")) == ""
        await second.volumes.remove("fast")
        await leftovers.no_containers(second.id, second.root)


# Directories of the host's


async def test_a_directory_of_the_hosts(either: interface.Engine, rootfs: str, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    await either.volumes.create("host", options={"type": "none", "device": str(host), "o": "bind"})
    await output(either, rootfs, "echo x > /d/x", at("/d", "host"))
    assert (host / "x").read_text() == "x\n"
    await either.volumes.create("host-ro", options={"type": "none", "device": str(host), "o": "bind,ro,nosuid"})
    shown = await output(either, rootfs, "touch /d/x 2>/dev/null; grep ' /d ' /proc/self/mounts", at("/d", "host-ro"))
    assert {"ro", "nosuid"} <= set(shown.split()[3].split(","))
    for name in ("host", "host-ro"):
        await either.volumes.remove(name)
    assert (host / "x").exists()


# Paths within a volume


async def test_a_path_within_a_volume(either: interface.Engine, rootfs: str) -> None:
    await output(either, rootfs, "mkdir -p /d/a/b; echo deep > /d/a/b/file; ln -s a/b /d/link", at("/d", "tree"))
    for subpath in ("a/b", "link", "./a/b/"):
        assert await output(either, rootfs, "cat /x/file", at("/x", "tree", subpath=subpath)) == "deep\n"
    assert await output(either, rootfs, "cat /x", at("/x", "tree", subpath="a/b/file")) == "deep\n"
    await either.volumes.remove("tree")


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("subpath", "kind"),
    [
        ("../up", ardock.InvalidArgument),
        ("/etc", ardock.InvalidArgument),
        ("absolute", ardock.InvalidArgument),
        ("up", ardock.InvalidArgument),
        ("up/etc/passwd", ardock.InvalidArgument),
        ("inner/up", ardock.InvalidArgument),
        ("absent", ardock.NotFound),
        ("proc", ardock.InvalidArgument),
    ],
)
async def test_no_path_leads_out_of_a_volume(
    engine: Engine, rootfs: str, subpath: str, kind: type[ardock.ArdockError], fast: bool
) -> None:
    if fast:
        await engine.volumes.create("tree", options=TMPFS)
    links = "ln -s /etc /d/absolute; ln -s ../.. /d/up; mkdir /d/inner; ln -s ../../.. /d/inner/up; ln -s /proc/self/root /d/proc"
    one = await kept(engine, rootfs, at("/d", "tree"), script=f"{links}; sleep 1000")
    with trio.fail_after(5):
        while (await engine.containers.exec_run(one, ["test", "-L", "/d/proc"])).exit_code:  # noqa: ASYNC110
            await trio.sleep(0.01)
    with pytest.raises(kind) as caught:
        await engine.containers.run(["true"], rootfs=rootfs, mounts=[at("/x", "tree", subpath=subpath)])
    assert subpath in caught.value.message
    await engine.containers.remove(one, force=True)
    await engine.volumes.remove("tree")


# Events


async def test_events_of_volumes_are_dockers(engine: Engine, rootfs: str) -> None:
    begin = await engine.events.cursor()
    await engine.volumes.create("data")
    created = await engine.containers.create(["true"], rootfs=rootfs, mounts=[at("/d", "data", read_only=True)])
    await engine.containers.start(created.id)
    await engine.containers.wait(created.id)
    await engine.containers.remove(created.id)
    await engine.volumes.remove("data")
    seen: list[tuple[str, str, dict[str, str]]] = []
    async with engine.events.subscribe(since=Cursor(begin.epoch, begin.seq), filters={"type": ("volume",)}) as events:
        async for event in events:
            assert isinstance(event, Event)
            seen.append((event.action, event.id, event.attributes))
            if event.action == "destroy":
                break
    assert seen == [
        ("create", "data", {"driver": "local"}),
        (
            "mount",
            "data",
            {"driver": "local", "container": created.id, "destination": "/d", "propagation": "", "read/write": "false"},
        ),
        ("unmount", "data", {"driver": "local", "container": created.id}),
        ("destroy", "data", {"driver": "local"}),
    ]


# Binds


@pytest.mark.parametrize(("recursive", "inner"), [(None, "ro"), (False, "rw"), (True, "ro")])
async def test_what_is_mounted_beneath_a_read_only_bind(
    engine: Engine, rootfs: str, tmp_path: Path, recursive: bool | None, inner: str
) -> None:
    (tmp_path / "s" / "inner").mkdir(parents=True)
    mount: Sequence[str] = ["mount", "-t", "tmpfs", "none", str(tmp_path / "s" / "inner")]
    await trio.run_process(mount)
    try:
        bind = Mount(source=str(tmp_path / "s"), target="/s", read_only=True, read_only_recursive=recursive)
        shown = await output(engine, rootfs, "grep ' /s[ /]' /proc/self/mounts", bind)
        assert [line.split()[3].split(",")[0] for line in shown.splitlines()] == ["ro", inner]
    finally:
        await trio.run_process(["umount", str(tmp_path / "s" / "inner")])
