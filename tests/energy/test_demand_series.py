"""Demand from stored intervals, and the forecast of the running period."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.energy.demand_forecast import (
    Tail,
    block_begin_us,
    forecast_demand,
    forecast_from_minutes,
    persistence_error_kw,
)
from emsd.energy.demand_series import DemandSeries, sliding_series
from emsd.energy.series import BUCKET_1M_US, FloatArray, datetime_to_us

MINUTE = BUCKET_1M_US


def peak(series: DemandSeries, from_min: float, to_min: float) -> Any:
    """Highest demand of the periods that begin in [from_min, to_min) [min]: power [kW] and begin [min]; None: none."""
    found = series.highest(int(from_min * MINUTE), int(to_min * MINUTE))
    return None if found is None else (found.demand_kw, found.from_us / MINUTE)


def edges(count: int, width_us: int = MINUTE) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(count + 1, dtype=np.int64) * width_us


def test_golden_a_window_that_slides_holds_all_of_a_peak() -> None:
    """10 min at 1 MW, 15 at 4, 20 at 1: a block is the mean of its minutes, a window can hold all of the peak."""
    energy: FloatArray = np.array([1000.0] * 10 + [4000.0] * 15 + [1000.0] * 20) / 60
    sliding = sliding_series(edges(45), [energy], [np.ones(45)], 15)
    assert sliding.demand_kw[::15] == pytest.approx([2000, 3000, 1000])
    assert peak(sliding, 0, 45) == pytest.approx((4000, 10))
    assert sliding.begin_us.size == 31
    # Of the first ten minutes only windows count that begin there.
    assert peak(sliding, 0, 5) == pytest.approx((2800, 4))


def test_the_demand_of_two_meters_is_that_of_their_sum_however_they_are_read() -> None:
    one, two = np.array([10.0, 0.0, 5.0, math.nan]), np.array([0.0, 10.0, 4.0, math.nan])
    covered = [np.array([1.0, 1.0, 0.95, 0.0]), np.array([1.0, 0.9, 1.0, 0.0])]
    together = sliding_series(edges(4, 15 * MINUTE), [one, two], covered, 1)
    assert together.demand_kw[:3] == pytest.approx([40, 40, 36])
    assert math.isnan(together.demand_kw[3])
    assert peak(together, 0, 45) == pytest.approx((40, 0))
    parts = [
        sliding_series(edges(4, 15 * MINUTE), [energy], [share], 1)
        for energy, share in zip((one, two), covered, strict=True)
    ]
    added = parts[0].with_more(parts[1])
    np.testing.assert_allclose(added.demand_kw, together.demand_kw)
    assert added.coverage.tolist() == together.coverage.tolist() == [1, 0.9, 0.95, 0]


def test_a_period_that_one_meter_does_not_cover_is_not_trusted_and_never_zero() -> None:
    energy = [np.array([10.0, 50.0, math.nan]), np.array([1.0, 1.0, 1.0])]
    covered = [np.array([1.0, 0.89, 0.0]), np.array([1.0, 1.0, 1.0])]
    found = sliding_series(edges(3, 15 * MINUTE), energy, covered, 1)
    assert found.coverage == pytest.approx([1, 0.89, 0])
    assert np.isnan(found.trusted_kw).tolist() == [False, True, True]
    assert peak(found, 0, 45) == pytest.approx((44, 0))
    assert peak(found, 15, 45) is None
    # A share of 0.9 that was stored in single precision is still enough.
    stored = [np.array([float(np.float32(0.9))])]
    assert sliding_series(edges(1, 15 * MINUTE), [np.array([10.0])], stored, 1).highest(0, 1) is not None


def test_less_than_a_period_has_no_demand() -> None:
    assert sliding_series(edges(10), [np.ones(10)], [np.ones(10)], 15).highest(0, 10 * MINUTE) is None


# ----------------------------------------------------------------------------------------------------- forecast


def test_the_forecast_carries_the_present_power_on() -> None:
    """5 min at 600 kW are 50 kWh; 10 more at 1200 kW are 200: 250 kWh in a quarter hour are 1000 kW."""
    found = forecast_demand(50.0, 5.0, 1200.0, period_min=15.0, contract_kw=900.0, error_kw=300.0)
    assert found.forecast_kw == pytest.approx(1000)
    # 225 kWh are allowed, 175 are left for ten minutes: 1050 kW; at 1200 kW they last 8.75 min.
    assert found.headroom_kw == pytest.approx(1050)
    assert found.minutes_left == pytest.approx(8.75)
    assert found.error_kw == pytest.approx(200)


def test_a_contract_that_is_used_up_has_no_minutes_and_no_headroom() -> None:
    found = forecast_demand(300.0, 10.0, 1000.0, period_min=15.0, contract_kw=1000.0)
    assert found.minutes_left == 0.0
    assert found.headroom_kw == pytest.approx(-600)
    idle = forecast_demand(10.0, 10.0, 0.0, period_min=15.0, contract_kw=1000.0)
    assert idle.minutes_left == 15.0
    # 109 kWh of 225 are left for one minute, and 500 kW would need 13 min for them.
    enough = forecast_demand(116.0, 14.0, 500.0, period_min=15.0, contract_kw=900.0)
    assert enough.minutes_left == 15.0
    assert enough.headroom_kw == pytest.approx(6540)
    free = forecast_demand(10.0, 10.0, 50.0, period_min=15.0)
    assert (free.headroom_kw, free.minutes_left, free.contract_kw) == (None, None, None)


@pytest.mark.parametrize("elapsed_min", [-1.0, 15.0, 20.0])
def test_only_a_running_period_is_forecast(elapsed_min: float) -> None:
    with pytest.raises(ValueError):
        forecast_demand(1.0, elapsed_min, 1.0, period_min=15.0)


def test_the_forecast_from_minutes_counts_those_of_the_period() -> None:
    minute_kw: FloatArray = np.concatenate((np.full(115, 300.0), np.full(2, 600.0), np.full(3, 1200.0)))
    found = forecast_from_minutes(minute_kw, 5 * MINUTE, 0, period_min=15, contract_kw=900.0)
    assert found is not None
    assert found.energy_kwh == pytest.approx((2 * 600 + 3 * 1200) / 60)
    assert found.present_kw == pytest.approx(1200)
    assert found.forecast_kw == pytest.approx((80 + 200) * 4)
    just_begun = forecast_from_minutes(minute_kw, 0, 0, period_min=15)
    assert just_begun is not None
    assert just_begun.energy_kwh == 0
    assert just_begun.forecast_kw == pytest.approx(1200)


def test_readings_since_the_last_minute_are_part_of_it() -> None:
    minute_kw: FloatArray = np.full(120, 600.0)
    tail = Tail(until_us=5 * MINUTE + MINUTE // 2, energy_kwh=10.0, in_block_kwh=10.0)
    found = forecast_from_minutes(minute_kw, 5 * MINUTE, 0, period_min=15, tail=tail)
    assert found is not None
    assert found.energy_kwh == pytest.approx(60)
    # 30 kWh in three minutes and 10 in half a one.
    assert found.present_kw == pytest.approx(40 / 3.5 * 60)
    # A period that began after the last settled minute holds only what came since.
    fresh = Tail(until_us=15 * MINUTE + MINUTE // 4, energy_kwh=8.0, in_block_kwh=5.0)
    begun = forecast_from_minutes(minute_kw, 14 * MINUTE, 15 * MINUTE, period_min=15, tail=fresh)
    assert begun is not None
    assert begun.energy_kwh == 5


def test_a_period_that_cannot_be_trusted_any_more_has_no_forecast_and_one_missing_minute_is_like_the_others() -> None:
    """Of fifteen minutes one may be missing, as in the demand itself; whether it is the first or the tenth."""
    minute_kw: FloatArray = np.concatenate((np.full(110, 300.0), np.full(10, 600.0)))
    for missing in (-10, -5, -4):
        with_hole = minute_kw.copy()
        with_hole[missing] = math.nan
        ten = forecast_from_minutes(with_hole, 10 * MINUTE, 0, period_min=15)
        assert ten is not None
        assert ten.energy_kwh == pytest.approx(100)
        assert ten.assumed_min == 0
    with_holes = minute_kw.copy()
    with_holes[[-9, -4]] = math.nan
    assert forecast_from_minutes(with_holes, 10 * MINUTE, 0, period_min=15) is None
    # Two of thirty may be.
    assert forecast_from_minutes(with_holes, 10 * MINUTE, 0, period_min=30) is not None
    # The only minute of a period is missing: it is like those before it.
    first = np.full(120, 600.0)
    first[-2] = math.nan
    second = forecast_from_minutes(first, 2 * MINUTE, 0, period_min=15)
    assert second is not None
    assert second.energy_kwh == pytest.approx(20)


def test_a_meter_that_reports_every_five_minutes_has_a_forecast_between_its_reports() -> None:
    """600 kW until 12:05 and 1,200 since, as known at 12:10; two more minutes have passed, which nobody knows yet."""
    minute_kw: FloatArray = np.concatenate((np.full(113, 600.0), np.full(5, 1200.0), np.full(2, math.nan)))
    found = forecast_from_minutes(minute_kw, 12 * MINUTE, 0, period_min=15, contract_kw=900.0)
    assert found is not None
    assert found.assumed_min == 2
    # 5 min at 600 kW are 50 kWh, 5 at 1,200 are 100, and 2 that are taken to be the same 40: 190 kWh.
    assert found.energy_kwh == pytest.approx(190)
    assert found.forecast_kw == pytest.approx((50 + 200) * 4)
    # 225 kWh are allowed: 35 for three minutes are 700 kW, and at 1,200 kW they last 1.75 min from now.
    assert found.headroom_kw == pytest.approx(700)
    assert found.minutes_left == pytest.approx(1.75)
    # What may go wrong is five minutes, not three.
    error_kw = persistence_error_kw(minute_kw[:-2], 5)
    assert error_kw is not None
    assert found.error_kw == pytest.approx(error_kw * 5 / 15)
    # At the turn of the period all of the new one is forecast; the last minutes of the old one are no part of it.
    turned = forecast_from_minutes(minute_kw, 15 * MINUTE, 15 * MINUTE, period_min=15, contract_kw=900.0)
    assert turned is not None
    assert (turned.energy_kwh, turned.forecast_kw, turned.minutes_left) == pytest.approx((0, 1200, 11.25))


def test_a_meter_that_has_been_silent_for_more_than_a_third_of_the_period_has_no_forecast() -> None:
    minute_kw: FloatArray = np.full(120, 600.0)
    minute_kw[-5:] = math.nan
    assert forecast_from_minutes(minute_kw, 10 * MINUTE, 0, period_min=15) is not None
    minute_kw[-6:] = math.nan
    assert forecast_from_minutes(minute_kw, 10 * MINUTE, 0, period_min=15) is None
    assert forecast_from_minutes(np.full(120, math.nan), 10 * MINUTE, 0, period_min=15) is None


def test_the_error_is_what_the_same_forecast_got_wrong_before() -> None:
    assert persistence_error_kw(np.full(120, 500.0), 10) == 0
    steps: FloatArray = np.tile(np.repeat([100.0, 300.0], 20), 3)
    tried = [
        (steps[place + 3 : place + 13].mean() - steps[place : place + 3].mean()) for place in range(steps.size - 12)
    ]
    expected = math.sqrt(sum(each * each for each in tried) / len(tried))
    assert persistence_error_kw(steps, 10) == pytest.approx(expected)
    with_hole = steps.copy()
    with_hole[60] = math.nan
    kept = [each for place, each in enumerate(tried) if not place <= 60 < place + 13]
    expected = math.sqrt(sum(each * each for each in kept) / len(kept))
    assert persistence_error_kw(with_hole, 10) == pytest.approx(expected)
    assert persistence_error_kw(np.full(15, 500.0), 10) is None
    assert persistence_error_kw(np.full(3, 500.0), 10) is None


@pytest.mark.parametrize(
    ("zone", "period_min", "expected"),
    [
        ("Asia/Shanghai", 15, "07:30"),
        ("Asia/Kolkata", 60, "07:30"),
        ("Asia/Kolkata", 30, "07:30"),
        ("UTC", 60, "07:00"),
    ],
)
def test_periods_follow_the_clock_on_the_wall(zone: str, period_min: int, expected: str) -> None:
    at_us = datetime_to_us(datetime(2026, 6, 1, 7, 44, 59, tzinfo=UTC))
    begin_us = block_begin_us(at_us, period_min * MINUTE, ZoneInfo(zone))
    assert f"{datetime.fromtimestamp(begin_us / 1e6, tz=UTC):%H:%M}" == expected
