"""Epochs of the journal, and where a cursor stands among them. Without I/O.

Numbers go on from one epoch to the next. An epoch ends where its last event that is still there ends: events of it that were told
and then lost (a loss of power takes what was not yet synced) had numbers that the next epoch gives anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ardock.model.events import Cursor


class Epoch(NamedTuple):
    """One epoch.

    Attributes:
        name: 8 hexadecimal digits.
        first: The number of its first event.
    """

    name: str
    first: int


class Place(NamedTuple):
    """Where a subscriber goes on.

    Attributes:
        seq: After this number.
        gap: It missed events (or may have), whatever is still there.
    """

    seq: int
    gap: bool


def place_of(cursor: Cursor, epochs: Sequence[Epoch], assigned: int) -> Place:
    """Where a subscriber with this cursor goes on.

    Args:
        cursor: What it has seen.
        epochs: All that are known, the current one last.
        assigned: The last number given.
    """
    for index in range(len(epochs) - 1, -1, -1):
        if epochs[index].name == cursor.epoch:
            end = epochs[index + 1].first - 1 if index + 1 < len(epochs) else assigned
            return Place(cursor.seq, gap=False) if cursor.seq <= end else Place(end, gap=True)
    # The journal that it knew is lost: all there is may be new to it.
    return Place(0, gap=True)


def epoch_at(seq: int, epochs: Sequence[Epoch]) -> str:
    """The epoch of the event with this number; the oldest known one's where it is older."""
    for epoch in reversed(epochs):
        if epoch.first <= seq:
            return epoch.name
    return epochs[0].name
