"""Does one thing with images in the root folder that is given, until a failpoint ends it: ``ROOT ACTION [ARGUMENT]``."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

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
        elif action == "tag":
            await images.tag(argument, "moved")


if __name__ == "__main__":
    trio.run(_do, Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
