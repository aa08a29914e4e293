"""Air and light of a cleanroom: fans that never stop, outdoor air dried and tempered, lamps by schedule."""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray, Stream, smooth
from simulator.physics.day import Day
from simulator.physics.scenarios import ScenarioKind

__all__ = ["exhaust", "fan_filters", "lighting", "make_up_air"]

_NEUTRAL_WET_BULB_C = 13.0  # outdoor air that needs neither cold nor moisture
_DIMMED, _LIT = 0.50, 0.92


def fan_filters(day: Day, source: Stream, asset_key: str) -> FloatArray:
    """Fans that never stop; their filters clog over weeks."""
    clog = 0.02 * smooth(source, day.time_s, 20 * 86_400.0)
    ripple = 0.006 * smooth(source, day.time_s, 300.0)
    more = day.amount(ScenarioKind.CLOGGED_FILTERS, asset_key)
    less = day.amount(ScenarioKind.FAN_MOTORS, asset_key)
    return (0.86 + clog + ripple) * (1.0 + more) * (1.0 - less)


def make_up_air(day: Day, source: Stream, asset_key: str) -> FloatArray:
    """Fans at a steady flow, and pumps and humidifiers that work harder the farther outdoor air is from its goal."""
    distance = np.abs(day.weather.wet_bulb_c - _NEUTRAL_WET_BULB_C)
    ripple = 0.012 * smooth(source, day.time_s, 600.0)
    more = day.amount(ScenarioKind.CLOGGED_FILTERS, asset_key)
    less = day.amount(ScenarioKind.FAN_MOTORS, asset_key)
    return np.clip((0.60 + 0.015 * distance + ripple) * (1.0 + more) * (1.0 - less), 0.2, 1.0)


def exhaust(day: Day, source: Stream, asset_key: str) -> FloatArray:
    """Fans that keep the pressure in the exhaust ducts."""
    less = day.amount(ScenarioKind.FAN_MOTORS, asset_key)
    return (0.80 + 0.015 * smooth(source, day.time_s, 1800.0)) * (1.0 - less)


def lighting(day: Day, source: Stream, asset_key: str) -> FloatArray:
    """Two lit shifts and a dimmed night, half an hour between; with a control it follows who is there."""
    shift = np.clip(np.minimum(day.local_hour - 6.5, 21.5 - day.local_hour) / 0.5, 0.0, 1.0)
    flicker = 0.02 * smooth(source, day.time_s, 900.0)
    by_schedule = _DIMMED + (_LIT - _DIMMED) * shift + flicker
    people = np.clip(0.25 + 0.45 * shift + 0.2 * smooth(source + np.uint64(1), day.time_s, 2700.0), 0.0, 1.0)
    control = day.amount(ScenarioKind.LIGHTING_CONTROL, asset_key)
    share = by_schedule + control * (0.08 + 0.7 * people - by_schedule)
    left_on = day.amount(ScenarioKind.LIGHTS_ON, asset_key)
    return np.clip(share + left_on * np.maximum(_LIT + flicker - share, 0.0), 0.0, 1.0)
