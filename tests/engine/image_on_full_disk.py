"""Imports what is larger than the disk on which the folder that is given lies; prints the error's code and what is left."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from ardock.engine.images import Images
from ardock.model.errors import ArdockError
from tests.engine.trees import archive


class _NoState:
    async def commit_and_wait(self, _: object) -> None:
        raise AssertionError("nothing is to be written down")


async def _import(root: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield archive({"a": b"x" * 4_000_000})

    images = Images(root, _NoState(), [], in_use=lambda _: ())  # type: ignore[arg-type]
    await images.tidy()
    try:
        await images.import_tar(chunks(), "x")
    except ArdockError as error:
        sys.stdout.write(f"{error.code} {os.listdir(root / 'images')}\n")


if __name__ == "__main__":
    trio.run(_import, Path(sys.argv[1]))
