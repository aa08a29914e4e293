"""Which local days are alike by the site's calendar, and what becomes of estimates when it says otherwise.

Which kind of day each local day was when estimates were made is recorded. Of a day that has become a holiday, or is no
longer one, all estimates are made anew that may rest on it, and those of the day itself; no others, and none when a
calendar merely reaches farther ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from emsd.energy.like_days import ClassOf, DayClass, class_of_weekday
from emsd.energy.windows import local_day_bounds
from emsd.plant.models import Plant
from emsd.plant.tariff import DayName
from emsd.plant.tariff_calendar import day_kind_of
from emsd.store import estimate_days as table
from emsd.store.pool import Session

__all__ = ["day_classes", "follow_calendar"]

_log = structlog.get_logger(__name__)

_DAY: Final = timedelta(days=1)
_AHEAD: Final = timedelta(days=400)
"""So far ahead days are recorded: then a day that is recorded first has no estimate near it that is not new, too."""
_MOST_LISTED: Final = 10

_CLASSES: Final[Mapping[DayName, DayClass]] = {
    "sat": DayClass.SATURDAY,
    "sun": DayClass.SUNDAY_OR_HOLIDAY,
    "holiday": DayClass.SUNDAY_OR_HOLIDAY,
}


def day_classes(plant: Plant) -> ClassOf:
    """Return what says which local days of a plant are alike, by the calendar of the tariff of that day.

    A make-up working day is a working day. Without a tariff only the days of the week count.
    """
    tariffs = sorted(plant.tariffs, key=lambda each: each.valid_from)
    if not tariffs:
        return class_of_weekday

    @lru_cache(maxsize=4096)
    def class_of(day: date) -> DayClass:
        calendar = next((each for each in reversed(tariffs) if each.valid_from <= day), tariffs[0]).calendar
        return _CLASSES.get(day_kind_of(calendar, (day.year,))(day), DayClass.WORKING_DAY)

    return class_of


async def follow_calendar(
    connection: Session, meter_ids: Sequence[int], class_of: ClassOf, zone: ZoneInfo, *, now: datetime, reach: timedelta
) -> None:
    """Mark the estimates of meters within `reach` of local days that are of another kind than when they were made."""
    first = await table.first_estimate(connection, meter_ids)
    if first is None:
        return
    begin, end = (first - reach).astimezone(zone).date(), (now + _AHEAD).astimezone(zone).date()
    days = [begin + n * _DAY for n in range((end - begin).days)]
    known = await table.read_day_classes(connection)
    changed = [day for day in days if known.get(day) != class_of(day)]
    if not changed:
        return
    await table.write_day_classes(connection, {day: int(class_of(day)) for day in changed})
    stretches = [
        (local_day_bounds(first_day, zone)[0] - reach, local_day_bounds(last_day, zone)[1] + reach)
        for first_day, last_day in _stretches(changed)
    ]
    marked = await table.mark_estimates(connection, meter_ids, stretches)
    others = [day for day in changed if day in known]
    if others:
        _log.warning(
            "calendar_changed",
            days=[day.isoformat() for day in others[:_MOST_LISTED]],
            day_count=len(others),
            estimates_made_anew=marked,
        )


def _stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """Join ascending days that follow each other, as (first, last)."""
    stretches: list[tuple[date, date]] = []
    for day in days:
        if stretches and stretches[-1][1] + _DAY == day:
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    return stretches
