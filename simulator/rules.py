"""How a row of a day is computed: from the day, or from rows before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simulator.noise import FloatArray
from simulator.physics.day import Day

__all__ = ["Rule", "site_rule", "sum_rule"]

Rule = Callable[[Day, FloatArray], FloatArray]
"""Computes a row for a day, or several at once as [rows, knots], from the rows before it."""


def site_rule(name: str) -> Rule:
    """Return the rule of one of SITE_ROWS."""

    def rule(day: Day, _: FloatArray) -> FloatArray:
        return day.site[name]

    return rule


def sum_rule(terms: Mapping[int, float]) -> Rule:
    """Return the rule of a bus: the sum of rows, each times its factor."""
    rows = np.fromiter(terms.keys(), dtype=np.intp)
    factors = np.fromiter(terms.values(), dtype=np.float64)

    def rule(_: Day, table: FloatArray) -> FloatArray:
        total: FloatArray = factors @ table[rows]
        return total

    return rule
