"""The rows of a plant on the knots of a day, and their exact integrals since the anchor.

Between two knots every row is a straight line, so its integral is a sum of trapezoids and nothing else: there is no
numerical error to speak of, and energy over a window is the same however the window is cut.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.noise import FloatArray, IntArray
from simulator.physics.day import KNOT_S, KNOTS_PER_DAY, LEAD_KNOTS, Day
from simulator.rules import Rule

__all__ = ["US_PER_DAY", "Integral", "Tables"]

US_PER_DAY = 86_400_000_000
_US_PER_KNOT = KNOT_S * 1_000_000
_HOURS_PER_KNOT = KNOT_S / 3600.0
_DAYS_KEPT = 3


class Integral(NamedTuple):
    """Integral of a row's positive and of its negative part since the anchor, both rising with time [unit x h]."""

    positive: FloatArray
    negative: FloatArray


@dataclass(frozen=True, slots=True)
class _DayTable:
    values: FloatArray
    """[rows, knots]"""
    positive: FloatArray
    """Integral of the positive part since midnight, [rows, knots]."""
    negative: FloatArray


class Tables:
    """Values and integrals of all rows at any time; computes a day when it is asked for and keeps the last few."""

    def __init__(self, rules: Sequence[Rule], rows: int, day: Callable[[int], Day], anchor_day: int) -> None:
        """Prepare tables of `rows` rows, which the rules compute in turn, one or more each."""
        self._rules = tuple(rules)
        self._rows = rows
        self._day = day
        self._kept: OrderedDict[int, _DayTable] = OrderedDict()
        zero = np.zeros(rows)
        self._first = self._last = anchor_day
        self._starts: dict[int, Integral] = {anchor_day: Integral(zero, zero)}

    def values(self, row: IntArray, time_us: IntArray) -> FloatArray:
        """Return rows at times; `row` and `time_us` broadcast against each other."""
        result = np.empty(np.broadcast_shapes(row.shape, time_us.shape))
        for number, where in _by_day(time_us):
            table = self._table(number)
            knot, share = _place(time_us[where], number)
            left = table.values[row, knot]
            result[..., where] = left + (table.values[row, knot + 1] - left) * share
        return result

    def integral(self, row: IntArray, time_us: IntArray) -> Integral:
        """Return the integrals of rows from the anchor to times; before the anchor they are negative."""
        shape = np.broadcast_shapes(row.shape, time_us.shape)
        positive, negative = np.empty(shape), np.empty(shape)
        for number, where in _by_day(time_us):
            start, today = self._start(number), self._since_midnight(number, row, time_us[where])
            positive[..., where] = start.positive[row] + today.positive
            negative[..., where] = start.negative[row] + today.negative
        return Integral(positive, negative)

    def between(self, row: IntArray, edges_us: IntArray) -> Integral:
        """Return the integrals of rows from each instant to the next, [rows, instants - 1]; the instants must rise.

        Only the days between the first and the last are computed, however far from the anchor they are.
        """
        shape = (row.size, edges_us.size - 1)
        positive, negative = np.zeros(shape), np.zeros(shape)
        for number in range(int(edges_us[0]) // US_PER_DAY, -(-int(edges_us[-1]) // US_PER_DAY)):
            begin, end = number * US_PER_DAY, (number + 1) * US_PER_DAY
            first = max(int(np.searchsorted(edges_us, begin, side="right")) - 1, 0)
            last = min(int(np.searchsorted(edges_us, end, side="left")) + 1, edges_us.size)
            today = self._since_midnight(number, row[:, None], np.clip(edges_us[first:last], begin, end))
            positive[:, first : last - 1] += np.diff(today.positive, axis=1)
            negative[:, first : last - 1] += np.diff(today.negative, axis=1)
        return Integral(positive, negative)

    def _since_midnight(self, number: int, row: IntArray, time_us: IntArray) -> Integral:
        """Return the integrals of rows from the midnight at which a day begins to times on it, its end included."""
        table = self._table(number)
        knot, share = _place(time_us, number)
        left = table.values[row, knot]
        right = left + (table.values[row, knot + 1] - left) * share
        part = share * _HOURS_PER_KNOT
        above = _positive_mean(left, right)
        below = above - 0.5 * (left + right)
        return Integral(table.positive[row, knot] + above * part, table.negative[row, knot] + below * part)

    def _start(self, number: int) -> Integral:
        """Integrals at the first instant of a day, walking there from the nearest day that is known."""
        while number > self._last:
            self._starts[self._last + 1] = self._beside(self._last, self._table(self._last), 1.0)
            self._last += 1
        while number < self._first:
            self._starts[self._first - 1] = self._beside(self._first, self._table(self._first - 1), -1.0)
            self._first -= 1
        return self._starts[number]

    def _beside(self, number: int, table: _DayTable, sign: float) -> Integral:
        known = self._starts[number]
        return Integral(known.positive + sign * table.positive[:, -1], known.negative + sign * table.negative[:, -1])

    def _table(self, number: int) -> _DayTable:
        table = self._kept.get(number)
        if table is None:
            table = self._compute(number)
            self._kept[number] = table
            if len(self._kept) > _DAYS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(number)
        return table

    def _compute(self, number: int) -> _DayTable:
        day = self._day(number)
        table = np.empty((self._rows, LEAD_KNOTS + KNOTS_PER_DAY + 1))
        position = 0
        for rule in self._rules:
            rows = np.atleast_2d(rule(day, table))
            table[position : position + len(rows)] = rows
            position += len(rows)
        return _integrated(table[:, LEAD_KNOTS:])


def _integrated(values: FloatArray) -> _DayTable:
    """Return rows with their integrals; most are never negative, which saves them half of the work."""
    left, right = values[:, :-1], values[:, 1:]
    mean = (0.5 * _HOURS_PER_KNOT) * (left + right)
    positive, negative = np.zeros(values.shape), np.zeros(values.shape)
    below_zero = np.flatnonzero(values.min(axis=1) < 0.0)
    if below_zero.size:
        above = _positive_mean(left[below_zero], right[below_zero]) * _HOURS_PER_KNOT
        negative[below_zero, 1:] = np.cumsum(above - mean[below_zero], axis=1)
        mean[below_zero] = above
    np.cumsum(mean, axis=1, out=positive[:, 1:])
    return _DayTable(values, positive, negative)


def _positive_mean(left: FloatArray, right: FloatArray) -> FloatArray:
    """Mean of max(0, line) along straight lines: where one crosses zero, the area of its triangle."""
    crossing = (left < 0) != (right < 0)
    plain = np.maximum(0.5 * (left + right), 0.0)
    if not crossing.any():
        return plain
    triangle = 0.5 * np.maximum(left, right) ** 2 / np.where(crossing, np.abs(right - left), 1.0)
    return np.where(crossing, triangle, plain)


def _place(time_us: IntArray, number: int) -> tuple[IntArray, FloatArray]:
    """Return the knot before each time, and how far between it and the next the time lies, 0..1."""
    since_us = time_us - number * US_PER_DAY
    knot = np.minimum(since_us // _US_PER_KNOT, KNOTS_PER_DAY - 1)  # the end of a day lies on its last line
    return knot, (since_us - knot * _US_PER_KNOT) / _US_PER_KNOT


def _by_day(time_us: IntArray) -> list[tuple[int, IntArray | slice]]:
    """Return (day number, positions of the times on it) for every day that occurs."""
    first, last = int(time_us.min()) // US_PER_DAY, int(time_us.max()) // US_PER_DAY
    if first == last:
        return [(first, slice(None))]
    days = time_us // US_PER_DAY
    if np.any(days[1:] < days[:-1]):
        return [(int(number), np.flatnonzero(days == number)) for number in np.unique(days)]
    numbers = np.arange(first, last + 2)
    edges = np.searchsorted(days, numbers).tolist()
    parts = zip(numbers.tolist(), edges, edges[1:], strict=False)
    return [(number, slice(begin, end)) for number, begin, end in parts if begin < end]
