"""A container's `timeout`."""

from __future__ import annotations

import trio

from ardock.engine.keepers.program import Program


async def kill_after(program: Program, seconds: float) -> None:
    """Kill `program` unless it has ended by itself `seconds` after its start."""
    await program.until_answered()
    with trio.move_on_after(seconds):
        await program.until_over()
    if not program.over:
        program.timed_out = True
        await program.kill()
