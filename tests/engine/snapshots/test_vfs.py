"""`vfs`."""

from __future__ import annotations

import pytest

from tests.engine.snapshots.suite import Suite

pytestmark = pytest.mark.root


class TestVfs(Suite):
    """The suite."""

    name = "vfs"
