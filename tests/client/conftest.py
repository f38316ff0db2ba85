"""A scripted server over a real socket, and the client that is tested against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.client.server import ScriptedServer


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ardock.sock")


@pytest.fixture
async def server(path: str, nursery: trio.Nursery) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(path)
    await nursery.start(server.run)
    yield server
    server.close()
