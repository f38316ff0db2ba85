"""Each driver is killed at each of its own places."""

from __future__ import annotations

import pytest

from tests.engine.snapshots.suite import Suite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.cls is not None and issubclass(metafunc.cls, Suite) and "place" in metafunc.fixturenames:
        metafunc.parametrize("place", metafunc.cls.places)
        metafunc.parametrize("passage", [1, 3])
