"""ardock in a container of ardock: it runs where the outer one is privileged, and says what it lacks where not."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

import ardock as package
from ardock.engine import Engine
from ardock.engine.host import Host, find_cgroups
from ardock.model.records import RunResult
from ardock.model.spec import Mount

pytestmark = pytest.mark.root

CGROUPS = find_cgroups(Host())
# An emulator takes its time for two engines.
TIMEOUT = 150.0


def mount_point(path: Path) -> str:
    """Where the file system of a path is mounted."""
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return str(path)


def inside(*commands: str) -> list[str]:
    """A shell that runs ardock on folders of its own, in a view of this machine's root."""
    folder = "/var/tmp/inner"
    words = [sys.executable, "-m", "ardock.cli", "--root", f"{folder}/root", "--run-dir", f"{folder}/run"]
    begin = f'ardock() {{ {shlex.join(words)} "$@"; }}; export COLUMNS=200 PATH={shlex.quote(os.environ["PATH"])}'
    return ["/bin/sh", "-c", "\n".join([begin, *commands])]


async def run(engine: Engine, rootfs: str, *commands: str, privileged: bool) -> RunResult:
    """Run commands in a container that sees this machine, its Python and the tests' root file system."""
    needed = [Path(sys.prefix), Path(sys.base_prefix), Path(package.__file__), Path(rootfs)]
    others = dict.fromkeys(point for point in map(mount_point, needed) if point != "/")
    return await engine.containers.run(
        inside(*commands),
        rootfs="/",
        scratch="memory",
        privileged=privileged,
        memory="1g" if CGROUPS.has("memory") else None,
        mounts=tuple(Mount(source=point, target=point, read_only=True) for point in others),
        timeout=TIMEOUT,
    )


def words(result: RunResult) -> str:
    """All that was said, as it was before lines were wrapped."""
    return " ".join((result.stdout + result.stderr).decode().split())


@pytest.mark.timeout(200)
async def test_container_in_a_privileged_container(engine: Engine, rootfs: str) -> None:
    """With scratch in memory: the outer root is an overlay, on which another's writes cannot lie."""
    limit = "--memory 64m" if CGROUPS.has("memory") else ""
    shown = "/sys/fs/cgroup/memory.max" if CGROUPS.version == 2 else "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    result = await run(
        engine,
        rootfs,
        f"ardock run --scratch memory --rootfs {rootfs} echo runs",
        f"ardock run --scratch memory {limit} --rootfs {rootfs} cat {shown}",
        f"ardock run --rootfs {rootfs} echo on disk",
        privileged=True,
    )
    lines = result.stdout.decode().splitlines()
    assert lines[:1] == ["runs"], result
    if limit:
        assert lines[1:] == [str(64 << 20)], result
    assert "an overlay takes no scratch on another overlay" in words(result)


@pytest.mark.timeout(200)
async def test_doctor_in_a_privileged_container_finds_all_but_a_place_for_scratch(engine: Engine, rootfs: str) -> None:
    result = await run(engine, rootfs, "ardock doctor", privileged=True)
    told = words(result)
    failed = [line.split()[1:3] for line in result.stdout.decode().splitlines() if line.startswith("  failed")]
    assert failed == [["root", "folder"]], told
    assert "--scratch memory" in told


@pytest.mark.timeout(200)
async def test_container_in_a_container_without_privileges(engine: Engine, rootfs: str) -> None:
    """`doctor` names each right that is missing and --privileged, and the engine refuses before anything is made."""
    result = await run(
        engine,
        rootfs,
        "ardock doctor",
        f"ardock run --scratch memory --rootfs {rootfs} echo runs",
        privileged=False,
    )
    told = words(result)
    assert "CAP_SYS_ADMIN (namespaces and mounts are made)" in told
    assert "a seccomp filter, which every container would inherit" in told
    assert "read-only: /sys/fs/cgroup" in told
    assert "--privileged" in told
    assert result.exit_code == 125, result
    assert b"runs" not in result.stdout
    assert "ardock:" in result.stderr.decode()
