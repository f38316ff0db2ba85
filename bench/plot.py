"""Draws the result as an SVG that reads on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.measure import Row

_WIDTH = 860
_MARGIN = 28
_LABEL = 270
_VALUE = 96
_LINE = 25
_BAR = 15
_HEAD = 84
_PANEL_HEAD = 42
_PANEL_FOOT = 14

_FOOT = 36

_NOTE = "crun and runc make no overlay; bwrap neither that, nor limits, nor a seccomp policy. The floor: the system calls alone."
_TITLE = "Starting a container, from the call to its collected exit"

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: #1f2328; }
  .title { font-size: 18px; font-weight: 600; }
  .panel { font-size: 14px; font-weight: 600; }
  .note { font-size: 12px; fill: #59636e; }
  .value { fill: #59636e; font-variant-numeric: tabular-nums; }
  .card { fill: #ffffff; stroke: #d1d9e0; }
  .axis { stroke: #d1d9e0; }
  .ours { fill: #0f766e; }
  .floor { fill: #8b96a3; }
  .peer { fill: #d08700; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note, .value { fill: #9198a1; }
    .card { fill: #0d1117; stroke: #30363d; }
    .axis { stroke: #30363d; }
    .ours { fill: #2bb3a3; }
    .floor { fill: #667180; }
    .peer { fill: #d99a2b; }
  }
"""


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    kind: str
    value: float
    text: str


def write(rows: Sequence[Row], file: Path, machine: str) -> None:
    """Write the set without output: starts a second for both scratches, and one start at a time."""
    silent = [row for row in rows if not row.captures]
    panels: list[tuple[str, str, list[_Bar]]] = []
    for scratch, place in (("memory", "in memory"), ("disk", "on the disk")):
        chosen = [row for row in silent if row.scratch == scratch and row.in_flight != 1]
        panels.append((f"Containers a second, many in flight, writes {place}", "longer is better", _rates(chosen)))
    alone = [row for row in silent if row.scratch == "memory" and row.in_flight == 1]
    panels.append(("One at a time: milliseconds (p50), writes in memory", "shorter is better", _times(alone)))
    panels = [panel for panel in panels if panel[2]]
    height = _HEAD + sum(_PANEL_HEAD + _LINE * len(bars) + _PANEL_FOOT for _, _, bars in panels) + _FOOT
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{_TITLE}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="{_MARGIN}" y="40">{_TITLE}</text>',
        f'<text class="note" x="{_MARGIN}" y="62">A static /bin/true with memory, cpu and pids limits. {escape(machine)}.</text>',
    ]
    top = _HEAD
    for title, sense, bars in panels:
        parts.append(f'<text class="panel" x="{_MARGIN}" y="{top + 20}">{title}</text>')
        parts.append(f'<text class="note" x="{_WIDTH - _MARGIN}" y="{top + 20}" text-anchor="end">{sense}</text>')
        top += _PANEL_HEAD
        parts += _draw(bars, top)
        top += _LINE * len(bars) + _PANEL_FOOT
    parts.append(f'<text class="note" x="{_MARGIN}" y="{top + 14}">{escape(_NOTE)}</text>')
    parts.append("</svg>\n")
    file.write_text("\n".join(parts))


def _rates(rows: Sequence[Row]) -> list[_Bar]:
    ordered = sorted(rows, key=lambda row: -row.per_s)
    return [_Bar(row.system, _kind(row.system), row.per_s, f"{row.per_s:,.0f}/s") for row in ordered]


def _times(rows: Sequence[Row]) -> list[_Bar]:
    ordered = sorted(rows, key=lambda row: row.p50_ms)
    return [
        _Bar(row.system.removesuffix(", one at a time"), _kind(row.system), row.p50_ms, _ms(row.p50_ms))
        for row in ordered
    ]


def _draw(bars: Sequence[_Bar], top: int) -> list[str]:
    room = _WIDTH - _LABEL - _VALUE - _MARGIN
    longest = max(bar.value for bar in bars)
    parts = []
    for number, bar in enumerate(bars):
        y = top + number * _LINE
        width = max(1.5, room * bar.value / longest)
        line = y + _BAR - 3
        parts += [
            f'<text x="{_LABEL - 12}" y="{line}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
            f'<text class="value" x="{_LABEL + width + 8:.1f}" y="{line}">{bar.text}</text>',
        ]
    bottom = top + _LINE * len(bars) - (_LINE - _BAR) + 4
    parts.append(f'<line class="axis" x1="{_LABEL}" y1="{top - 4}" x2="{_LABEL}" y2="{bottom}"/>')
    return parts


def _ms(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _kind(system: str) -> str:
    if system.startswith("ardock"):
        return "ours"
    return "floor" if system.startswith("floor") else "peer"
