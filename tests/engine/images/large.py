"""A root folder as years of use leave it: thousands of images and of containers that have ended."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ardock.engine.containers.container import Container
from ardock.engine.containers.row import encode_row
from ardock.engine.folders import open_folders
from ardock.engine.images.mirror import Mirror
from ardock.engine.images.record import Layer, Record, encode
from ardock.engine.snapshots.overlay import Overlay
from ardock.engine.state import Changes
from ardock.model.records import ExitRecord
from ardock.model.spec import ContainerSpec
from tests.unit.states import opened

LAYERS = 8
"""Of each image; the lower half of them is shared by ten images each."""


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _image(number: int) -> Record:
    shared = number // 10
    diff_ids = [_digest(f"shared {shared} {layer}") for layer in range(LAYERS // 2)]
    diff_ids += [_digest(f"own {number} {layer}") for layer in range(LAYERS // 2)]
    return Record(
        id=_digest(f"config {number}"),
        names=(f"registry.example:5000/team/app{number}:1", f"app{number}:latest"),
        digests=(f"registry.example:5000/team/app{number}@{_digest(f'manifest {number}')}",),
        created_at=1_700_000_000_000_000_000 + number,
        added_at=1_700_000_000_000_000_000 + number,
        labels={"org.opencontainers.image.title": f"app{number}", "maintainer": "somebody@example.org"},
        layers=tuple(
            Layer(diff_id=diff_id, blob=_digest(f"blob {diff_id}"), size=1000, media_type="x", content=2000, files=10)
            for diff_id in diff_ids
        ),
        manifest=_digest(f"manifest {number}"),
    )


def _container(number: int, image: Record) -> Container:
    container_id = hashlib.sha256(f"container {number}".encode()).hexdigest()
    spec = ContainerSpec(
        argv=("sleep", "1"), image=image.names[0], env={f"VARIABLE_{index}": "value" * 5 for index in range(10)},
        labels={f"label.{index}": "value" * 5 for index in range(5)},
    )  # fmt: skip
    container = Container(container_id, f"container{number}", spec, kind="kept", remove=False, created_at=number + 1)
    container.status = "exited"
    container.run = 1
    container.image_id = image.id
    container.started_at, container.finished_at = number + 2, number + 3
    container.exit = ExitRecord(id=container_id, exit_code=0, started_at=number + 2, finished_at=number + 3)
    return container


async def fill(root: Path, run_dir: Path, images: int, containers: int) -> None:
    """Make such a root folder. Blobs and trees are there and empty: what an opening looks at are their names."""
    folders = open_folders(root, run_dir)
    folders.close()
    records = [_image(number) for number in range(images)]
    blobs = {blob for record in records for blob in (record.id, record.manifest, *(it.blob for it in record.layers))}
    for algorithm in ("sha256", "sha512"):
        (root / "content" / algorithm).mkdir(parents=True)
    for blob in blobs:
        (root / "content" / "sha256" / blob[7:]).touch()
    mirror = Mirror(root)
    mirror.open()
    for record in records:
        (root / "content" / "images" / record.id[7:]).write_bytes(encode(record)[1])
    driver = Overlay(root / "snapshots" / "overlay")
    (root / "snapshots" / "driver").write_text("overlay\n")
    trees = next(path for path in (root / "snapshots").iterdir() if path.is_dir())
    for chain in {chain for record in records for chain in record.chains}:
        (trees / chain).mkdir()
    driver.close()
    made = [_container(number, records[number % len(records)]) for number in range(containers)]
    for container in made:
        for part in ("u", "w"):
            os.makedirs(root / "containers" / container.id / part)
    async with opened(root, engine_id=folders.engine_id) as (state, _):
        await state.commit_and_wait(
            Changes(
                put=tuple((container.id, encode_row(container)) for container in made),
                put_images=tuple(map(encode, records)),
                fsync=True,
            )
        )
