"""A program that embeds the engine and dies at a failpoint: runs, keeps, joins and removes containers until then.

Arguments: root folder, run folder, root file system. Each call that has returned is told on a line of its own.
"""

from __future__ import annotations

import itertools
import sys

import trio

import ardock
from ardock.engine import own_engine


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(root: str, run_dir: str, rootfs: str) -> None:
    async with own_engine(root, run_dir) as engine, trio.open_nursery() as nursery:
        containers = engine.containers

        async def throw_away(number: int) -> None:
            for turn in itertools.count():
                code = (number * 7 + turn) % 100
                result = await containers.run(["sh", "-c", f"exit {code}"], rootfs=rootfs, labels={"code": str(code)})
                tell("ran", result.id, result.exit_code)

        async def fail() -> None:
            while True:
                try:
                    await containers.run(["/no/such/program"], rootfs=rootfs, labels={"code": "127"})
                except ardock.CommandNotFound:
                    tell("failed")

        async def keep() -> None:
            for turn in itertools.count():
                code = turn % 100
                command = ["sh", "-c", f"echo written; exit {code}"]
                created = await containers.create(
                    command, rootfs=rootfs, name=f"kept{turn}", labels={"code": str(code)}
                )
                tell("created", created.id, created.name)
                await containers.start(created.id)
                tell("started", created.id)
                end = await containers.wait(created.id)
                tell("ended", created.id, end.exit_code)
                if turn % 2:
                    await containers.remove(created.id)
                    tell("removed", created.id)

        async def join() -> None:
            async with await containers.spawn(["sleep", "1000"], rootfs=rootfs, labels={"code": "137"}) as host:
                while True:
                    await containers.exec_run(host.id, ["true"])
                    tell("joined")

        for number in range(3):
            nursery.start_soon(throw_away, number)
        nursery.start_soon(fail)
        nursery.start_soon(keep)
        nursery.start_soon(join)


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
