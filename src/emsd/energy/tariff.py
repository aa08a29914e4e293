"""Time-of-use prices: from what a local day looks like to periods of one price on the UTC axis, exact over DST.

A tariff is written in local wall-clock time: peak is from 10:00 to 12:00 on the clock on the wall. On the day that
lacks an hour that hour's prices are not charged, and on the day that has an hour twice it is charged twice, at the
price of that hour both times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import BUCKET_1M_US, US_PER_HOUR, FloatArray, TimeArray, datetime_from_us
from emsd.energy.windows import local_day_edges

__all__ = [
    "MINUTES_PER_DAY",
    "DaySchedule",
    "PricePeriods",
    "joined",
    "price_periods",
    "stretch_places",
    "with_added_prices",
]

MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class DaySchedule:
    """A local day of 24 hours cut into stretches of one price; the last ends at midnight.

    from_minute    minute of the day [min] at which each stretch begins, ascending, the first one 0
    period         name of each stretch's period: peak, flat, valley, ...
    price_per_kwh  price of each stretch [currency/kWh]

    Raises ValueError when it does not begin at 0, or is not in order.
    """

    from_minute: tuple[int, ...]
    period: tuple[str, ...]
    price_per_kwh: tuple[float, ...]

    def __post_init__(self) -> None:
        starts = self.from_minute
        if not starts or starts[0] != 0 or sorted(set(starts)) != list(starts) or starts[-1] >= MINUTES_PER_DAY:
            raise ValueError(f"the stretches of a day begin at {starts}; they must ascend from 0 and end before 1440")
        if not len(starts) == len(self.period) == len(self.price_per_kwh):
            raise ValueError("every stretch of a day needs its period and its price")


@dataclass(frozen=True, slots=True, eq=False)
class PricePeriods:
    """n successive stretches of one price each; between two of them there may be time without any price.

    from_us, to_us  int64[n] [us], ascending
    period          int64[n], places in `names`
    price_per_kwh   float64[n] [currency/kWh], NaN where it is not known
    names           what the periods are called
    """

    from_us: TimeArray
    to_us: TimeArray
    period: NDArray[np.int64]
    price_per_kwh: FloatArray
    names: tuple[str, ...]

    def places(self, time_us: TimeArray) -> NDArray[np.int64]:
        """Return for each instant [us] the place of its stretch, -1 where there is none; int64[k]."""
        return stretch_places(self.from_us, self.to_us, time_us)


def stretch_places(from_us: TimeArray, to_us: TimeArray, time_us: TimeArray) -> NDArray[np.int64]:
    """Return for each instant [us] which of the n stretches [from_us, to_us) holds it, -1 where none does; int64[k]."""
    if not from_us.size:
        return np.full(time_us.size, -1, dtype=np.int64)
    place = np.searchsorted(from_us, time_us, side="right") - 1
    inside = (place >= 0) & (time_us < to_us[np.maximum(place, 0)])
    return np.where(inside, place, -1).astype(np.int64)


def price_periods(first: date, end: date, zone: ZoneInfo, schedule_of: Callable[[date], DaySchedule]) -> PricePeriods:
    """Return the prices of the local days from `first` to the day before `end`.

    Stretches of the same period and price that follow each other, as a night does, are one.
    """
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    edges_us = local_day_edges(first, end, zone).tolist()
    names: dict[str, int] = {}
    starts: list[int] = []
    periods: list[int] = []
    prices: list[float] = []
    for day, begin_us, end_us in zip(days, edges_us, edges_us[1:], strict=False):
        schedule = schedule_of(day)
        for start_us, place in _stretches(schedule, begin_us, end_us, zone):
            number = names.setdefault(schedule.period[place], len(names))
            price = schedule.price_per_kwh[place]
            if not (periods and periods[-1] == number and prices[-1] == price):
                starts.append(start_us)
                periods.append(number)
                prices.append(price)
    from_us = np.array(starts, dtype=np.int64)
    to_us = np.append(from_us[1:], edges_us[-1:] if days else []).astype(np.int64)
    return PricePeriods(from_us, to_us, np.array(periods, dtype=np.int64), np.array(prices), tuple(names))


def with_added_prices(periods: PricePeriods, time_us: TimeArray, price_per_kwh: FloatArray) -> PricePeriods:
    """Return the periods with a further price added that changes at its own instants, such as that of an exchange.

    time_us        int64[m], ascending; each price holds until the next instant, the last one until its own
    price_per_kwh  float64[m - 1] [currency/kWh]

    Outside these instants the price is not known: NaN.
    """
    if not periods.from_us.size:
        return periods
    inside = time_us[(time_us > periods.from_us[0]) & (time_us < periods.to_us[-1])]
    from_us = np.unique(np.concatenate((periods.from_us, periods.to_us[:-1], inside)))
    place = periods.places(from_us)
    from_us, place = from_us[place >= 0], place[place >= 0]
    to_us = np.minimum(np.append(from_us[1:], periods.to_us[-1]), periods.to_us[place])
    added = np.searchsorted(time_us, from_us, side="right") - 1
    known = (added >= 0) & (added < price_per_kwh.size)
    price = np.full(from_us.size, np.nan)
    price[known] = price_per_kwh[added[known]]
    return PricePeriods(from_us, to_us, periods.period[place], periods.price_per_kwh[place] + price, periods.names)


def joined(parts: Sequence[PricePeriods]) -> PricePeriods:
    """Return the periods of several tariffs that follow each other in time as one."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    if not parts:
        empty = np.array([], dtype=np.int64)
        return PricePeriods(empty, empty, empty, np.array([], dtype=np.float64), names)
    renumbered = [
        np.array([names.index(name) for name in part.names], dtype=np.int64)[part.period]
        if part.period.size
        else part.period
        for part in parts
    ]
    return PricePeriods(
        np.concatenate([part.from_us for part in parts]),
        np.concatenate([part.to_us for part in parts]),
        np.concatenate(renumbered),
        np.concatenate([part.price_per_kwh for part in parts]),
        names,
    )


def _stretches(schedule: DaySchedule, begin_us: int, end_us: int, zone: ZoneInfo) -> list[tuple[int, int]]:
    """Return (instant at which it begins [us], place in the schedule) of every stretch of one local day."""
    if end_us - begin_us == 24 * US_PER_HOUR:
        return [(begin_us + minute * BUCKET_1M_US, place) for place, minute in enumerate(schedule.from_minute)]
    # A day on which the clock is changed: every minute is asked for what the clock on the wall shows then.
    found: list[tuple[int, int]] = []
    for minute_us in range(begin_us, end_us, BUCKET_1M_US):
        wall = datetime_from_us(minute_us).astimezone(zone)
        place = int(np.searchsorted(schedule.from_minute, wall.hour * 60 + wall.minute, side="right")) - 1
        if not found or found[-1][1] != place:
            found.append((minute_us, place))
    return found
