"""`open_engine`: one engine owns one root folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ardock.engine.containers.service import Containers
from ardock.model import Adopted
from ardock.model.spec import ScratchKind

DEFAULT_ROOT = Path("/var/lib/ardock")
DEFAULT_RUN_DIR = Path("/run/ardock")


class Engine:
    """What `open_engine` gives.

    Attributes:
        containers: Run and start containers.
        adopted: What an earlier engine on this root folder left behind; ended by now.
        id: 8 hexadecimal digits; everything made in the kernel is named ``ardock-<id>``.
        root: The root folder.
        run_dir: This engine's part of the run folder.
    """

    containers: Containers
    adopted: list[Adopted]
    id: str
    root: Path
    run_dir: Path


@asynccontextmanager
async def open_engine(
    root: str | Path = DEFAULT_ROOT,
    run_dir: str | Path = DEFAULT_RUN_DIR,
    *,
    scratch: ScratchKind = "disk",
    keep_inherited_seccomp: bool = False,
) -> AsyncIterator[Engine]:
    """Own `root` for as long as the context lasts.

    What an engine that was killed left behind is ended first and reported in `Engine.adopted`. At the end every
    container that still runs is killed and awaited.

    Args:
        root: The state folder; made where missing.
        run_dir: The folder of sockets and exit records; made where missing.
        scratch: The default of `ContainerSpec.scratch`.
        keep_inherited_seccomp: Start the keeper even where this process has a seccomp filter or no-new-privileges,
            which every container would inherit.

    Raises:
        EngineLocked: Another process owns `root`.
        NotPermitted: The calling process is not root.
        FolderUnusable: A folder cannot be made or written.
        KeeperUnavailable: The keeper could not be started.
    """
    raise NotImplementedError
    yield Engine()
