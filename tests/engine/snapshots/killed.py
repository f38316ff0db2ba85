"""Makes, commits and removes layers and snapshots with the driver and folder that are given, until a failpoint ends it."""

from __future__ import annotations

import sys
from pathlib import Path

from ardock.engine.snapshots import Driver
from tests.engine.snapshots.layers import commit, file
from tests.engine.snapshots.suite import chain, open_driver


def _tell(word: str, name: str) -> None:
    sys.stdout.write(f"{word} {name}\n")
    sys.stdout.flush()


def _life(driver: Driver) -> None:
    below: tuple[str, ...] = ()
    for number in range(4):
        name = commit(driver, chain(number), below, [file(f"file{number}", b"x" * 10_000)])
        _tell("committed", name)
        below = (name, *below)
    commit(driver, chain(0), (), [file("file0", b"x" * 10_000)])  # is there: discarded
    driver.prepare("kept", below, container=True)
    _tell("prepared", "kept")
    for name in ("kept", *below):
        _tell("removing", name)
        driver.remove(name)
        _tell("removed", name)


if __name__ == "__main__":
    _life(open_driver(sys.argv[1], Path(sys.argv[2])))
