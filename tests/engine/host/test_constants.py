"""The figures that `doctor` counts with are those of real containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ardock.engine import own_engine
from ardock.engine.host.bounds import SUPERBLOCKS

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def devices(mountinfo: bytes) -> set[bytes]:
    return {line.split()[2] for line in mountinfo.splitlines()}


async def test_superblocks_of_a_container(tmp_path: Path) -> None:
    """What one of two running containers has mounted and the other has not is its own."""
    async with own_engine(tmp_path / "root", tmp_path / "run") as engine:
        async with await engine.containers.spawn(
            ["sh", "-c", "cat /proc/self/mountinfo; exec >&-; sleep 60"], rootfs="/", memory="64m"
        ) as first:
            assert first.stdout is not None
            mounted = b"".join([piece async for piece in first.stdout])
            second = await engine.containers.run(["cat", "/proc/self/mountinfo"], rootfs="/", memory="64m")
    assert len(devices(mounted) - devices(second.stdout)) == SUPERBLOCKS
