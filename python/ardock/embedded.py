"""`open_engine`: containers for a program, whether or not somebody owns the root folder already."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from ardock.client import connect
from ardock.engine.engine import DEFAULT_ROOT, DEFAULT_RUN_DIR, own_engine
from ardock.interface import Engine
from ardock.model.errors import DaemonUnavailable, EngineLocked
from ardock.model.registry import RegistryOptions
from ardock.model.spec import ScratchKind
from ardock.server import serving

# An owner that is just opening, or closing, does not serve yet or any more.
_ATTEMPTS: Final = 200
_PAUSE: Final = 0.05


@asynccontextmanager
async def open_engine(
    root: str | Path = DEFAULT_ROOT,
    run_dir: str | Path = DEFAULT_RUN_DIR,
    *,
    scratch: ScratchKind = "disk",
    storage_driver: str = "",
    storage_options: Mapping[str, str] | None = None,
    registry: RegistryOptions | None = None,
    keep_inherited_seccomp: bool = False,
    share: bool = True,
) -> AsyncIterator[Engine]:
    """Own `root` for as long as the context lasts, or be a client of whoever owns it.

    An owner serves the root folder's socket, so that commands and other programs become its clients. What an earlier owner
    left goes on. At the end, what `run`, `run_many` and `spawn` of this program started and has not ended is killed and awaited;
    all other containers go on, and the next owner takes them over. An error in the body comes out as it is, not in a group.

    Args:
        root: The state folder; made where missing.
        run_dir: The folder of sockets and exit records; made where missing.
        scratch: The default of `ContainerSpec.scratch`; the owner's counts.
        storage_driver: How layers of images are kept: ``overlay``, ``btrfs``, ``vfs``, ``devicemapper`` or ``aufs``. Empty: as
            the root folder was made, or by what its file system can do. The owner's counts.
        storage_options: Options of the driver by their names, such as ``{"size": "10g"}``; the owner's count.
        registry: How registries are reached; None: as ``/etc/ardock/registries.json`` says. The owner's counts.
        keep_inherited_seccomp: Start the keeper even where this process has a seccomp filter or no-new-privileges, which every
            container would inherit.
        share: Serve the socket, and be a client where there is an owner. Without: EngineLocked where there is one.

    Raises:
        EngineLocked: Another process owns `root`, and `share` is not set or the owner does not serve it.
        NotPermitted: The calling process is not root.
        InvalidArgument: There is no such scratch, driver or option, the folder was made with another driver, or an option of
            registries is malformed.
        Unsupported: The driver cannot be used here.
        FolderUnusable: A folder cannot be made or written, or the state in it cannot be read.
        KeeperUnavailable: The keeper could not be started, or one that was left behind does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        engine: Engine | None = None
        for attempt in range(_ATTEMPTS):
            try:
                owned = await stack.enter_async_context(
                    own_engine(
                        root,
                        run_dir,
                        scratch=scratch,
                        storage_driver=storage_driver,
                        storage_options=storage_options,
                        registry=registry,
                        keep_inherited_seccomp=keep_inherited_seccomp,
                    )
                )
            except EngineLocked:
                if not share:
                    raise
                try:
                    engine = await stack.enter_async_context(connect(root=root, run_dir=run_dir))
                except DaemonUnavailable:
                    if attempt == _ATTEMPTS - 1:
                        raise
                    await trio.sleep(_PAUSE)
                    continue
            else:
                engine = owned
                if share:
                    await stack.enter_async_context(serving(owned))
            break
        assert engine is not None, "owned, connected or raised"
        yield engine
