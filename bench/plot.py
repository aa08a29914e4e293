"""Lines over time as an SVG, panels one below the other; small enough to need no library.

Every axis begins at 0, so that a flat line is flat and a small growth looks small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Panel", "as_svg"]

_WIDTH: Final = 800
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 46
_HEIGHT: Final = 130
"""Of one panel [px]."""
_GAP: Final = 44


@dataclass(frozen=True, slots=True)
class Panel:
    """One line: `points` are (time [s], value), in the order of time."""

    title: str
    points: Sequence[tuple[float, float]]


def as_svg(title: str, below: str, panels: Sequence[Panel]) -> str:
    """Return the picture; `below` names the axis of time, which all panels share."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP) + _BOTTOM - _GAP // 2
    longest = _nice(max((at for panel in panels for at, _ in panel.points), default=1.0))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        ' font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for place, panel in enumerate(panels):
        lines += _panel(panel, _TOP + _GAP // 2 + place * (_HEIGHT + _GAP), longest)
    lines.append(f'<text x="{_WIDTH / 2}" y="{height - 8}" text-anchor="middle">{escape(below)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _panel(panel: Panel, top: float, longest: float) -> Iterator[str]:
    most = _nice(max((value for _, value in panel.points), default=0.0))
    bottom, right = top + _HEIGHT, _WIDTH - _RIGHT

    def x(at: float) -> float:
        return _LEFT + (right - _LEFT) * at / longest

    def y(value: float) -> float:
        return bottom - _HEIGHT * value / most

    yield f'<text x="{_LEFT}" y="{top - 7}">{escape(panel.title)}</text>'
    for share in (0.0, 0.5, 1.0):
        height = y(share * most)
        yield f'<line x1="{_LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{share * most:g}</text>'
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = share * longest
        yield f'<text x="{x(at):.1f}" y="{bottom + 16}" text-anchor="middle">{at:g}</text>'
    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in panel.points)
    yield f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>'


def _nice(most: float) -> float:
    """Return the end of an axis: the next of 1, 2, 4, 6, 8 or 10 times a power of ten; 1 when there is nothing."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= most * (1 - 1e-9))
