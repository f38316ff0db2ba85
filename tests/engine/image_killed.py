"""Imports one image into the root folder that is given, until a failpoint ends it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from ardock.engine.images import Images
from tests.engine.trees import archive
from tests.unit.states import opened


async def _import(root: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield archive({"a": b"x" * 10_000})

    async with opened(root) as (state, loaded):
        images = Images(root, state, loaded.images, in_use=lambda _: ())
        await images.tidy()
        await images.import_tar(chunks(), "x")


if __name__ == "__main__":
    trio.run(_import, Path(sys.argv[1]))
