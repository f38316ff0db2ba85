"""The life of a container as a table: states, what happens, and where that leads. No I/O, no policy.

docs/design.md draws its diagram from this table; `Container.move` refuses what is not in it.
"""

from __future__ import annotations

from typing import Final, Literal

from ardock.model.container import Status

Happening = Literal[
    "start", "started", "failed", "ended", "lost", "pause", "unpause", "restart", "remove", "remove_failed"
]

# (state, what happens) -> state.
MOVES: Final[dict[tuple[Status, Happening], Status]] = {
    ("created", "start"): "starting",
    ("created", "remove"): "removing",
    ("starting", "started"): "running",
    # A short program's start and end come in one message.
    ("starting", "ended"): "exited",
    # The state before: `Container.move` puts back what it was.
    ("starting", "failed"): "created",
    ("starting", "lost"): "exited",
    ("running", "ended"): "exited",
    ("running", "lost"): "exited",
    ("running", "pause"): "paused",
    ("running", "restart"): "restarting",
    ("paused", "unpause"): "running",
    ("paused", "ended"): "exited",
    ("paused", "lost"): "exited",
    ("restarting", "ended"): "exited",
    ("restarting", "lost"): "exited",
    ("exited", "start"): "starting",
    ("exited", "remove"): "removing",
    # What it leaves could not be removed; it can be tried again.
    ("removing", "remove_failed"): "dead",
    ("dead", "remove"): "removing",
}

# A program of it runs (or is about to).
ALIVE: Final[frozenset[Status]] = frozenset({"starting", "running", "paused", "restarting"})
# An exec can join it.
JOINABLE: Final[frozenset[Status]] = frozenset({"running", "restarting"})
STATUSES: Final[frozenset[Status]] = frozenset(
    {"created", "starting", "running", "paused", "restarting", "exited", "removing", "dead"}
)


def after(status: Status, happening: Happening) -> Status | None:
    """Where `happening` leads from `status`; None where it must not happen there."""
    return MOVES.get((status, happening))
