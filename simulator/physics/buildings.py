"""Loads of which a plant has many and that nobody looks at closely: pumps, water treatment, offices."""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray, Stream, smooth, steps
from simulator.physics.day import Day

__all__ = ["building", "pump", "steady", "water_treatment"]


def pump(day: Day, source: Stream, _: str) -> FloatArray:
    """A pump of a process, which changes its duty every three quarters of an hour."""
    return 0.55 + 0.35 * steps(source, day.knot, 270, 6) + 0.01 * smooth(source, day.time_s, 90.0)


def water_treatment(day: Day, source: Stream, _: str) -> FloatArray:
    """Ultrapure and waste water: steady pumps and blowers, more with production."""
    duty = steps(source, day.knot, 360, 6)
    return np.clip(0.36 + 0.34 * day.activity + 0.12 * duty + 0.01 * smooth(source, day.time_s, 300.0), 0.0, 1.0)


def steady(day: Day, source: Stream, _: str) -> FloatArray:
    """What runs at one pace all year: computers, air dryers, gas supply."""
    return 0.82 + 0.03 * smooth(source, day.time_s, 3 * 3600.0) + 0.01 * smooth(source, day.time_s, 120.0)


def building(day: Day, source: Stream, _: str) -> FloatArray:
    """A general feeder: base load, working day, slow chance."""
    working = np.exp(-(((day.local_hour - 13.0) / 4.5) ** 2)) * np.where(day.weekday < 5, 1.0, 0.6)
    slow = smooth(source, day.time_s, 2400.0)
    return np.clip(0.35 + 0.40 * working + 0.08 * slow + 0.01 * smooth(source, day.time_s, 90.0), 0.0, 1.0)
