"""A fake engine, served on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from ardock.server import serving
from tests.server.client import Client, connected
from tests.server.fake import FakeEngine, as_any


class Served(NamedTuple):
    """A served engine and the path of its socket."""

    engine: FakeEngine
    path: Path


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with trio.open_nursery() as nursery:
        yield FakeEngine(nursery, tmp_path)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def path(engine: FakeEngine) -> AsyncIterator[Path]:
    """The socket of the served `engine`."""
    async with serving(as_any(engine), group=None) as where:
        yield where


@pytest.fixture
async def client(path: Path) -> AsyncIterator[Client]:
    async with connected(path) as opened:
        yield opened
