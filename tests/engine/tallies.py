"""What this process holds, so that a test can say that a call has left nothing of it behind."""

from __future__ import annotations

from typing import NamedTuple

import trio
from trio.lowlevel import Task, current_root_task

from tests.engine import leftovers


class Tally(NamedTuple):
    """What a process with an engine has.

    Attributes:
        descriptors: Open ones.
        tasks: All of trio's, but the one of a client that looks after its cancelled calls for as long as it has patience.
    """

    descriptors: int
    tasks: int


def tally() -> Tally:
    """What there is now."""

    def count(task: Task) -> int:
        return int(not task.name.endswith("Line._give_up")) + sum(
            count(child) for nursery in task.child_nurseries for child in nursery.child_tasks
        )

    root = current_root_task()
    assert root is not None, "trio runs"
    return Tally(leftovers.descriptors(), count(root))


async def back_to(before: Tally) -> None:
    """Wait until no more is there than `before`: what was given up is ended in the background; an error after 10 s."""
    with trio.move_on_after(10):
        while tally() != before:  # noqa: ASYNC110 - nobody is told
            await trio.sleep(0.01)
        return
    raise AssertionError(f"there were {before}, there are {tally()}")
