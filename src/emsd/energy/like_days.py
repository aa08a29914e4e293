"""Which days are alike, and what was measured on them at each time of day."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, FloatArray, TimeArray, datetime_from_us

__all__ = [
    "LIKE_DAYS",
    "REACH_DAYS",
    "ClassOf",
    "DayClass",
    "LikeDayTable",
    "class_of_weekday",
    "like_day_table",
    "local_quarters",
]

LIKE_DAYS: Final = 3
REACH_DAYS: Final = 30
_LEAST_COVERAGE: Final = 0.9
"""A quarter hour that was covered less is no basis. Source: the total of a day is trusted at 90 % (OpenDSM)."""

_DAY_US: Final = 24 * US_PER_HOUR
_SLOTS: Final = 96
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class DayClass(IntEnum):
    """Which days are alike."""

    WORKING_DAY = 0
    SATURDAY = 1
    SUNDAY_OR_HOLIDAY = 2


ClassOf: TypeAlias = Callable[[date], DayClass]
"""Says of a local day which class it has, by the site's calendar."""


@dataclass(frozen=True, slots=True, eq=False)
class LikeDayTable:
    """What a meter measured in one direction, by local day and quarter hour of the day.

    first_ordinal  the first day, as date.toordinal()
    energy_kwh     float64[days, 96] [kWh] of the whole quarter hour; NaN where it is no basis
    classes        int8[days], DayClass
    """

    first_ordinal: int
    energy_kwh: FloatArray
    classes: NDArray[np.int8]

    def basis(self, ordinal: int, slot: int) -> list[int]:
        """Return up to LIKE_DAYS rows that are alike and measured at this time of day, the nearest before first."""
        row = ordinal - self.first_ordinal
        found: list[int] = []
        reach = range(1, REACH_DAYS + 1)
        for near in (*(row - days for days in reach), *(row + days for days in reach)):
            if 0 <= near < self.classes.size and self.classes[near] == self.classes[row]:
                if not math.isnan(self.energy_kwh[near, slot]):
                    found.append(near)
                if len(found) == LIKE_DAYS:
                    break
        return found


def class_of_weekday(day: date) -> DayClass:
    """Return the class of a local day where no holiday is known."""
    return {5: DayClass.SATURDAY, 6: DayClass.SUNDAY_OR_HOLIDAY}.get(day.weekday(), DayClass.WORKING_DAY)


def like_day_table(
    bucket_us: TimeArray,
    energy_kwh: FloatArray,
    estimated_kwh: FloatArray,
    coverage: FloatArray,
    zone: ZoneInfo,
    class_of: ClassOf,
    *,
    from_us: int,
    to_us: int,
) -> LikeDayTable:
    """Return the table of the local days that [from_us, to_us) touches.

    bucket_us      int64[k], beginnings of quarter hours, ascending
    energy_kwh     float64[k] [kWh], NaN where unknown
    estimated_kwh  float64[k] [kWh], the part of it that was not measured
    coverage       float64[k], 0..1; energy of a quarter hour covered in part is scaled to the whole
    """
    ordinals, slots = local_quarters(bucket_us, zone)
    bounds, _ = local_quarters(np.array([from_us, max(from_us, to_us - 1)], dtype=np.int64), zone)
    first, last = bounds.tolist()
    table = np.full((last - first + 1, _SLOTS), np.nan)
    usable = np.isfinite(energy_kwh) & (estimated_kwh == 0) & (coverage >= _LEAST_COVERAGE)
    usable &= (ordinals >= first) & (ordinals <= last)
    # Of an hour that clocks repeat the first pass counts: assigned last, it stays.
    places = np.flatnonzero(usable)[::-1]
    table[ordinals[places] - first, slots[places]] = energy_kwh[places] / np.minimum(coverage[places], 1.0)
    days = (date.fromordinal(ordinal) for ordinal in range(first, last + 1))
    classes = np.array([class_of(day) for day in days], dtype=np.int8)
    return LikeDayTable(first, table, classes)


def local_quarters(time_us: TimeArray, zone: ZoneInfo) -> tuple[TimeArray, TimeArray]:
    """Return the local day, as date.toordinal(), and the quarter hour of the day 0..95 by the wall clock."""
    offset_us = np.empty(time_us.size, dtype=np.int64)
    days = time_us // _DAY_US
    for day in np.unique(days).tolist():
        inside = np.flatnonzero(days == day)
        begin, end = (_offset_us(day * _DAY_US, zone), _offset_us((day + 1) * _DAY_US, zone))
        # Clocks are set at most once between two midnights.
        offset_us[inside] = begin if begin == end else [_offset_us(each, zone) for each in time_us[inside].tolist()]
    local_us = time_us + offset_us
    return local_us // _DAY_US + _EPOCH_ORDINAL, local_us % _DAY_US // BUCKET_15M_US


def _offset_us(time_us: int, zone: ZoneInfo) -> int:
    offset = datetime_from_us(time_us).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) * 1_000_000
