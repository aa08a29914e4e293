"""One day of a site on its knots: the weather, the clock on the wall, and how busy production is.

A day begins an hour before its midnight: what a sequencer or a cycle did just before is known by computing it again,
not by remembering it, so that a day comes out the same whichever days were computed before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from emsd.readings import EPOCH
from simulator.noise import FloatArray, IntArray, Stream, smooth
from simulator.physics.scenarios import ScenarioKind, Scenarios
from simulator.physics.weather import Sky, Weather

__all__ = ["KNOTS_PER_DAY", "KNOT_S", "LEAD_KNOTS", "SITE_ROWS", "TOWER_APPROACH_K", "Day", "day_of"]

KNOT_S = 10
KNOTS_PER_DAY = 86_400 // KNOT_S
LEAD_KNOTS = 360
"""Knots of a day that lie before its midnight."""

SITE_ROWS: Final = (
    "ambient_c",
    "wet_bulb_c",
    "humidity_percent",
    "irradiance_w_m2",
    "rain_mm_h",
    "irradiance_poa_w_m2",
    "module_temperature_c",
    "wind_m_s",
    "chilled_water_c",
    "condenser_water_c",
    "air_setpoint_bar",
    "always",
)
"""The first rows of every plant: weather, the set-points that its machines share, and 1."""

TOWER_APPROACH_K = 3.5
"""By which water leaves a cooling tower warmer than the wet bulb."""

_CHILLED_WATER_C = 7.0
_LEAST_CONDENSER_C = 18.0
_MODULE_U0, _MODULE_U1 = 25.0, 6.84  # Faiman, Prog. Photovolt. 16 (2008) 307-315: W/(m2 K), W s/(m3 K)
_QUARTERS_BEFORE = LEAD_KNOTS * KNOT_S // 900


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day: LEAD_KNOTS + KNOTS_PER_DAY + 1 knots from an hour before its midnight to the next midnight."""

    number: int
    """Days since 1970-01-01."""
    knot: IntArray
    """Knots since 1970-01-01."""
    time_s: FloatArray
    local_hour: FloatArray
    """Hour of the site's clock, 0..24."""
    weekday: IntArray
    """Of the site's clock, Monday 0."""
    weather: Weather
    activity: FloatArray
    """How busy production is, 0..1."""
    scenarios: Scenarios
    site: Mapping[str, FloatArray]
    """SITE_ROWS by name."""

    def amount(self, kind: ScenarioKind, target: str | None = None) -> FloatArray | float:
        """Return how much of a kind of scenario is in force at every knot, in its unit; 0.0 where none ever is."""
        return self.scenarios.amount(kind, target, self.time_s)


def day_of(number: int, sky: Sky, zone: ZoneInfo, activity_stream: Stream, scenarios: Scenarios) -> Day:
    """Return the conditions of the UTC day `number` (days since 1970-01-01) at a site."""
    knot = number * KNOTS_PER_DAY + np.arange(-LEAD_KNOTS, KNOTS_PER_DAY + 1, dtype=np.int64)
    time_s = knot.astype(np.float64) * KNOT_S
    local_h = (time_s + _utc_offset_s(number, zone)) / 3600.0
    hour, weekday = np.mod(local_h, 24.0), (np.floor(local_h / 24.0).astype(np.int64) + 3) % 7
    change = np.exp(-(((hour - 7.5) / 0.3) ** 2)) + np.exp(-(((hour - 19.5) / 0.3) ** 2))
    busy = 0.94 + 0.04 * smooth(activity_stream, time_s, 6 * 3600.0) - 0.05 * change
    weather = sky.weather(time_s)
    site = _site_rows(weather, scenarios, time_s)
    return Day(number, knot, time_s, hour, weekday, weather, busy, scenarios, site)


def _site_rows(weather: Weather, scenarios: Scenarios, time_s: FloatArray) -> dict[str, FloatArray]:
    rows = {name: getattr(weather, name) for name in SITE_ROWS if hasattr(weather, name)}
    light = weather.irradiance_poa_w_m2
    still = np.zeros(time_s.size)
    return rows | {
        "module_temperature_c": weather.ambient_c + light / (_MODULE_U0 + _MODULE_U1 * np.maximum(weather.wind_m_s, 0)),
        "chilled_water_c": _CHILLED_WATER_C
        + scenarios.amount(ScenarioKind.CHILLED_WATER_SETPOINT, None, time_s)
        + still,
        "condenser_water_c": np.maximum(weather.wet_bulb_c + TOWER_APPROACH_K, _LEAST_CONDENSER_C),
        "air_setpoint_bar": scenarios.amount(ScenarioKind.AIR_SETPOINT, None, time_s) + still,
        "always": still + 1.0,
    }


def _utc_offset_s(number: int, zone: ZoneInfo) -> FloatArray:
    """Return the zone's offset at every knot [s]; zones change theirs on quarters of an hour."""
    midnight = EPOCH + timedelta(days=number)
    quarters = [_offset_s(midnight + timedelta(minutes=15 * q), zone) for q in range(-_QUARTERS_BEFORE, 97)]
    return np.repeat(np.array(quarters, dtype=np.float64), 900 // KNOT_S)[: LEAD_KNOTS + KNOTS_PER_DAY + 1]


def _offset_s(when: datetime, zone: ZoneInfo) -> float:
    offset = when.astimezone(zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
