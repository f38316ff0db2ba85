"""Runs one container of the image that the root folder has, until a failpoint ends it. Arguments: root folder, run folder."""

from __future__ import annotations

import sys

import trio

from ardock.engine import own_engine
from tests.engine.snapshots.images import NAME


async def _run(root: str, run_dir: str) -> None:
    async with own_engine(root, run_dir) as engine:
        await engine.containers.run(["true"], image=NAME)


if __name__ == "__main__":
    trio.run(_run, sys.argv[1], sys.argv[2])
