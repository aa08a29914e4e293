"""What equipment of each kind draws through a day, as a share of its rated power on the knots of a day.

Every function is of absolute time: its value at a knot does not depend on which day's table the knot is in, so power is
continuous over midnight. Shares stay within 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from emsd.plant.models import AssetKind
from emsd.readings import EPOCH
from simulator.noise import FloatArray, IntArray, Stream, smooth, steps
from simulator.sky import Sky, Weather

__all__ = ["KNOTS_PER_DAY", "KNOT_S", "Behaviour", "Day", "behaviour_name", "day_of", "share_of"]

KNOT_S = 10
KNOTS_PER_DAY = 86_400 // KNOT_S


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day on its knots, both midnights included: arrays of KNOTS_PER_DAY + 1."""

    number: int
    """Days since 1970-01-01."""
    knot: IntArray
    """Knots since 1970-01-01."""
    time_s: FloatArray
    local_hour: FloatArray
    """Hour of the site's clock, 0..24."""
    weather: Weather
    activity: FloatArray
    """How busy production is, 0..1."""


def day_of(number: int, sky: Sky, zone: ZoneInfo, activity_stream: Stream) -> Day:
    """Return the conditions of the UTC day `number` (days since 1970-01-01) at a site."""
    knot = number * KNOTS_PER_DAY + np.arange(KNOTS_PER_DAY + 1, dtype=np.int64)
    time_s = knot.astype(np.float64) * KNOT_S
    hour = np.mod((time_s + _utc_offset_s(number, zone)) / 3600.0, 24.0)
    change = np.exp(-(((hour - 7.5) / 0.3) ** 2)) + np.exp(-(((hour - 19.5) / 0.3) ** 2))
    busy = 0.9 + 0.07 * smooth(activity_stream, time_s, 6 * 3600.0) - 0.05 * change
    return Day(number, knot, time_s, hour, sky.weather(time_s), busy)


def _utc_offset_s(number: int, zone: ZoneInfo) -> FloatArray:
    """Return the zone's offset at every knot [s]; zones change theirs on quarters of an hour."""
    midnight = EPOCH + timedelta(days=number)
    quarters = [_offset_s(midnight + timedelta(minutes=15 * quarter), zone) for quarter in range(97)]
    return np.repeat(np.array(quarters, dtype=np.float64), KNOTS_PER_DAY // 96)[: KNOTS_PER_DAY + 1]


def _offset_s(when: datetime, zone: ZoneInfo) -> float:
    offset = when.astimezone(zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


Behaviour = Callable[[Day, Stream], FloatArray]


def _ripple(day: Day, source: Stream, period_s: float = 90.0) -> FloatArray:
    return smooth(source, day.time_s, period_s)


def _process_tools(day: Day, source: Stream) -> FloatArray:
    """Twelve tools, each idling or working on lots of 20 to 55 minutes with a load of its own."""
    total = np.zeros(day.knot.size)
    for tool in range(12):
        own = source + np.uint64(7919 * (tool + 1))
        period = 120 + 17 * ((tool * 5) % 13)
        lot = steps(own, day.knot + 31 * tool, period, 9)
        total += np.where(lot < 0.08, 0.35 + 4.0 * lot, 0.67 + 0.33 * (lot - 0.08) / 0.92)
    return np.clip(total / 12 * day.activity / 0.97 + 0.01 * _ripple(day, source), 0.0, 1.0)


def _fan_filters(day: Day, source: Stream) -> FloatArray:
    """Fans that never stop; their filters clog over weeks."""
    clog = 0.02 * smooth(source, day.time_s, 20 * 86_400.0)
    return 0.86 + clog + 0.006 * _ripple(day, source, 300.0)


def _make_up_air(day: Day, source: Stream) -> FloatArray:
    """Fans, and heat or cold to bring outdoor air to 14 C: more with every kelvin away from it."""
    distance = np.abs(day.weather.wet_bulb_c - 13.0)
    return np.clip(0.42 + 0.028 * distance + 0.012 * _ripple(day, source, 600.0), 0.3, 1.0)


def _exhaust(day: Day, source: Stream) -> FloatArray:
    return 0.80 + 0.015 * smooth(source, day.time_s, 1800.0)


def _lighting(day: Day, source: Stream) -> FloatArray:
    """Two lit shifts and a dimmed night, with half an hour between."""
    shift = np.clip(np.minimum(day.local_hour - 6.5, 21.5 - day.local_hour) / 0.5, 0.0, 1.0)
    return 0.50 + 0.42 * shift + 0.02 * smooth(source, day.time_s, 900.0)


def _pump(day: Day, source: Stream) -> FloatArray:
    return 0.55 + 0.35 * steps(source, day.knot, 270, 6) + 0.01 * _ripple(day, source)


def _building(day: Day, source: Stream) -> FloatArray:
    """A general feeder: base load, working day, slow chance."""
    working = np.exp(-(((day.local_hour - 13.0) / 4.5) ** 2))
    slow = smooth(source, day.time_s, 2400.0)
    return np.clip(0.35 + 0.40 * working + 0.08 * slow + 0.01 * _ripple(day, source), 0.0, 1.0)


_BY_NAME: dict[str, Behaviour] = {
    "process_tools": _process_tools,
    "fan_filters": _fan_filters,
    "make_up_air": _make_up_air,
    "exhaust": _exhaust,
    "lighting": _lighting,
    "pump": _pump,
    "building": _building,
}

_BY_KIND = {
    AssetKind.CLEANROOM: "fan_filters",
    AssetKind.PROCESS_TOOL: "process_tools",
    AssetKind.PUMP: "pump",
    AssetKind.LIGHTING: "lighting",
}

# A cleanroom's feeders differ more from each other than kinds of assets do; their keys say which is which.
_BY_WORD = {
    "ffu": "fan_filters",
    "fan": "fan_filters",
    "mau": "make_up_air",
    "make": "make_up_air",
    "ahu": "make_up_air",
    "hvac": "make_up_air",
    "exhaust": "exhaust",
    "scrubber": "exhaust",
    "light": "lighting",
    "lighting": "lighting",
    "tool": "process_tools",
    "tools": "process_tools",
    "pump": "pump",
}


def behaviour_name(kind: AssetKind, meter_key: str) -> str:
    """Return which behaviour the load behind a meter has: by a word of its key, else by its asset's kind."""
    for word in meter_key.replace("_", "-").split("-"):
        if word in _BY_WORD:
            return _BY_WORD[word]
    return _BY_KIND.get(kind, "building")


def share_of(name: str, day: Day, source: Stream) -> FloatArray:
    """Return the share of rated power that behaviour `name` draws at every knot of a day."""
    return _BY_NAME[name](day, source)
