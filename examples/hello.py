#!/usr/bin/env python3
"""One container from its start to its exit, on a copy-on-write view of the host's root.

Run as root: .venv/bin/python examples/hello.py
"""

import os

import trio

import ardock


async def main() -> None:
    """Run one container and show what it said."""
    root = os.environ.get("ARDOCK_ROOT", "/var/lib/ardock")
    run_dir = os.environ.get("ARDOCK_RUN_DIR", "/run/ardock")
    async with ardock.open_engine(root, run_dir) as engine:
        result = await engine.containers.run(
            ["sh", "-c", "echo process $$ on $(cat /proc/sys/kernel/hostname)"],
            rootfs="/",
            hostname="example",
            memory="32m",
            pids_limit=16,
        )
    print(f"exit code {result.exit_code} after {(result.finished_at - result.started_at) / 1e6:.1f} ms")
    print(result.stdout.decode(), end="")


if __name__ == "__main__":
    trio.run(main)
