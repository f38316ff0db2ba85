"""Loads what is larger than the disk on which the folder that is given lies, then what is not; prints errors' codes and what is left."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from ardock.model.errors import ArdockError
from tests.engine.images import made
from tests.engine.images.stores import chunks, kept, store
from tests.engine.images.trees import archive


async def _fill(root: Path, layout: Path) -> None:
    async with store(root / "engine") as (images, _):
        before = kept(root / "engine")

        async def tried(what: str, call: object) -> None:
            try:
                await call  # type: ignore[misc]
                outcome = "done"
            except ArdockError as error:
                outcome = error.code
            left = "nothing left" if kept(root / "engine") == before else str(kept(root / "engine"))
            sys.stdout.write(f"{what}: {outcome}, {left}\n")

        await tried("import", images.import_tar(chunks(archive({"a": b"x" * 16_000_000})), "x"))
        await tried("load", images.load(layout / "large"))
        await tried("stream", images.load(chunks(made.packed(layout / "large"))))
        # Room came back, and everything else works on.
        await images.load(layout / "small")
        await images.tag("small:1", "other")
        sys.stdout.write(f"{[image.names for image in await images.list()]}\n")
        await images.remove("small:1")
        await images.remove("other")
        await tried("end", images.list())


if __name__ == "__main__":
    trio.run(_fill, Path(sys.argv[1]), Path(sys.argv[2]))
