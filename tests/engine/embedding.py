"""A program that embeds the engine, to be killed: starts containers, says so, and waits.

Arguments: root folder, run folder, root file system, how many containers run, how many more are launched all the time.
"""

from __future__ import annotations

import sys

import trio

import ardock
from ardock.engine import own_engine


async def main(root: str, run_dir: str, rootfs: str, count: int, storm: int) -> None:
    async with own_engine(root, run_dir) as engine, trio.open_nursery() as nursery:

        async def capture(number: int) -> None:
            await engine.containers.run(
                ["sh", "-c", f"echo captured {number}; sleep 1000"], rootfs=rootfs, labels={"number": str(number)}
            )

        async def launch() -> None:
            while True:
                await engine.containers.run(["true"], rootfs=rootfs, labels={"number": "storm"})

        for number in range(count):
            nursery.start_soon(capture, number)
        container = await engine.containers.spawn(
            ["sh", "-c", "echo logged; sleep 1000"], rootfs=rootfs, log=ardock.LogOptions(), labels={"number": "log"}
        )
        while sum(counters["started"] for counters in await engine.keeper_counters()) < count + 1:  # noqa: ASYNC110 - nor does the keeper
            await trio.sleep(0.01)
        # What they write first is written by now, or soon.
        await trio.sleep(0.3)
        for _ in range(storm):
            nursery.start_soon(launch)
        sys.stdout.write(f"{engine.id} {container.id}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
