#!/usr/bin/env python3
"""Measures how long an engine takes to open a root folder with 2,000 images and 10,000 ended containers, beside an empty one.

Each opening is a process of its own: imports, the state, the stores' names, the first answer to `list`. Printed are the times
inside `own_engine`, and of the whole process beside one that only imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import trio

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tests.engine.images.large import fill

_OPEN = """
import json, sys, time
import trio
from ardock.engine import own_engine

async def main():
    started = time.perf_counter()
    async with own_engine(root=sys.argv[1], run_dir=sys.argv[2]) as engine:
        count = len((await engine.containers.list(all=True)).containers)
        print(json.dumps([time.perf_counter() - started, len(engine.images), count]))

trio.run(main)
"""


def opening(folder: Path) -> tuple[float, int, int]:
    """Seconds, images, containers of one opening in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, folder / "root", folder / "run"], capture_output=True, check=True, text=True
    )
    seconds, images, containers = json.loads(done.stdout)
    return float(seconds), int(images), int(containers)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where the root folders are made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="ardock-opening-") as folder:
        places = {"empty": Path(folder) / "empty", "large": Path(folder) / "large"}
        trio.run(fill, places["large"] / "root", places["large"] / "run", arguments.images, arguments.containers)
        taken: dict[str, list[float]] = {name: [] for name in places}
        for _ in range(arguments.rounds):
            for name, place in places.items():
                seconds, images, containers = opening(place)
                taken[name].append(seconds)
                if name == "large" and (images, containers) != (arguments.images, arguments.containers):
                    sys.exit(f"{images} images and {containers} containers were found")
        for name, times in taken.items():
            print(
                f"{name:>6}: {median(times) * 1000:7.0f} ms (of {len(times)}: {min(times) * 1000:.0f} to {max(times) * 1000:.0f})"
            )


if __name__ == "__main__":
    main()
