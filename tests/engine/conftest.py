"""An engine with folders of its own for each test, and a look at what is left of it all in the end."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import ardock
from ardock import interface
from ardock.engine import Engine, own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here that asks for an engine makes containers."""
    for item in items:
        if "folders" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def engine_ids() -> Iterator[set[str]]:
    """Ids of the engines that were opened; in the end nothing of them may be left in the kernel."""
    ids: set[str] = set()
    yield ids
    # A keeper without engine and container ends by itself after some seconds.
    deadline = time.monotonic() + 30
    left = leftovers.in_kernel(ids)
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = leftovers.in_kernel(ids)
    assert left == [], "\n".join(left)


@pytest.fixture
def folders(tmp_path: Path, engine_ids: set[str]) -> Iterator[Folders]:
    """Arguments of `open_engine`: folders of this test's own."""
    yield Folders(root=tmp_path / "root", run_dir=tmp_path / "run")
    identity = tmp_path / "root" / "engine-id"
    if identity.exists():
        engine_ids.add(identity.read_text().strip())


@pytest.fixture
async def engine(folders: Folders) -> AsyncIterator[Engine]:
    """An engine; when the test is over, no container of it is left, nor a mount, nor a descriptor."""
    mounts = leftovers.mounts()
    async with own_engine(**folders) as opened:
        yield opened
        # What is kept goes on after its engine on purpose.
        for one in (await opened.containers.list(all=True)).containers:
            with contextlib.suppress(ardock.NotFound):
                await opened.containers.remove(one.id, force=True)
        identity = opened.id
    await leftovers.no_containers(identity, folders["root"])
    assert leftovers.mounts() == mounts


@pytest.fixture
def rootfs(busybox_root: Path) -> str:
    """The busybox root as `rootfs`."""
    return str(busybox_root)


@pytest.fixture
def clean_rootfs(busybox_root: Path, tmp_path: Path) -> str:
    """A busybox root of the test's own, as it was made: in the shared one containers without scratch have left mount points."""
    own = tmp_path / "clean-root"
    shutil.copytree(busybox_root, own, symlinks=True)
    for left in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):
        (own / left).unlink(missing_ok=True)
    for left in ("dev", "proc", "sys"):
        if (own / left).exists():
            (own / left).rmdir()
    return str(own)


@pytest.fixture(params=["own", "remote"])
async def either(request: pytest.FixtureRequest, engine: Engine) -> AsyncIterator[interface.Engine]:
    """The same interface in this process, and over its socket."""
    if request.param == "own":
        yield engine
        return
    from ardock.server import serving

    async with serving(engine), ardock.connect(engine.socket) as remote:
        yield remote
