"""Prices on the time axis: every minute has the price of its wall clock, on days of 23 and 25 hours too."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy.series import BUCKET_1M_US, datetime_to_us
from emsd.energy.tariff import DaySchedule, PricePeriods, joined, price_periods, with_added_prices
from emsd.energy.windows import local_day_bounds

BERLIN = ZoneInfo("Europe/Berlin")
SHORT, LONG = date(2026, 3, 29), date(2026, 10, 25)
DAY = timedelta(days=1)
NIGHT = DaySchedule((0, 120, 180, 1320), ("valley", "two", "flat", "valley"), (0.1, 0.2, 0.3, 0.1))


def minutes_by_period(periods: PricePeriods) -> Counter[str]:
    counted: Counter[str] = Counter()
    for from_us, to_us, place in zip(periods.from_us, periods.to_us, periods.period, strict=True):
        counted[periods.names[place]] += int(to_us - from_us) // BUCKET_1M_US
    return counted


@pytest.mark.parametrize(
    ("day", "minutes"),
    [
        (SHORT, {"valley": 240, "flat": 1140}),  # 23 h: the clock skips the hour from 02:00
        (SHORT - DAY, {"valley": 240, "two": 60, "flat": 1140}),
        (LONG, {"valley": 240, "two": 120, "flat": 1140}),  # 25 h: it shows that hour twice
        (LONG + DAY, {"valley": 240, "two": 60, "flat": 1140}),
    ],
)
def test_each_period_has_exactly_its_minutes_on_the_days_of_a_changed_clock(day: date, minutes: dict[str, int]) -> None:
    periods = price_periods(day, day + DAY, BERLIN, lambda _: NIGHT)
    assert minutes_by_period(periods) == minutes
    begin, end = local_day_bounds(day, BERLIN)
    assert (periods.from_us[0], periods.to_us[-1]) == (datetime_to_us(begin), datetime_to_us(end))


def test_the_hour_that_comes_twice_has_its_price_twice() -> None:
    periods = price_periods(LONG, LONG + DAY, BERLIN, lambda _: NIGHT)
    two = periods.names.index("two")
    (place,) = np.flatnonzero(periods.period == two)
    # 02:00 CEST is 00:00 UTC, and 03:00 CET is 02:00 UTC.
    assert periods.from_us[place] == datetime_to_us(datetime(2026, 10, 25, 0, tzinfo=UTC))
    assert periods.to_us[place] == datetime_to_us(datetime(2026, 10, 25, 2, tzinfo=UTC))
    assert periods.price_per_kwh[place] == 0.2


def test_an_hour_that_only_half_of_which_is_peak_is_half_peak_both_times() -> None:
    half = DaySchedule((0, 150, 180), ("off", "peak", "off"), (1.0, 2.0, 1.0))
    assert minutes_by_period(price_periods(LONG, LONG + DAY, BERLIN, lambda _: half)) == {"off": 1440, "peak": 60}
    assert minutes_by_period(price_periods(SHORT, SHORT + DAY, BERLIN, lambda _: half)) == {"off": 1380}


def test_a_night_over_midnight_is_one_stretch_and_a_year_has_all_its_minutes() -> None:
    periods = price_periods(date(2026, 1, 1), date(2027, 1, 1), BERLIN, lambda _: NIGHT)
    assert (periods.from_us[1:] == periods.to_us[:-1]).all()
    assert sum(minutes_by_period(periods).values()) == 365 * 1440
    # Night, hour from 02:00 and day, 365 times, less the hour that is skipped, and the last night ends at midnight.
    assert periods.from_us.size == 365 * 3 - 1 + 1


@given(
    starts=st.sets(st.integers(1, 1439), max_size=6),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "America/St_Johns", "Australia/Lord_Howe", "UTC"]),
    day=st.dates(date(2025, 1, 1), date(2027, 12, 31)),
)
@settings(max_examples=60, deadline=None)
def test_every_minute_has_the_price_that_its_wall_clock_says(starts: set[int], zone: str, day: date) -> None:
    edges = (0, *sorted(starts))
    schedule = DaySchedule(edges, tuple(f"p{edge}" for edge in edges), tuple(float(edge) for edge in edges))
    local = ZoneInfo(zone)
    periods = price_periods(day, day + 2 * DAY, local, lambda _: schedule)
    begin_us = datetime_to_us(local_day_bounds(day, local)[0])
    end_us = datetime_to_us(local_day_bounds(day + 2 * DAY, local)[0])
    minutes_us = np.arange(begin_us, end_us, BUCKET_1M_US, dtype=np.int64)
    price = periods.price_per_kwh[periods.places(minutes_us)]
    for minute_us, found in zip(minutes_us[::7].tolist(), price[::7].tolist(), strict=True):
        wall = datetime.fromtimestamp(minute_us / 1e6, tz=local)
        assert found == max(edge for edge in edges if edge <= wall.hour * 60 + wall.minute), wall


def test_places_outside_and_between_are_none() -> None:
    two_days = joined(
        [price_periods(day, day + DAY, BERLIN, lambda _: NIGHT) for day in (date(2026, 5, 1), date(2026, 5, 3))]
    )
    at = [datetime_to_us(datetime(2026, 5, each, 10, tzinfo=UTC)) for each in (1, 2, 3, 4)]
    places = two_days.places(np.array(at, dtype=np.int64))
    assert places[0] >= 0
    assert places[2] >= 0
    assert places[1] == places[3] == -1
    empty = joined([])
    assert empty.places(np.array(at, dtype=np.int64)).tolist() == [-1] * 4


def test_dynamic_prices_are_added_where_they_are_known() -> None:
    day = date(2026, 5, 1)
    periods = price_periods(day, day + DAY, BERLIN, lambda _: NIGHT)
    begin_us = datetime_to_us(local_day_bounds(day, BERLIN)[0])
    hours = np.array([begin_us + hour * 3_600_000_000 for hour in (1, 2, 4)], dtype=np.int64)
    found = with_added_prices(periods, hours, np.array([0.01, -0.5]))

    def price(hour: float) -> float:
        at = np.array([begin_us + int(hour * 3_600_000_000)], dtype=np.int64)
        return float(found.price_per_kwh[found.places(at)][0])

    assert np.isnan(price(0.5))
    assert np.isnan(price(4.0))
    assert price(1.5) == pytest.approx(0.11)
    assert price(2.5) == pytest.approx(0.2 - 0.5)
    assert price(3.5) == pytest.approx(0.3 - 0.5)
    assert (found.from_us[1:] >= found.to_us[:-1]).all()
    assert found.to_us[-1] == periods.to_us[-1]


@pytest.mark.parametrize("starts", [(), (60,), (0, 60, 30), (0, 1440), (0, 60, 60)])
def test_a_day_that_does_not_hold_every_minute_once_is_refused(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        DaySchedule(starts, ("a",) * len(starts), (1.0,) * len(starts))
