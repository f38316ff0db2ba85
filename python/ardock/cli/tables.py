"""Plain text in columns, for a terminal of any width and for a pipe."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Collection, Sequence


def wrapped(text: str, margin: int) -> list[str]:
    """The text in lines that leave `margin` columns free on the left; at least one line.

    Words are never broken, so that a path or a command can be copied.
    """
    width = max(shutil.get_terminal_size((100, 24)).columns - margin, 30)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Headings and rows in columns as wide as their widest cell; `right` names the columns set flush right."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = []
    for row in [headings, *rows]:
        cells = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
