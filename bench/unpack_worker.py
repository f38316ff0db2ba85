"""Unpacks layers with `ardock._core` for `bench/unpack.py`: keep|drop FOLDER LAYER...; prints what came out and its own peak of memory."""

from __future__ import annotations

import json
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ardock import _core

PARALLEL = 3
"""Layers at once, as the engine does it."""


def unpack(folder: Path, number: int, layer: Path, *, keeps: bool) -> int:
    """One layer into a folder, with a copy of its blob where it is to be kept; bytes uncompressed."""
    target = folder / str(number)
    target.mkdir()
    ingest = _core.LayerIngest(blob=str(folder / f"{number}.blob") if keeps else None, target=str(target))
    with layer.open("rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            ingest.feed(piece)
    return ingest.finish(_core.CancelFlag()).diff_size


def main() -> None:
    """All of them."""
    keeps, folder = sys.argv[1] == "keep", Path(sys.argv[2])
    with ThreadPoolExecutor(PARALLEL) as pool:
        done = [
            pool.submit(unpack, folder, number, Path(layer), keeps=keeps) for number, layer in enumerate(sys.argv[3:])
        ]
        total = sum(each.result() for each in done)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"bytes": total, "peak_kb": peak}))


if __name__ == "__main__":
    main()
