"""Fixtures of the registry client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ardock.engine.registry.pace import Pace
from tests.registry.proxy import Proxy
from tests.registry.servers import Registry, plain_registry


@pytest.fixture(scope="package")
def registry() -> Iterator[Registry]:
    """A plain registry, shared by the tests of this folder: each has repositories of its own."""
    with plain_registry() as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    """A proxy before it."""
    with Proxy(registry.port) as running:
        yield running


class Waits:
    """Time that passes only by waiting.

    Attributes:
        slept: Every wait, seconds.
        now: What the clocks show.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.now = 1_000_000.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def pace(self) -> Pace:
        """For `Registries`."""
        return Pace(sleep=self.sleep, clock=lambda: self.now, wall=lambda: self.now, jitter=lambda: 1.0)


@pytest.fixture
def waits() -> Waits:
    """Time that passes only by waiting."""
    return Waits()
