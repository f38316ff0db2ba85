"""Draws the result as an SVG that reads on light and on dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.measure import Row

_WIDTH = 860
_LABEL = 248
_VALUE = 150
_LINE = 26
_BAR = 16
_HEAD = 78
_FOOT = 40
_PANEL_HEAD = 40

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .note, .value { fill: #59636e; }
  .note { font-size: 12px; }
  .panel { font-weight: 600; }
  .card { fill: #ffffff; stroke: #d1d9e0; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .ours { fill: #0f766e; }
  .floor { fill: #9aa4af; }
  .peer { fill: #d97706; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note, .value { fill: #9198a1; }
    .card { fill: #0d1117; stroke: #30363d; }
    .grid { stroke: #262c34; }
    .ours { fill: #2dd4bf; }
    .floor { fill: #5d6773; }
    .peer { fill: #f0a03c; }
  }
"""


def write(rows: Sequence[Row], file: Path, machine: str) -> None:
    """Write `rows` as one panel of bars for each set that they hold."""
    sets = sorted({(row.captures, row.scratch) for row in rows}, key=lambda s: (s[0], s[1] != "memory"))
    panels = [(_panel_title(*key), [r for r in rows if (r.captures, r.scratch) == key]) for key in sets]
    height = _HEAD + sum(_PANEL_HEAD + _LINE * len(panel) for _, panel in panels) + _FOOT
    longest = max(row.per_s for row in rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title">',
        '<title id="title">Containers started, run to their end and collected, each second</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text class="title" x="24" y="36">Containers started, run to their end and collected, each second</text>',
        f'<text class="note" x="24" y="57">{escape(machine)}</text>',
    ]
    top = _HEAD
    for title, panel in panels:
        parts.append(f'<text class="panel" x="24" y="{top + 22}">{escape(title)}</text>')
        top += _PANEL_HEAD
        parts += _bars(panel, top, longest)
        top += _LINE * len(panel)
    parts.append(
        f'<text class="note" x="24" y="{top + 24}">'
        "Beside each bar: starts a second, then p50 from call to collected exit at that load.</text>"
    )
    parts.append("</svg>\n")
    file.write_text("\n".join(parts))


def _panel_title(captures: bool, scratch: str) -> str:
    place = "in memory" if scratch == "memory" else "on the disk"
    return f"Writes to the root {place}" + (", 100 bytes of output collected" if captures else "")


def _bars(panel: Sequence[Row], top: int, longest: float) -> list[str]:
    room = _WIDTH - _LABEL - _VALUE - 24
    bottom = top + _LINE * len(panel) - 6
    parts = [f'<line class="grid" x1="{_LABEL}" y1="{top - 4}" x2="{_LABEL}" y2="{bottom}"/>']
    for number, row in enumerate(panel):
        y = top + number * _LINE
        width = max(1.5, room * row.per_s / longest)
        middle = y + _BAR - 3
        value = f"{row.per_s:,.0f}/s, {_ms(row.p50_ms)}"
        parts += [
            f'<text x="{_LABEL - 12}" y="{middle}" text-anchor="end">{escape(row.system)}</text>',
            f'<rect class="{_kind(row.system)}" x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
            f'<text class="value" x="{_LABEL + width + 8:.1f}" y="{middle}">{value}</text>',
        ]
    return parts


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _kind(system: str) -> str:
    if system.startswith("ardock"):
        return "ours"
    return "floor" if "floor" in system else "peer"
