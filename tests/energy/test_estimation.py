"""Long gaps get the shape of like days, and never another total than the counter says.

The rule is that of the routines "Linear interpolation" and "Historical" of Itron Enterprise Edition Meter Data
Management: interval-by-interval means of the three nearest like days, none of them estimated. That a total is trusted
from a coverage of 90 % on is OpenDSM's.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import BUCKET_15M_US, US_PER_HOUR, IncrementFlag, Increments, datetime_to_us
from emsd.energy.estimation import Gap, estimate, long_gaps
from emsd.energy.like_days import DayClass, LikeDayTable, class_of_weekday, like_day_table

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = date(2026, 3, 2)  # a Monday
DAYS = 60


def midnight_us(day: date, zone: ZoneInfo) -> int:
    return datetime_to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


@lru_cache
def axis(zone: ZoneInfo) -> tuple[int, int, np.ndarray[Any, np.dtype[np.int64]], list[tuple[date, int]]]:
    """Begin, end, beginnings of all quarter hours, and the local day and quarter hour of each by the wall clock."""
    begin, end = midnight_us(FIRST, zone), midnight_us(FIRST + timedelta(days=DAYS), zone)
    bucket_us = np.arange(begin, end, BUCKET_15M_US, dtype=np.int64)
    local = [datetime.fromtimestamp(each / 1e6, zone) for each in bucket_us.tolist()]
    return begin, end, bucket_us, [(each.date(), each.hour * 4 + each.minute // 15) for each in local]


def table_of(
    kwh: dict[date, float] | float,
    *,
    zone: ZoneInfo = BERLIN,
    estimated: frozenset[date] = frozenset(),
    coverage: dict[date, float] | None = None,
) -> LikeDayTable:
    """Quarter hours of DAYS days; a day's quarter hour number q of the local day holds its kWh times (1 + q)."""
    begin, end, bucket_us, local = axis(zone)
    of_day = [kwh if isinstance(kwh, float) else kwh.get(day, math.nan) for day, _ in local]
    energy = np.array(of_day) * np.array([1 + slot for _, slot in local])
    covered = np.array([(coverage or {}).get(day, 1.0) for day, _ in local])
    return like_day_table(
        bucket_us,
        energy * covered,
        np.array([1.0 if day in estimated else 0.0 for day, _ in local]),
        covered,
        zone,
        class_of_weekday,
        from_us=begin,
        to_us=end,
    )


def gap_on(day: date, from_hour: float, hours: float, kwh: float = math.nan, zone: ZoneInfo = BERLIN) -> Gap:
    start = midnight_us(day, zone) + round(from_hour * US_PER_HOUR)
    return Gap(start, start + round(hours * US_PER_HOUR), kwh)


def test_gaps_of_up_to_an_hour_stay_and_longer_ones_that_were_not_measured_are_gaps() -> None:
    hour = US_PER_HOUR
    ends = np.array([0, 1, 2, 4, 6, 9], dtype=np.int64) * hour
    found = Increments(
        start_us=np.delete(ends[:-1], 3),  # a hole from 4 h to 6 h
        end_us=np.delete(ends[1:], 3),
        energy_kwh=np.array([5.0, 5.0, math.nan, 30.0]),
        estimated=np.array([False, True, True, True]),
        flags=np.array([0, 0, IncrementFlag.STEP, 0], dtype=np.uint8),
    )
    gaps = long_gaps(found, until_us=11 * hour)
    assert [(each.start_us // hour, each.end_us // hour, each.total_known) for each in gaps] == [
        (2, 4, False),
        (4, 6, False),
        (6, 9, True),
        (9, 11, False),
    ]
    assert gaps[2].energy_kwh == 30.0
    assert long_gaps(found)[-1] == gaps[2]


def test_the_mean_of_the_three_nearest_like_days_fills_a_gap_that_no_counter_measured() -> None:
    thursday = date(2026, 4, 2)
    before = {date(2026, 3, 31): 1.0, date(2026, 3, 30): 2.0, date(2026, 3, 27): 6.0, date(2026, 3, 26): 100.0}
    after = {date(2026, 4, 3): 100.0, date(2026, 3, 28): 100.0}  # a working day after it; a Saturday
    found = estimate([gap_on(thursday, 10, 1.5)], table_of(before | after), BERLIN)
    np.testing.assert_allclose(found.energy_kwh, [3.0 * q for q in (41, 42, 43, 44, 45, 46)])
    assert set(found.basis_days) == {(date(2026, 3, 27), date(2026, 3, 30), date(2026, 3, 31))}
    assert found.shaped.all()
    assert not found.total_known.any()
    assert not found.replaced_kwh.any()


def test_only_days_of_the_same_class_are_like_days() -> None:
    every = {FIRST + timedelta(days=n): float(n) for n in range(DAYS)}
    for day, like in (
        (date(2026, 4, 1), [date(2026, 3, 27), date(2026, 3, 30), date(2026, 3, 31)]),
        (date(2026, 4, 4), [date(2026, 3, 14), date(2026, 3, 21), date(2026, 3, 28)]),
        (date(2026, 4, 5), [date(2026, 3, 15), date(2026, 3, 22), date(2026, 3, 29)]),
    ):
        found = estimate([gap_on(day, 12, 1.25)], table_of(every), BERLIN)
        assert list(found.basis_days[0]) == like


def test_a_holiday_is_like_a_sunday() -> None:
    holiday = date(2026, 4, 3)

    def class_of(day: date) -> DayClass:
        return DayClass.SUNDAY_OR_HOLIDAY if day == holiday else class_of_weekday(day)

    bucket_us = np.arange(midnight_us(FIRST, BERLIN), midnight_us(date(2026, 4, 20), BERLIN), BUCKET_15M_US)
    ones, nothing = np.ones(bucket_us.size), np.zeros(bucket_us.size)
    bounds = {"from_us": int(bucket_us[0]), "to_us": int(bucket_us[-1])}
    table = like_day_table(bucket_us, ones, nothing, ones, BERLIN, class_of, **bounds)
    on_holiday = estimate([gap_on(holiday, 12, 1.25)], table, BERLIN)
    assert all(day.weekday() == 6 for day in on_holiday.basis_days[0])
    assert holiday not in estimate([gap_on(date(2026, 4, 6), 12, 1.25)], table, BERLIN).basis_days[0]


def test_estimated_and_hardly_covered_quarter_hours_are_no_basis_and_covered_ones_are_scaled_to_the_whole() -> None:
    every = {FIRST + timedelta(days=n): 1.0 for n in range(DAYS)}
    table = table_of(
        every,
        estimated=frozenset({date(2026, 4, 1)}),
        coverage={date(2026, 3, 31): 0.89, date(2026, 3, 30): 0.9},
    )
    found = estimate([gap_on(date(2026, 4, 2), 0, 1.25)], table, BERLIN)
    assert list(found.basis_days[0]) == [date(2026, 3, 26), date(2026, 3, 27), date(2026, 3, 30)]
    np.testing.assert_allclose(found.energy_kwh, [1, 2, 3, 4, 5])


def test_days_after_the_gap_help_only_where_those_before_are_fewer_than_three() -> None:
    kwh = {date(2026, 3, 2): 1.0, date(2026, 3, 4): 4.0, date(2026, 3, 5): 7.0, date(2026, 3, 6): 100.0}
    found = estimate([gap_on(date(2026, 3, 3), 0, 1.25)], table_of(kwh), BERLIN)
    assert list(found.basis_days[0]) == [date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 5)]
    np.testing.assert_allclose(found.energy_kwh, [4, 8, 12, 16, 20])


def test_a_day_more_than_thirty_days_away_is_no_like_day() -> None:
    gap = gap_on(date(2026, 4, 30), 0, 1.25)
    near = estimate([gap], table_of({date(2026, 3, 31): 1.0}), BERLIN)
    far = estimate([gap], table_of({date(2026, 3, 30): 1.0}), BERLIN)
    assert near.shaped.all()
    assert not far.shaped.any()
    assert np.isnan(far.energy_kwh).all()


def test_the_shape_is_scaled_to_what_the_counter_says_the_gap_holds() -> None:
    gap = gap_on(date(2026, 4, 2), 0, 1.25, kwh=45.0)  # quarter hours of 1 to 5 on every like day
    found = estimate([gap], table_of(2.0), BERLIN)
    np.testing.assert_allclose(found.energy_kwh, [3, 6, 9, 12, 15])
    np.testing.assert_allclose(found.replaced_kwh, [9, 9, 9, 9, 9])
    assert found.shaped.all()
    assert found.total_known.all()


def test_a_gap_that_begins_within_a_quarter_hour_fills_its_part_of_it() -> None:
    found = estimate([gap_on(date(2026, 4, 2), 0.1, 1.2)], table_of(1.0), BERLIN)
    np.testing.assert_allclose(found.energy_kwh, [0.6 * 1, 2, 3, 4, 5, 0.2 * 6])


def test_without_like_days_a_known_total_stays_even_and_an_unknown_one_unknown() -> None:
    known, unknown = gap_on(date(2026, 4, 2), 0, 2, kwh=16.0), gap_on(date(2026, 4, 2), 5, 2)
    found = estimate([known, unknown], table_of({}), BERLIN)
    np.testing.assert_allclose(found.energy_kwh[:8], 2.0)
    assert np.isnan(found.energy_kwh[8:]).all()
    assert not found.shaped.any()
    assert not any(found.basis_days)


def test_like_days_of_nothing_give_no_shape_and_a_counter_that_stood_still_needs_none() -> None:
    night = estimate([gap_on(date(2026, 4, 2), 0, 2, kwh=0.8)], table_of(0.0), BERLIN)
    np.testing.assert_allclose(night.energy_kwh, 0.1)
    assert not night.shaped.any()
    assert estimate([gap_on(date(2026, 4, 2), 0, 2, kwh=0.0)], table_of(1.0), BERLIN).bucket_us.size == 0


def test_like_days_are_alike_by_the_clock_on_the_wall_over_the_change_to_summer_time() -> None:
    monday = date(2026, 3, 30)  # the clocks were set on the 29th
    found = estimate([gap_on(monday, 8, 1.25)], table_of(1.0), BERLIN)
    np.testing.assert_allclose(found.energy_kwh, [33, 34, 35, 36, 37])
    # On the day that has no 02:30 the gap has none either, and what other Sundays had there is not asked for.
    sunday = Gap(midnight_us(date(2026, 3, 29), BERLIN), midnight_us(monday, BERLIN), math.nan)
    changed = estimate([sunday], table_of(1.0), BERLIN)
    assert changed.bucket_us.size == 23 * 4
    assert changed.energy_kwh.sum() == pytest.approx(sum(1 + q for q in range(96) if not 8 <= q < 12))


def test_of_two_gaps_in_one_quarter_hour_the_energy_adds_up() -> None:
    day = date(2026, 4, 2)
    gaps = [gap_on(day, 0, 1.1, kwh=11.0), gap_on(day, 1.15, 1.35, kwh=27.0)]
    found = estimate(gaps, table_of({}), BERLIN)
    assert found.bucket_us.size == 10
    assert found.energy_kwh[4] == pytest.approx(10.0 * 0.1 + 20.0 * 0.1)
    assert math.fsum(found.energy_kwh) == pytest.approx(38.0)


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(10 * 24 * 60, 40 * 24 * 60),
    minutes=st.integers(61, 6 * 24 * 60),
    kwh=st.floats(0.001, 1e7),
    seed=st.integers(0, 2**31),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "Australia/Lord_Howe", "America/St_Johns"]),
)
def test_estimating_a_known_gap_never_changes_its_total(
    start: int, minutes: int, kwh: float, seed: int, zone: str
) -> None:
    where = ZoneInfo(zone)
    chance = np.random.default_rng(seed)
    days = {FIRST + timedelta(days=n): float(chance.exponential()) for n in range(DAYS) if chance.random() < 0.5}
    begin = datetime_to_us(datetime(2026, 3, 1, tzinfo=UTC)) + start * 60_000_000
    gap = Gap(begin, begin + minutes * 60_000_000, kwh)
    found = estimate([gap], table_of(days, zone=where), where)
    assert math.fsum(found.energy_kwh) == pytest.approx(kwh, rel=1e-12)
    assert math.fsum(found.replaced_kwh) == pytest.approx(kwh, rel=1e-12)
    assert (found.energy_kwh >= -1e-9 * kwh).all()
