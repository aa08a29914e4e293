"""Areas stacked over time, lines over them and one line on an axis of its own, as an SVG; needs no library.

The left axis begins at 0, so that the height of an area is its share; whoever draws says where the right one ends, so
that pictures can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

import numpy as np

from simulator.noise import FloatArray

__all__ = ["Band", "Picture", "as_svg"]

_WIDTH: Final = 900
_HEIGHT: Final = 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 62, 44, 92
_LEGEND_PX: Final = 198
_LEGEND_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class Band:
    """A named series: an area or a line."""

    name: str
    colour: str
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: `at` are the places of all values on the axis of time, `ticks` its marks.

    areas  stacked, the first lowest, on the left axis
    lines  on the left axis
    right  on the right axis
    """

    title: str
    at: FloatArray
    ticks: Sequence[tuple[float, str]]
    areas: Sequence[Band]
    lines: Sequence[Band]
    right: Band
    left_unit: str
    right_unit: str
    right_ends: tuple[float, float]


def as_svg(picture: Picture) -> str:
    """Return the picture."""
    tops = np.cumsum([band.values for band in picture.areas], axis=0)
    left = _Axis(0.0, _nice(max([float(tops[-1].max()), *(float(line.values.max()) for line in picture.lines)])))
    right = _Axis(*picture.right_ends)
    x = _Scale(float(picture.at[0]), float(picture.at[-1]))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        ' font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14" font-weight="bold">{escape(picture.title)}</text>',
    ]
    for band, lower, upper in zip(picture.areas, [np.zeros(picture.at.size), *tops[:-1]], tops, strict=True):
        outline = [*_points(picture.at, upper, x, left), *reversed(_points(picture.at, lower, x, left))]
        lines.append(f'<polygon points="{" ".join(outline)}" fill="{band.colour}"/>')
    lines += _grid(picture, x, left, right)
    for band in picture.lines:
        lines.append(_line(band, _points(picture.at, band.values, x, left), ""))
    lines.append(_line(picture.right, _points(picture.at, picture.right.values, x, right), ' stroke-dasharray="5 3"'))
    lines += _legend([*reversed(picture.areas)], [*picture.lines, picture.right])
    return "\n".join([*lines, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Scale:
    first: float
    last: float

    def px(self, at: float) -> float:
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * (at - self.first) / (self.last - self.first)


@dataclass(frozen=True, slots=True)
class _Axis:
    least: float
    most: float

    def at(self, share: float) -> float:
        return self.least + share * (self.most - self.least)

    def px(self, value: float) -> float:
        share = (value - self.least) / (self.most - self.least)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * share


def _points(at: FloatArray, values: FloatArray, x: _Scale, y: _Axis) -> list[str]:
    return [f"{x.px(a):.1f},{y.px(v):.1f}" for a, v in zip(at.tolist(), values.tolist(), strict=True)]


def _line(band: Band, points: Sequence[str], style: str) -> str:
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{band.colour}" stroke-width="1.8"{style}/>'


def _grid(picture: Picture, x: _Scale, left: _Axis, right: _Axis) -> Iterator[str]:
    end = _WIDTH - _RIGHT
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = left.px(left.at(share))
        yield f'<line x1="{_LEFT}" x2="{end}" y1="{height:.1f}" y2="{height:.1f}" stroke="#000" stroke-opacity="0.12"/>'
        yield f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{left.at(share):g}</text>'
        yield f'<text x="{end + 6}" y="{height + 4:.1f}">{right.at(share):g}</text>'
    yield f'<text x="{_LEFT - 6}" y="{_TOP - 8}" text-anchor="end">{escape(picture.left_unit)}</text>'
    yield f'<text x="{end + 6}" y="{_TOP - 8}">{escape(picture.right_unit)}</text>'
    for at, label in picture.ticks:
        yield f'<text x="{x.px(at):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{escape(label)}</text>'


def _legend(areas: Sequence[Band], lines: Sequence[Band]) -> Iterator[str]:
    for place, band in enumerate([*areas, *lines]):
        left = _LEFT + place % _LEGEND_COLUMNS * _LEGEND_PX
        top = _HEIGHT - _BOTTOM + 40 + place // _LEGEND_COLUMNS * 18
        height = 10 if place < len(areas) else 3
        middle = top - 4 - height / 2
        yield f'<rect x="{left}" y="{middle:.1f}" width="16" height="{height}" fill="{band.colour}"/>'
        yield f'<text x="{left + 22}" y="{top}">{escape(band.name)}</text>'


_STEPS: Final = (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0)


def _nice(most: float) -> float:
    """Return the end of an axis above a value > 0, of which a quarter is a short number."""
    power = 10.0 ** math.floor(math.log10(most))
    ends = [step * power for step in _STEPS]
    return next(high for low, high in pairwise([0.0, *ends]) if low < most <= high)
