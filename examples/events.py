#!/usr/bin/env python3
"""A mirror of an engine's containers that is never wrong for long, and the story of one container.

Run as root: .venv/bin/python examples/events.py
"""

import os

import trio

import ardock

STATUS = {"create": "created", "start": "running", "die": "exited"}


async def follow(engine: ardock.Engine, started: trio.Event) -> None:
    """List the containers, then keep the list right by the events after it, until one is destroyed."""
    # The list says at which number it is true, so nothing can happen between it and the events.
    listing = await engine.containers.list(all=True)
    mirror: dict[str, str | None] = {container.id: container.status for container in listing.containers}
    place = ardock.Cursor(listing.epoch, listing.seq)
    started.set()
    async with engine.events.subscribe(since=place, filters={"type": ("container",)}) as events:
        async for item in events:
            match item:
                case ardock.Event(action=action):
                    print(f"{item.cursor}  {action:<8} {item.name}  {item.attributes.get('exitCode', '')}".rstrip())
                    if action == "destroy":
                        mirror.pop(item.id, None)
                        print(f"{len(mirror)} containers are left")
                        return
                    mirror[item.id] = STATUS.get(action, mirror.get(item.id))
                case ardock.Heartbeat():
                    place = ardock.Cursor(item.epoch, item.seq)  # nothing has happened: this is where to resume
                case ardock.Gap():
                    print(f"events after {item.after} are no longer kept: list again")


async def main() -> None:
    """Follow the events while a container lives."""
    root = os.environ.get("ARDOCK_ROOT", "/var/lib/ardock")
    run_dir = os.environ.get("ARDOCK_RUN_DIR", "/run/ardock")
    async with ardock.open_engine(root, run_dir) as engine, trio.open_nursery() as nursery:
        started = trio.Event()
        nursery.start_soon(follow, engine, started)
        await started.wait()
        await engine.containers.run(["sh", "-c", "exit 3"], rootfs="/", scratch="memory")


if __name__ == "__main__":
    trio.run(main)
