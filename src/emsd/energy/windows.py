"""Named windows of time, local days, and how a window is put together from stored intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.series import TimeArray, datetime_to_us

__all__ = [
    "WINDOW_NAMES",
    "Segment",
    "Tier",
    "WindowName",
    "local_day_bounds",
    "local_day_edges",
    "settled_minute",
    "split_by_tier",
    "window_bounds",
]

WindowName: TypeAlias = Literal["15m", "1h", "24h", "7d", "today", "month_to_date"]
WINDOW_NAMES: tuple[WindowName, ...] = get_args(WindowName)
Tier: TypeAlias = Literal["1m", "15m", "1d"]

_ROLLING: dict[WindowName, timedelta] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
_MINUTE = timedelta(minutes=1)
_QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part [from_, to) of a window [UTC] and the tier of intervals that holds it; local_day only for tier 1d."""

    tier: Tier
    from_: datetime
    to: datetime
    local_day: date | None = None


def local_day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return begin and end of a local day in UTC: 23 h for Europe/Berlin 2024-03-31, 25 h for 2024-10-27.

    A day begins at the first instant that its wall clock shows; where midnight is skipped that is the change itself.
    """
    begin, end = (datetime.combine(d, time(), tzinfo=zone).astimezone(UTC) for d in (day, day + timedelta(days=1)))
    return begin, end


def local_day_edges(first: date, end: date, zone: ZoneInfo) -> TimeArray:
    """Return the k + 1 edges [us] of the k local days from `first` to the day before `end`, int64."""
    days = [first + timedelta(days=number) for number in range((end - first).days + 1)]
    return np.array([datetime_to_us(local_day_bounds(day, zone)[0]) for day in days], dtype=np.int64)


def settled_minute(now: datetime, settle_s: float) -> datetime:
    """Return the last full minute [UTC] that is at least settle_s [s] past, so that late readings have arrived."""
    return _floor(now.astimezone(UTC) - timedelta(seconds=settle_s), _MINUTE)


def window_bounds(name: WindowName, to: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return (from, to) of a named window in UTC, its end the full minute at or before `to`.

    Rolling windows have their length in elapsed time (24h is 24 hours on a day of 23 too); today and
    month_to_date begin at local midnight, so at midnight itself they are empty. Raises ValueError for another
    name or a naive `to`.
    """
    _require_aware(to)
    end = _floor(to.astimezone(UTC), _MINUTE)
    length = _ROLLING.get(name)
    if length is not None:
        return end - length, end
    today = end.astimezone(zone).date()
    if name == "today":
        return local_day_bounds(today, zone)[0], end
    if name == "month_to_date":
        return local_day_bounds(today.replace(day=1), zone)[0], end
    raise ValueError(f"there is no window {name!r}; the windows are {', '.join(WINDOW_NAMES)}")


def split_by_tier(from_: datetime, to: datetime, zone: ZoneInfo, cuts: Iterable[datetime] = ()) -> list[Segment]:
    """Split [from_, to) into the largest stored intervals: local days, quarter hours, minutes.

    The segments are in order and partition [from_, to) exactly. None of them contains a cut (a change of a
    carbon factor) inside; a cut within a minute counts from the next full minute. Days are built from quarter
    hours, so a local day whose bounds are no quarter hours of UTC is split like any other time. Raises ValueError when
    a bound is naive or no full minute.
    """
    for bound in (from_, to):
        _require_aware(bound)
        if _floor(bound.astimezone(UTC), _MINUTE) != bound:
            raise ValueError(f"{bound.isoformat()} is not a full minute; round it first, as window_bounds does")
    begin, end = from_.astimezone(UTC), to.astimezone(UTC)
    inner = {_ceil(cut.astimezone(UTC), _MINUTE) for cut in cuts}
    points = [begin, *sorted(cut for cut in inner if begin < cut < end), end]
    segments: list[Segment] = []
    for piece_begin, piece_end in pairwise(points):
        at = piece_begin
        for day in _whole_days(piece_begin, piece_end, zone):
            segments += _quarters_and_minutes(at, day.from_)
            segments.append(day)
            at = day.to
        segments += _quarters_and_minutes(at, piece_end)
    return segments


def _whole_days(begin: datetime, end: datetime, zone: ZoneInfo) -> Iterable[Segment]:
    day = begin.astimezone(zone).date()
    while True:
        day_begin, day_end = local_day_bounds(day, zone)
        if day_end > end:
            return
        aligned = day_begin == _floor(day_begin, _QUARTER) and day_end == _floor(day_end, _QUARTER)
        if begin <= day_begin < day_end and aligned:
            yield Segment("1d", day_begin, day_end, day)
        day += timedelta(days=1)


def _quarters_and_minutes(begin: datetime, end: datetime) -> list[Segment]:
    first, last = _ceil(begin, _QUARTER), _floor(end, _QUARTER)
    if first >= last:
        return [Segment("1m", begin, end)] if begin < end else []
    parts = [Segment("1m", begin, first), Segment("15m", first, last), Segment("1m", last, end)]
    return [part for part in parts if part.from_ < part.to]


def _floor(instant: datetime, width: timedelta) -> datetime:
    return instant - (instant - _EPOCH) % width


def _ceil(instant: datetime, width: timedelta) -> datetime:
    return instant + (_EPOCH - instant) % width


def _require_aware(instant: datetime) -> None:
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone; emsd computes with aware times only")
