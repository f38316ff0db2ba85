# ruff: noqa: ASYNC221, ASYNC240 - a test may wait for small local files and programs
"""Bad input is a clear error with its code, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

import ardock
from ardock import Mount
from ardock.engine import Engine, own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders

CASES: list[tuple[str, dict[str, object], str, str]] = [
    ("no root", {"rootfs": None}, "invalid_argument", "rootfs: give the directory"),
    ("missing root", {"rootfs": "/nonexistent"}, "not_found", "rootfs: /nonexistent: No such file or directory"),
    ("file as root", {"rootfs": "/etc/passwd"}, "not_found", "rootfs: /etc/passwd: Not a directory"),
    ("relative root", {"rootfs": "relative"}, "invalid_argument", "rootfs: 'relative' is not an absolute path"),
    ("root with a NUL", {"rootfs": "/a\0b"}, "invalid_argument", "rootfs: "),
    ("root and layers", {"layers": ["/"]}, "invalid_argument", "rootfs: give one of rootfs"),
    ("memory string", {"memory": "lots"}, "invalid_argument", "memory: invalid size 'lots'"),
    ("memory under the minimum", {"memory": "1m"}, "invalid_argument", "memory: minimum memory limit allowed is 4m"),
    ("too many cpus", {"cpus": 1000}, "invalid_argument", "cpus: range of CPUs is from 0.01"),
    ("unknown user", {"user": "nosuch"}, "not_found", "user: "),
    ("unknown group", {"user": "root:nosuch"}, "not_found", "user: "),
    ("unknown option", {"nosuch": 1}, "invalid_argument", "unknown option"),
    ("wrong type", {"memory": 1.5}, "invalid_argument", "memory: expected"),
    ("wrong type within", {"mounts": [{"target": 1}]}, "invalid_argument", "mounts: expected str"),
    ("missing bind source", {"mounts": [Mount(source="/nonexistent", target="/x")]}, "not_found", "mounts: "),
    ("relative bind source", {"mounts": [Mount(source="x", target="/x")]}, "invalid_argument", "mounts: "),
    ("relative target", {"mounts": [Mount(source="/etc", target="x")]}, "invalid_argument", "mounts: .* must be absolute"),
    ("dots in the target", {"mounts": [Mount(source="/etc", target="/a/../b")]}, "invalid_argument", "mounts: "),
    ("target in proc", {"mounts": [Mount(source="/etc", target="/proc/self")]}, "invalid_argument", "mounts: .* inside /proc"),
    ("unknown capability", {"cap_add": ["NOSUCH"]}, "invalid_argument", "cap_add: unknown capability"),
    ("missing profile", {"seccomp": "/nonexistent"}, "not_found", "seccomp: opening seccomp profile"),
    ("bad profile", {"seccomp": "/etc/passwd"}, "invalid_argument", "seccomp: "),
    ("no device", {"devices": [ardock.Device(source="/etc/passwd", target="/dev/x")]}, "invalid_argument", "devices: "),
    ("missing device", {"devices": [ardock.Device(source="/dev/nosuch")]}, "not_found", "devices: /dev/nosuch: "),
    ("many mounts", {"mounts": [Mount(source="/etc", target=f"/x{n}") for n in range(70)]}, "invalid_argument", "mounts: "),
]  # fmt: skip


@pytest.mark.parametrize(("options", "code", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_bad_options(engine: Engine, rootfs: str, options: dict[str, object], code: str, message: str) -> None:
    await engine.containers.run(["true"], rootfs=rootfs)
    before = leftovers.descriptors()
    with pytest.raises(ardock.ArdockError, match=f"^{message}") as caught:
        await engine.containers.run(["true"], **{"rootfs": rootfs, **options})  # type: ignore[arg-type]
    assert caught.value.code == code
    assert "\n" not in caught.value.message
    assert leftovers.descriptors() <= before
    assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0


@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        (["nonexistent"], "command_not_found", 127),
        (["/bin/nonexistent"], "command_not_found", 127),
        (["/bin/data"], "command_not_executable", 126),
        (["/bin"], "command_not_executable", 126),
        ([], "invalid_argument", 125),
        ([""], "invalid_argument", 125),
        (["a\0b"], "invalid_argument", 125),
        ("true", "invalid_argument", 125),
        (["true", "x" * 200_000], "invalid_argument", 125),
        (["true", *["x" * 100_000] * 200], "invalid_argument", 125),
        (["true", *["x" * 100_000] * 100], "invalid_argument", 125),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_commands_that_cannot_be_run(
    engine: Engine, rootfs: str, argv: list[str], code: str, exit_code: int
) -> None:
    with pytest.raises(ardock.ArdockError) as caught:
        await engine.containers.run(argv, rootfs=rootfs)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code), caught.value
    assert "\n" not in caught.value.message


async def test_a_script_without_shebang_is_not_executable(engine: Engine, busybox_root: Path, rootfs: str) -> None:
    script = busybox_root / "bin" / "script"
    script.write_text("echo hi\n")
    script.chmod(0o755)
    with pytest.raises(ardock.CommandNotExecutable, match="script"):
        await engine.containers.run(["script"], rootfs=rootfs)


async def test_targets_through_symlinks_stay_inside_the_root(
    engine: Engine, busybox_root: Path, tmp_path: Path
) -> None:
    import shutil

    own = tmp_path / "own"
    shutil.copytree(busybox_root, own, symlinks=True)
    (own / "out").symlink_to("/../../../../tmp")
    (own / "abs").symlink_to("/tmp")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "x").touch()
    for target in ("/out/ardock-test-target", "/abs/ardock-test-target"):
        result = await engine.containers.run(
            ["ls", "/tmp/ardock-test-target"],
            rootfs=str(own),
            mounts=[Mount(source=str(tmp_path / "src"), target=target)],
        )
        assert result.stdout == b"x\n"
        assert not Path("/tmp/ardock-test-target").exists()


async def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "file").touch()
    for root, run_dir in ((tmp_path / "file" / "x", tmp_path / "run"), (tmp_path / "root", tmp_path / "file")):
        with pytest.raises(ardock.FolderUnusable, match="file"):
            async with own_engine(root, run_dir):
                pass
    (tmp_path / "root" / "engine-id").write_text("rubbish")
    with pytest.raises(ardock.FolderUnusable, match="engine-id: damaged"):
        async with own_engine(tmp_path / "root", tmp_path / "run"):
            pass


async def test_a_full_disk_is_said_to_be(tmp_path: Path, rootfs: str, engine_ids: set[str]) -> None:
    import subprocess

    if os.geteuid() != 0:
        pytest.skip("needs root")
    root = tmp_path / "small"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "none", str(root)], check=True)
    try:
        async with own_engine(root, tmp_path / "run") as engine:
            engine_ids.add(engine.id)
            await engine.containers.run(["true"], rootfs=rootfs)
            # Its scratch goes in the background, and would make room again.
            await leftovers.no_containers(engine.id, root)
            made = []
            with contextlib.suppress(OSError):
                for number in range(100):
                    (root / f"fill{number}").touch()
                    made.append(root / f"fill{number}")
            with pytest.raises(ardock.LaunchFailed, match="No space left on device"):
                await engine.containers.run(["true"], rootfs=rootfs)
            for path in made:
                path.unlink()
            assert (await engine.containers.run(["true"], rootfs=rootfs)).exit_code == 0
            await leftovers.no_containers(engine.id, root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


async def test_a_closed_engine_says_so(folders: Folders, rootfs: str) -> None:
    async with own_engine(**folders) as engine:
        pass
    with pytest.raises(ardock.EngineClosed):
        await engine.containers.run(["true"], rootfs=rootfs)
    with pytest.raises(ardock.EngineClosed):
        async for _ in engine.containers.run_many([ardock.ContainerSpec(argv=("true",), rootfs=rootfs)]):
            pass
