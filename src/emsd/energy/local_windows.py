"""A range of time cut into local days, months or years of the site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from emsd.energy.windows import local_day_bounds

__all__ = ["LocalWindow", "WindowPer", "local_windows", "month_begin"]

WindowPer: TypeAlias = Literal["day", "month", "year", "total"]


@dataclass(frozen=True, slots=True)
class LocalWindow:
    """A part [from_, to) of a range [UTC].

    from_begin  whether it begins where its day, month or year does
    complete    whether it is all of it
    """

    from_: datetime
    to: datetime
    from_begin: bool
    complete: bool


def local_windows(from_: datetime, to: datetime, per: WindowPer, zone: ZoneInfo) -> list[LocalWindow]:
    """Return the local days, months or years of [from_, to), the first and the last cut short by the range.

    `total` is the range itself, which is complete. A day of a changed clock has 23 or 25 hours.
    """
    if per == "total":
        return [LocalWindow(from_, to, from_begin=True, complete=True)]
    found = []
    for first, end in _days(from_.astimezone(zone).date(), per):
        begin, finish = local_day_bounds(first, zone)[0], local_day_bounds(end, zone)[0]
        if begin >= to:
            break
        found.append(
            LocalWindow(
                max(begin, from_), min(finish, to), from_begin=begin >= from_, complete=begin >= from_ and finish <= to
            )
        )
    return found


def month_begin(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return when the local month in which an instant lies began [UTC]."""
    return local_day_bounds(instant.astimezone(zone).date().replace(day=1), zone)[0]


def _days(day: date, per: WindowPer) -> Iterator[tuple[date, date]]:
    """Yield first day and end of each day, month or year from the one that holds `day` on."""
    first = day if per == "day" else day.replace(day=1) if per == "month" else day.replace(month=1, day=1)
    while True:
        if per == "day":
            end = first + timedelta(days=1)
        elif per == "month":
            end = (first + timedelta(days=31)).replace(day=1)
        else:
            end = first.replace(year=first.year + 1)
        yield first, end
        first = end
