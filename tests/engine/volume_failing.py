"""A program that embeds the engine and dies at a failpoint: makes, uses and removes volumes until then.

Arguments: root folder, run folder, a directory for an image. Each call that has returned is told on a line of its own.
"""

from __future__ import annotations

import itertools
import sys

import trio

from ardock import Mount
from ardock.engine import own_engine


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(root: str, run_dir: str, rootfs: str) -> None:
    async with own_engine(root, run_dir) as engine, trio.open_nursery() as nursery:
        containers, volumes = engine.containers, engine.volumes
        await engine.images.import_tree(rootfs, "base")

        async def by_themselves() -> None:
            for turn in itertools.count():
                await volumes.create(f"own{turn}", labels={"turn": str(turn)})
                tell("made", f"own{turn}")
                if turn % 2:
                    await volumes.remove(f"own{turn}")
                    tell("removed", f"own{turn}")

        async def with_containers() -> None:
            for turn in itertools.count():
                created = await containers.create(
                    ["sh", "-c", "cat /etc/passwd > /data/copy"],
                    image="base",
                    mounts=[
                        Mount(type="volume", source=f"named{turn}", target="/etc"),
                        Mount(type="volume", target="/data"),
                    ],
                )
                tell("created", created.id)
                await containers.start(created.id)
                await containers.wait(created.id)
                tell("ended", created.id)
                if turn % 3:
                    await containers.remove(created.id, volumes=turn % 3 == 1)
                    tell("rm" if turn % 3 == 2 else "rm-v", created.id)

        async def throw_away() -> None:
            while True:
                done = await containers.run(
                    ["sh", "-c", "echo x > /data/x; echo x >> /shared/x"],
                    image="base",
                    mounts=[
                        Mount(type="volume", target="/data"),
                        Mount(type="volume", source="shared", target="/shared"),
                    ],
                )
                tell("ran", done.id, done.exit_code)

        async def prune() -> None:
            while True:
                await trio.sleep(0.02)
                for name in (await volumes.prune()).removed:
                    tell("pruned", name)

        for task in (by_themselves, with_containers, throw_away, throw_away, prune):
            nursery.start_soon(task)


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
