"""The engine that is there already: asked by commands which would not start one only to describe it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ardock.client.blocking import Client
from ardock.client.find import DEFAULT_ROOT, DEFAULT_RUN_DIR, find_socket
from ardock.model.errors import DaemonUnavailable

if TYPE_CHECKING:
    from ardock.cli.command import Settings


@contextmanager
def present(settings: Settings) -> Iterator[Client | None]:
    """A connection to the owner of the root folder; None where nobody owns it.

    Raises:
        DaemonUnavailable: Nobody answers at the socket that was named with -H.
        NotPermitted: This user may not use it.
    """
    root = settings.root if settings.root != DEFAULT_ROOT else None
    run_dir = settings.run_dir if settings.run_dir != DEFAULT_RUN_DIR else None
    path = find_socket(settings.host, root=root, run_dir=run_dir, environment={})
    try:
        client = Client.connect(path)
    except DaemonUnavailable:
        if settings.host is not None:
            raise
        yield None
        return
    with client:
        yield client
