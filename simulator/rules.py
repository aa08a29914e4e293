"""How a row of a day is computed: from the day, or from rows before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simulator.loads import Day
from simulator.noise import FloatArray

__all__ = ["WEATHER_ROWS", "Rule", "part_load", "pv_share", "sum_rule", "weather_rule"]

Rule = Callable[[Day, FloatArray], FloatArray]
"""Computes one row for a day from the rows before it."""

WEATHER_ROWS = ("ambient_c", "wet_bulb_c", "humidity_percent", "irradiance_w_m2", "rain_mm_h")
"""The first rows of every plant."""

_DC_TO_AC_RATIO = 1.2  # modules are bought larger than the inverter, which clips on the best days
_TEMPERATURE_COEFFICIENT = -0.0035  # power of a crystalline module [1/K]; source: PVWatts version 5 manual, NREL 2014
_INVERTER_EFFICIENCY = 0.97


def weather_rule(name: str) -> Rule:
    """Return the rule of one of WEATHER_ROWS."""

    def rule(day: Day, _: FloatArray) -> FloatArray:
        values: FloatArray = getattr(day.weather, name)
        return values

    return rule


def sum_rule(terms: Mapping[int, float]) -> Rule:
    """Return the rule of a bus: the sum of rows, each times its factor."""
    rows = np.fromiter(terms.keys(), dtype=np.intp)
    factors = np.fromiter(terms.values(), dtype=np.float64)

    def rule(_: Day, table: FloatArray) -> FloatArray:
        total: FloatArray = factors @ table[rows]
        return total

    return rule


def part_load(day: Day, chance: FloatArray) -> FloatArray:
    """Chillers carry the heat of production and of the outdoor air."""
    return np.clip(0.26 + 0.019 * day.weather.wet_bulb_c + 0.15 * day.activity + 0.04 * chance, 0.2, 1.0)


def pv_share(day: Day, soiling: float) -> FloatArray:
    """AC power of an inverter, of its rating, by PVWatts: P = G/1000 P0 (1 + gamma (Tc - 25))."""
    irradiance = day.weather.irradiance_w_m2
    cell_c = day.weather.ambient_c + irradiance * (45.0 - 20.0) / 800.0
    direct = irradiance / 1000.0 * _DC_TO_AC_RATIO * (1.0 + _TEMPERATURE_COEFFICIENT * (cell_c - 25.0))
    return np.clip(soiling * _INVERTER_EFFICIENCY * direct, 0.0, 1.0)
