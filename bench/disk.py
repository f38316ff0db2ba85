#!/usr/bin/env python3
"""Measures what is written for good: creating containers, and unpacking an archive, in memory, on the disk, on a journalled one.

Both beside what the medium itself charges, in turns within one run: a container's creation is answered when it is durable,
so it is measured beside a write and its fdatasync(2), alone and with many callers whose changes are gathered into one
commit; unpacking beside GNU tar into the same file system, of many small files and of a few big ones.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import get_args

import trio

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import ardock
from bench import build, launch
from bench.systems import BrokenError, Medium, Place, UnusableError

CALLERS = (1, 8, 64)
SMALL_FILES, BIG_FILES = 8_000, 12
_CHUNK = 1 << 18


def synced_writes(folder: Path, seconds: float) -> float:
    """Writes of 4 KiB at a file's end, each made durable, a second: what the medium charges for one."""
    file = folder / "synced"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    page = os.urandom(4096)
    count, started = 0, time.perf_counter()
    try:
        while time.perf_counter() - started < seconds:
            os.write(descriptor, page)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - started)
    finally:
        os.close(descriptor)
        file.unlink()


async def creations(engine: ardock.Engine, rootfs: Path, callers: int, seconds: float) -> tuple[float, float]:
    """Containers created a second by so many callers at once, and one creation's median, ms. All are removed."""
    taken: list[float] = []
    made: list[str] = []
    deadline = time.perf_counter() + seconds

    async def create() -> None:
        while time.perf_counter() < deadline:
            began = time.perf_counter()
            created = await engine.containers.create(["/bin/true"], rootfs=str(rootfs))
            taken.append(time.perf_counter() - began)
            made.append(created.id)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(create)
    rate = len(made) / (time.perf_counter() - started)
    async with trio.open_nursery() as nursery:
        for ref in made:
            nursery.start_soon(engine.containers.remove, ref)
    return rate, median(taken) * 1e3


def archive(file: Path, *, small: bool) -> Path:
    """An uncompressed archive: 8,000 files of up to 8 KiB in 400 folders, or a dozen of 16 MiB. The same each time."""
    numbers = random.Random(7)
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(SMALL_FILES if small else BIG_FILES):
            name = f"d{number % 400}/f{number}" if small else f"f{number}"
            content = numbers.randbytes(numbers.randrange(8192) if small else 16 << 20)
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, 1_700_000_000
            tar.addfile(member, io.BytesIO(content))
    return file


async def imported(engine: ardock.Engine, file: Path, number: int) -> float:
    """Seconds until the archive is an image, durable as every image is; it is removed after that."""

    async def chunks() -> AsyncIterator[bytes]:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk

    name = f"bench:{number}"
    started = time.perf_counter()
    await engine.images.import_tar(chunks(), name)
    taken = time.perf_counter() - started
    await engine.images.remove(name)
    return taken


def extracted(file: Path, folder: Path) -> float:
    """Seconds of GNU tar with the file system synced after it, as an image is before it has its name."""
    target = folder / "extracted"
    target.mkdir()
    started = time.perf_counter()
    subprocess.run(["tar", "-xf", str(file), "-C", str(target)], check=True)
    subprocess.run(["sync", "-f", str(target)], check=True)
    taken = time.perf_counter() - started
    shutil.rmtree(target)
    return taken


async def measure(place: Place, archives: dict[str, Path], rounds: int, seconds: float) -> dict[str, float]:
    """All figures of one medium: medians over the rounds."""
    found: dict[str, list[float]] = {}

    def put(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    async with ardock.open_engine(root=place.folder / "root", run_dir=place.folder / "run") as engine:
        await creations(engine, place.rootfs, CALLERS[-1], seconds / 4)
        for number in range(rounds):
            launch.note(f"{place.medium}: round {number + 1} of {rounds}")
            put("durable writes/s", synced_writes(place.folder, seconds))
            for callers in CALLERS:
                rate, alone = await creations(engine, place.rootfs, callers, seconds)
                put(f"creations/s, {callers} at once", rate)
                put(f"creation p50 ms, {callers} at once", alone)
            for name, file in archives.items():
                megabytes = file.stat().st_size / 1e6
                put(f"{name}: import MB/s", megabytes / await imported(engine, file, number))
                put(f"{name}: tar -x and sync MB/s", megabytes / extracted(file, place.folder))
    return {name: median(values) for name, values in found.items()}


def table(results: dict[str, dict[str, float]]) -> str:
    """The result, a column for each medium."""
    names = list(next(iter(results.values())))
    lines = ["| figure | " + " | ".join(results) + " |", "|---" + "|---:" * len(results) + "|"]
    for name in names:
        values = (f"{figures[name]:,.{2 if 'ms' in name else 0}f}" for figures in results.values())
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shows that all works, no figures")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--media", default=",".join(get_args(Medium)), help=f"out of {','.join(get_args(Medium))}")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="a folder on the disk to be measured")
    options = parser.parse_args()
    rounds, seconds = (1, 0.2) if options.quick else (5, 1.0)
    rounds = options.rounds or rounds
    media = [one for one in get_args(Medium) if one in options.media.split(",")]
    if len(media) != len(options.media.split(",")):
        parser.error(f"--media: not known: {options.media}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: dict[str, dict[str, float]] = {}
    try:
        with launch.place_for("memory", captures=False, disk=options.work) as store:
            archives = {
                "many small files": archive(store.folder / "small.tar", small=True),
                "few big files": archive(store.folder / "big.tar", small=False),
            }
            for medium in media:
                with launch.place_for(medium, captures=False, disk=options.work) as place:
                    results[medium] = trio.run(measure, place, archives, rounds, seconds)
    except (BrokenError, UnusableError, build.BuildError) as error:
        launch.note(f"bench: {error}")
        return 1
    if options.json:
        print(json.dumps({"machine": launch.machine(), "results": results}, indent=1))
    else:
        print(launch.machine(), table(results), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
