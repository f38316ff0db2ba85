"""Tables: columns as Go's text/tabwriter sets them, with the settings of Docker's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ardock.docker.values import Struct

# docker/cli, formatter.Context: tabwriter.NewWriter(out, 10, 1, 3, ' ', 0).
_NARROWEST: Final = 10
_BETWEEN: Final = 3


class Row(Protocol):
    """One thing that is listed."""

    def struct(self) -> Struct:
        """All of its columns by name."""

    def cells(self, names: Sequence[str]) -> list[str]:
        """Some of its columns."""


class Listed(NamedTuple):
    """What is listed.

    Attributes:
        headings: Of every column that there is, by its name.
        table: The columns of the table that is shown without a template.
        rows: The things, in order.
    """

    headings: Mapping[str, str]
    table: Sequence[str]
    rows: Sequence[Row]

    def lines(self) -> Iterator[str]:
        """The table with its usual columns."""
        return aligned([[self.headings[name] for name in self.table], *(row.cells(self.table) for row in self.rows)])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows as lines.

    Every cell but a row's last one is as wide as the widest of its column among the rows above and below that have that
    column, and three blanks; ten at least.
    """
    yield from _block(rows, [])


def _block(rows: Sequence[Sequence[str]], widths: list[int]) -> Iterator[str]:
    """The rows of which the columns before `len(widths)` are known to be so wide."""
    column = len(widths)
    place = 0
    while place < len(rows):
        end = place
        while end < len(rows) and column < len(rows[end]) - 1:
            end += 1
        if end == place:
            cells = [cell.ljust(width) for cell, width in zip(rows[place], widths, strict=False)]
            yield "".join([*cells[: len(rows[place]) - 1], rows[place][-1]])
            place += 1
            continue
        width = max(_NARROWEST, *(len(row[column]) + _BETWEEN for row in rows[place:end]))
        yield from _block(rows[place:end], [*widths, width])
        place = end
