"""An engine on a root folder with thousands of images and containers opens as soon as one on an empty folder, but for their names."""

from __future__ import annotations

import time

import pytest

from ardock.engine import own_engine
from tests.engine.folders import Folders
from tests.engine.images.large import fill

IMAGES, CONTAINERS = 400, 2_000


@pytest.mark.timeout(300)
async def test_a_large_store_opens_whole_and_reads_no_content(folders: Folders) -> None:
    await fill(folders["root"], folders["run_dir"], IMAGES, CONTAINERS)
    blobs = folders["root"] / "content" / "sha256"
    before = sorted(path.name for path in blobs.iterdir())
    # What is read would be noticed: nothing can be read.
    for path in blobs.iterdir():
        path.unlink()
        path.symlink_to("/nowhere")
    started = time.monotonic()
    async with own_engine(**folders) as engine:
        # Seconds, on a machine that is busy with other tests; `bench/opening.py` measures.
        assert time.monotonic() - started < 20
        assert len(engine.images) == IMAGES
        listing = await engine.containers.list(all=True)
        assert len(listing.containers) == CONTAINERS
        assert engine.images.id_of("app7") == engine.images.id_of("registry.example:5000/team/app7:1")
        assert sorted(path.name for path in blobs.iterdir()) == before
    async with own_engine(**folders) as engine:
        assert len(engine.images) == IMAGES
