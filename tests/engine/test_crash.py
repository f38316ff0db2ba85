# ruff: noqa: ASYNC221 - a test may wait for small local files and programs
"""An engine that dies at any named place loses nothing: the next one knows and tells it all, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from ardock import LogRecord
from ardock.engine import own_engine
from tests.engine import leftovers
from tests.engine.folders import Folders
from tests.engine.histories import check_history, history

PROGRAM = Path(__file__).with_name("failing.py")
PLACES = (
    *(f"commit.{side}:{count}" for side in ("before", "after") for count in (1, 2, 3, 5, 8, 13)),
    *(f"keeper.{what}.{side}:{count}" for what in ("send", "started", "ended") for side in ("before", "after")
      for count in (1, 2, 7)),
    *(f"keeper.failed.{side}:2" for side in ("before", "after")),
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
async def test_killed_at_a_place_nothing_is_lost_or_doubled(place: str, folders: Folders, rootfs: str) -> None:
    arguments = [str(folders["root"]), str(folders["run_dir"]), rootfs]
    dead = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**os.environ, "ARDOCK_FAILPOINT": place},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (dead.returncode, dead.stderr) == (-9, ""), "it dies where it should, and of nothing else"
    told = [line.split() for line in dead.stdout.splitlines()]
    async with own_engine(**folders) as engine:
        containers = engine.containers
        with trio.fail_after(10):
            while any(one.argv[0] != "sleep" for one in (await containers.list()).containers):  # noqa: ASYNC110 - polled
                await trio.sleep(0.01)
        events = await history(engine)
        check_history(events)
        # What was answered is true.
        created = {line[1] for line in told if line[0] == "created"}
        removed = {line[1] for line in told if line[0] == "removed"}
        ended = {line[1]: int(line[2]) for line in told if line[0] in ("ran", "ended")}
        there = {one.id: one for one in (await containers.list(all=True)).containers}
        assert created - removed - there.keys() <= {event.id for event in events if event.action == "destroy"}
        assert not removed & there.keys()
        for container_id, code in ended.items():
            assert (await containers.wait(container_id)).exit_code == code
        # What has ended by now has the exit code that it was to have, told once.
        codes = {event.id: int(event.attributes["code"]) for event in events if event.action == "create"}
        for event in events:
            if event.action == "die":
                assert int(event.attributes["exitCode"]) == codes[event.id]
        for one in there.values():
            if one.status == "exited":
                assert one.exit_code == codes[one.id]
                async with containers.logs(one.id) as items:
                    assert [item.data async for item in items if isinstance(item, LogRecord)] == [b"written\n"]
        # And all of it can be acted on.
        for container_id in there:
            await containers.remove(container_id, force=True)
        assert (await containers.run(["true"], rootfs=rootfs)).exit_code == 0
        check_history(await history(engine))
        await leftovers.no_containers(engine.id, engine.root)
    async with own_engine(**folders) as engine:
        assert engine.adopted == []
        assert (await containers_of(engine.root)) == []


async def containers_of(root: Path) -> list[str]:
    """Layers and logs that are left."""
    return [path.name for folder in ("containers", "logs") for path in (root / folder).iterdir()]
