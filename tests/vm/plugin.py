"""A pytest plugin for emulated machines: more time, and visible skips of what is left out there."""

from __future__ import annotations

import pytest

from tests.vm import left_out
from tests.vm.orders import TIMEOUT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is left out, each with its reason, and give the rest time."""
    entries = left_out.read().python
    for item in items:
        for name, reason in entries.items():
            if item.nodeid.startswith(name):
                item.add_marker(pytest.mark.skip(reason=f"not in an emulator: {reason}"))
        if item.get_closest_marker("timeout") is not None:
            item.add_marker(pytest.mark.timeout(2 * TIMEOUT), append=False)
