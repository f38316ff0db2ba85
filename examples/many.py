#!/usr/bin/env python3
"""A few hundred containers at once: results as they come, failures among them without an end to the rest.

Run as root: .venv/bin/python examples/many.py [how many]
"""

import os
import sys
import time

import trio

import ardock


async def main(count: int) -> None:
    """Run that many containers and sum up what they said."""
    root = os.environ.get("ARDOCK_ROOT", "/var/lib/ardock")
    run_dir = os.environ.get("ARDOCK_RUN_DIR", "/run/ardock")
    specs = [
        # Every hundredth names a program that is not there.
        ardock.ContainerSpec(
            argv=("no-such-program",) if number % 100 == 99 else ("echo", str(number)), rootfs="/", scratch="memory"
        )
        for number in range(count)
    ]
    total = failed = 0
    began = time.perf_counter()
    async with ardock.open_engine(root, run_dir) as engine:
        async for result in engine.containers.run_many(specs):
            if result.error is not None:
                failed += 1
            else:
                total += int(result.stdout)
    seconds = time.perf_counter() - began
    print(f"{count} containers in {seconds:.2f} s, sum {total}, {failed} could not be started")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 300)
