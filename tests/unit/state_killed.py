"""A program that commits until it is killed: see `test_state_crash`. It prints the number of each commit that was confirmed."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import trio

from ardock.engine.state import Changes
from ardock.model.errors import ArdockError
from tests.unit.states import departed, event, opened


async def main(root: Path, limit: int) -> None:
    async with opened(root) as (state, _):
        first = state.assigned // 2

        def confirm(number: int, error: ArdockError | None) -> None:
            assert error is None
            os.write(1, b"%d\n" % number)

        for number in range(first, first + limit):
            changes = Changes(
                events=(event(number, "create"), event(number, "start")),
                put=((f"c{number}", b"row"),),
                drop=(f"c{number - 10}",),
                exits=(departed(number),),
                request=(f"r{number}", b"%d" % number),
                fsync=number % 3 == 0,
            )
            state.commit(changes, partial(confirm, number))
            if number % 7 == 0:
                await trio.sleep(0.001)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
