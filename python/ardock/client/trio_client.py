"""`connect`: an engine that another process owns, with the interface of `open_engine`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from ardock.client.containers import Containers
from ardock.client.find import find_socket
from ardock.client.following import Events
from ardock.client.images import Images
from ardock.client.line import Line, open_line
from ardock.client.remote import Remote
from ardock.client.volumes import Volumes
from ardock.model.container import EngineInfo
from ardock.model.image import DiskUsage
from ardock.model.registry import Credentials
from ardock.protocol.image_methods import DISK_USAGE
from ardock.protocol.methods import INFO, LOGIN, Login, Method, NoParams, Params

ResultT = TypeVar("ResultT")


class RemoteEngine:
    """What `connect` gives; an `ardock.interface.Engine`.

    Attributes:
        id: 8 hexadecimal digits.
        containers: Its containers.
        events: Its journal.
        images: Its images.
        volumes: Its volumes.
    """

    def __init__(self, line: Line) -> None:
        """Made by `connect` alone."""
        self._remote = Remote(line)
        self.id: str = line.version.engine
        self.containers = Containers(self._remote)
        self.events = Events(self._remote)
        self.images = Images(self._remote)
        self.volumes = Volumes(self._remote)

    def __repr__(self) -> str:
        """Its id and the state of the connection."""
        return f"<RemoteEngine {self.id} over {self._remote.line!r}>"

    async def info(self) -> EngineInfo:
        """About the engine."""
        return await self.call(INFO, NoParams())

    async def login(self, server: str, credentials: Credentials) -> str:
        """See whether a registry takes these credentials; the identity token that stands for them, else empty."""
        return (await self.call(LOGIN, Login(server=server, credentials=credentials))).identity_token

    async def disk_usage(self) -> DiskUsage:
        """Where the disk's room went."""
        return await self.call(DISK_USAGE, NoParams())

    async def call(self, method: Method[ResultT], params: Params) -> ResultT:
        """Any method of `ardock.protocol.methods` that has no streams, with a deadline or a request id of one's own.

        Raises:
            ArdockError: As the method says.
        """
        return await self._remote.call(method, params)


@asynccontextmanager
async def connect(
    url: str | Path | None = None,
    *,
    root: str | Path | None = None,
    run_dir: str | Path | None = None,
    patience: float = 30.0,
) -> AsyncIterator[RemoteEngine]:
    """Use the engine that answers at a socket, for as long as the context lasts.

    A connection that breaks is made anew, also to the next owner of the same root folder: calls that were under way go on
    (with a request id, so nothing is done twice), events and logs go on where they were. What has streams of its own (`spawn`,
    `exec`, `attach`, `run_many`, a tar that is sent) ends with `ConnectionLost`. At the end what still runs of `run`,
    `run_many`, `spawn` and `exec` is killed.

    Args:
        url: ``unix://PATH`` or a path; None: ``$ARDOCK_HOST``, else the engine of `root`, else ``/run/ardock/ardock.sock``.
        root: The root folder of the engine that is meant; None is the default one.
        run_dir: Its run folder.
        patience: Seconds for which a broken connection is tried anew before calls fail.

    Raises:
        DaemonUnavailable: Nobody answers there.
        NotPermitted: The socket may not be used, or the engine refuses this user.
        Unsupported: Another kind of address, or an engine with another protocol.
    """

    def where() -> str:
        return find_socket(
            str(url) if url is not None else None,
            root=str(root) if root is not None else None,
            run_dir=str(run_dir) if run_dir is not None else None,
        )

    async with open_line(where, patience) as line:
        yield RemoteEngine(line)
