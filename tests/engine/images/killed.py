"""Does one thing with images in the root folder that is given, until a failpoint ends it: ``ROOT ACTION [ARGUMENT]``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ardock.engine.snapshots import Directories
from tests.engine.images.stores import chunks, store
from tests.engine.images.trees import archive


async def _do(root: Path, action: str, argument: str) -> None:
    async with store(root) as (images, _):
        if action == "import":
            await images.import_tar(chunks(archive({"a": b"x" * 10_000})), "x")
        elif action == "load":
            await images.load(argument)
        elif action == "pull":
            await images.pull(argument)
        elif action == "remove":
            await images.remove(argument)
        elif action == "prune":
            await images.prune(all=True)
        elif action == "commit":

            @asynccontextmanager
            async def written() -> AsyncIterator[Directories]:
                yield Directories(dirs=(argument,), below=images.layers_of("app:1"), layout="overlay")

            await images.commit(
                "app:1", written, "committed:1", config=lambda it: it, changes=(), author="", message="", command=""
            )
        elif action == "tag":
            await images.tag(argument, "moved")


if __name__ == "__main__":
    trio.run(_do, Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
