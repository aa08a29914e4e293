"""Production tools: lots through shifts, idling between them, and one day a week for maintenance."""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray, Stream, smooth, steps, uniform
from simulator.physics.day import Day

__all__ = ["busy_tools", "tool_power"]

_TOOLS = 10
_BUSY = 0.94  # of the time that production runs, a tool has a lot
_IDLE = 0.40  # power of a tool that waits, of its rated: vacuum pumps, heaters and controls never rest
_RAMP_KNOTS = 9
_MAINTENANCE = 0.12  # of the tools, in the week's window


def busy_tools(day: Day, source: Stream) -> FloatArray:
    """Return which share of a bay's tools has a lot in work; a lot takes 20 to 55 minutes, by tool."""
    total = np.zeros(day.knot.size)
    for tool in range(_TOOLS):
        period = 120 + 17 * ((tool * 5) % 13)
        chance = steps(source + np.uint64(7919 * (tool + 1)), day.knot + 31 * tool, period, _RAMP_KNOTS)
        total += np.clip((chance - (1.0 - _BUSY)) * 12.0 + 0.5, 0.0, 1.0)
    return total / _TOOLS * day.activity * (1.0 - _MAINTENANCE * _maintenance(day, source))


def tool_power(day: Day, busy: FloatArray, source: Stream) -> FloatArray:
    """Return what the tools draw, of their rated power: idle load, and that of their recipes."""
    recipe = 0.85 + 0.05 * smooth(source, day.time_s, 3600.0) + 0.01 * smooth(source, day.time_s, 90.0)
    return _IDLE + (1.0 - _IDLE) * busy * recipe


def _maintenance(day: Day, source: Stream) -> FloatArray:
    """Return 1 from 9 to 15 o'clock on the bay's weekday, with an hour from and to 0."""
    weekday = int(7 * uniform(source + np.uint64(5), np.zeros(1, dtype=np.int64))[0])
    window = np.clip(np.minimum(day.local_hour - 9.0, 15.0 - day.local_hour), 0.0, 1.0)
    return np.where(day.weekday == weekday, window, 0.0)
