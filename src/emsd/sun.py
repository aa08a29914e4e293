"""Whether it is night at a place: the elevation of the sun by the equations of the NOAA solar calculator.

NOAA Global Monitoring Laboratory, Solar Calculation Details, after J. Meeus, Astronomical Algorithms, 2nd ed. 1998,
chapters 25 (low accuracy), 22 and 28. Good to 0.01 degree from 1950 to 2050, which is 3 s of time at the equator.
The elevation is that of the sun's centre without refraction: sunrise and sunset are at -0.833 degree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

__all__ = ["RESTING_BELOW_DEG", "elevation_deg", "is_night", "rests_by_night"]

RESTING_BELOW_DEG: Final = 3.0
"""Below this elevation an inverter may be off: with so little light it does not start on every morning, and stops early
on a cloudy evening [degree]."""

_J2000_US: Final = 946_728_000_000_000
"""2000-01-01 12:00 UTC, in microseconds since 1970-01-01 UTC."""
_US_PER_CENTURY: Final = 36_525 * 86_400_000_000
_US_PER_DAY: Final = 86_400_000_000
_US_PER_DEGREE: Final = _US_PER_DAY / 360.0
_STEP_US: Final = 20_000_000
"""`rests_by_night` looks at the sun this often: it moves by 0.08 degree in the meantime."""


def elevation_deg(latitude: float, longitude: float, time_us: int) -> float:
    """Return how far the centre of the sun stands above the horizon, without refraction [degree].

    Args:
        latitude: north positive [degree].
        longitude: east positive [degree].
        time_us: microseconds since 1970-01-01 UTC.
    """
    century = (time_us - _J2000_US) / _US_PER_CENTURY
    mean_longitude = math.radians(280.46646 + century * (36000.76983 + century * 0.0003032))
    mean_anomaly = math.radians(357.52911 + century * (35999.05029 - century * 0.0001537))
    eccentricity = 0.016708634 - century * (0.000042037 + century * 0.0000001267)
    centre = math.radians(
        math.sin(mean_anomaly) * (1.914602 - century * (0.004817 + century * 0.000014))
        + math.sin(2 * mean_anomaly) * (0.019993 - century * 0.000101)
        + math.sin(3 * mean_anomaly) * 0.000289
    )
    node = math.radians(125.04 - 1934.136 * century)
    apparent_longitude = mean_longitude + centre - math.radians(0.00569 + 0.00478 * math.sin(node))
    mean_obliquity = 23.43929111 - century * (0.013004167 + century * (1.639e-7 - century * 5.036e-7))
    obliquity = math.radians(mean_obliquity + 0.00256 * math.cos(node))
    declination = math.asin(math.sin(obliquity) * math.sin(apparent_longitude))
    # Equation of time [rad], Meeus (28.3).
    y = math.tan(obliquity / 2) ** 2
    equation = (
        y * math.sin(2 * mean_longitude)
        - 2 * eccentricity * math.sin(mean_anomaly)
        + 4 * eccentricity * y * math.sin(mean_anomaly) * math.cos(2 * mean_longitude)
        - 0.5 * y * y * math.sin(4 * mean_longitude)
        - 1.25 * eccentricity * eccentricity * math.sin(2 * mean_anomaly)
    )
    hour_angle = math.radians(time_us % _US_PER_DAY / _US_PER_DEGREE + longitude - 180.0) + equation
    north = math.radians(latitude)
    sine = math.sin(north) * math.sin(declination) + math.cos(north) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def is_night(latitude: float, longitude: float, time_us: int, horizon_deg: float = -0.833) -> bool:
    """Return whether the sun stands below `horizon_deg` [degree] at a place and an instant; see `elevation_deg`."""
    return elevation_deg(latitude, longitude, time_us) < horizon_deg


def rests_by_night(latitude: float, longitude: float) -> Callable[[int], bool]:
    """Return what says of an instant [us since the epoch] whether a PV inverter at this place may be off.

    It looks at the sun once in 20 s and remembers what it saw, so that it may be asked for every poll.
    """

    @lru_cache(maxsize=64)
    def rests_in(step: int) -> bool:
        return is_night(latitude, longitude, step * _STEP_US, RESTING_BELOW_DEG)

    return lambda time_us: rests_in(time_us // _STEP_US)
