"""A counter against its power, and the demand that is billed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import (
    BUCKET_15M_US,
    US_PER_S,
    CounterRules,
    MeterSamples,
    block_demand_kw,
    counter_power_deviation,
    integrate_power,
    maximum_block_demand,
    maximum_sliding_demand,
)
from emsd.energy.series import FloatArray, TimeArray

RULES = CounterRules(max_gap_s=60, count_kwh=0.01)
HOUR_US = 3600 * US_PER_S
TIMES = np.arange(361, dtype=np.int64) * 10 * US_PER_S
TRUE_KWH = np.linspace(0.0, 36.0, 361)  # 36 kW for an hour
POWER_KW = np.full(361, 36.0)


@pytest.mark.parametrize(
    ("counter", "power", "relative"),
    [
        (TRUE_KWH, POWER_KW, 0),
        (TRUE_KWH * 10, POWER_KW, 0.9),  # scale of the counter
        (TRUE_KWH, POWER_KW * 60, 59),  # ratio of the current transformers left out of the counter
        (TRUE_KWH, -POWER_KW, 1),  # reversed transformers: no consumption by power
        (np.full(361, 500.0), POWER_KW, math.inf),  # a counter that stands still
        (np.full(361, 500.0), np.zeros(361), None),
    ],
)
def test_the_deviation_shows_wrong_scales_and_signs(
    counter: FloatArray, power: FloatArray, relative: float | None
) -> None:
    result = counter_power_deviation(MeterSamples(TIMES, counter, power_kw=power), RULES, 0, HOUR_US)
    assert result.relative == (None if relative is None else pytest.approx(relative, abs=1e-9))
    assert result.covered == 1


def test_both_directions_are_compared_as_their_difference() -> None:
    samples = MeterSamples(TIMES, np.full(361, 7.0), TRUE_KWH, -POWER_KW)
    result = counter_power_deviation(samples, RULES, 0, HOUR_US)
    assert tuple(result) == pytest.approx((0, -36, -36, 1), abs=1e-9)
    swapped = MeterSamples(TIMES, TRUE_KWH, np.full(361, 7.0), -POWER_KW)
    assert counter_power_deviation(swapped, RULES, 0, HOUR_US).relative == pytest.approx(2)


def test_only_time_that_both_cover_is_compared() -> None:
    """Half an hour without power samples is no deviation."""
    power = POWER_KW.copy()
    power[181:] = math.nan
    result = counter_power_deviation(MeterSamples(TIMES, TRUE_KWH, power_kw=power), RULES, 0, HOUR_US)
    assert tuple(result) == pytest.approx((0, 18, 18, 0.5), abs=1e-9)
    outside = counter_power_deviation(MeterSamples(TIMES, TRUE_KWH, power_kw=power), RULES, 2 * HOUR_US, 3 * HOUR_US)
    assert outside == (None, 0, 0, 0)


def test_a_meter_without_both_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="needs a counter and power"):
        counter_power_deviation(MeterSamples(TIMES, TRUE_KWH), RULES, 0, HOUR_US)
    with pytest.raises(ValueError, match="needs a counter and power"):
        counter_power_deviation(MeterSamples(TIMES, power_kw=POWER_KW), RULES, 0, HOUR_US)
    with pytest.raises(ValueError, match="is empty"):
        counter_power_deviation(MeterSamples(TIMES, TRUE_KWH, power_kw=POWER_KW), RULES, 5, 5)


def minutes(*values: float) -> TimeArray:
    return (np.array(values) * 60 * US_PER_S).astype(np.int64)


def test_golden_block_and_sliding_demand() -> None:
    """10 min at 1 MW, 15 min at 4 MW, 20 min at 1 MW."""
    power = np.array([1000.0, 4000.0, 1000.0, 1000.0])
    energy = integrate_power(minutes(0, 10, 25, 45), power, method="left_hold", max_gap_s=3600).energy_import
    edges = np.arange(4, dtype=np.int64) * BUCKET_15M_US
    assert block_demand_kw(energy, edges) == pytest.approx([2000, 3000, 1000])
    highest_block = maximum_block_demand(energy, edges)
    highest_sliding = maximum_sliding_demand(energy, 0, 3 * BUCKET_15M_US)
    assert highest_block is not None
    assert highest_sliding is not None
    assert tuple(highest_block) == pytest.approx((3000, BUCKET_15M_US))
    assert tuple(highest_sliding) == pytest.approx((4000, 10 * 60 * US_PER_S))


def test_demand_of_periods_that_are_not_covered_is_unknown() -> None:
    energy = integrate_power(minutes(0, 10), np.full(2, 600.0), method="trapezoid", max_gap_s=600).energy_import
    edges = np.arange(3, dtype=np.int64) * BUCKET_15M_US
    np.testing.assert_array_equal(block_demand_kw(energy, edges), [math.nan, math.nan])
    assert maximum_block_demand(energy, edges) is None
    assert maximum_sliding_demand(energy, 0, 2 * BUCKET_15M_US) is None
    assert maximum_sliding_demand(energy, 0, BUCKET_15M_US - 1) is None
    assert block_demand_kw(energy, edges, min_coverage=0.5)[0] == pytest.approx(400)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5000)), min_size=15, max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_sliding_maximum_equals_every_minute_tried(stretches: list[tuple[int, int]]) -> None:
    """Stretches of whole minutes: the maximum begins or ends at a bound, so it is among the windows tried."""
    lengths, power = zip(*stretches, strict=True)
    times = minutes(0, *np.cumsum(lengths))
    energy = integrate_power(times, np.array([*power, 0.0]), method="left_hold", max_gap_s=1200).energy_import
    result = maximum_sliding_demand(energy, 0, int(times[-1]))
    assert result is not None
    by_minute = np.repeat(power, lengths)
    tried = np.convolve(by_minute, np.full(15, 1 / 15), mode="valid")
    assert result.demand_kw == pytest.approx(tried.max())
