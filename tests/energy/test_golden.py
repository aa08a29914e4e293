"""The published numbers and rules that energy is measured against, each with its source.

More of them stand beside the rule that they test: Home Assistant's pull request 116736 in test_power, for one. The
rules of other systems are as their source code has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.energy import (
    BUCKET_15M_US,
    US_PER_S,
    CounterRules,
    increments,
    integrate_power,
    local_day_bounds,
    maximum_block_demand,
    maximum_sliding_demand,
    spread,
)
from emsd.energy.counters import RESET_SHARE

ANY_POWER = CounterRules(max_gap_s=300)


def emsd(readings: Sequence[float], rules: CounterRules = ANY_POWER) -> float:
    times = np.arange(len(readings), dtype=np.int64) * 60 * US_PER_S
    return increments(times, np.array(readings, dtype=np.float64), rules).total_kwh


def home_assistant(readings: Sequence[float]) -> float:
    """homeassistant/components/sensor/recorder.py: reset_detected() at x < 0.9 prev; the new zero is then 0."""
    total = 0.0
    for before, now in pairwise(readings):
        total += now if now < 0.9 * before else now - before
    return total


def prometheus(readings: Sequence[float]) -> float:
    """prometheus/promql/functions.go, extrapolatedRate(): any decrease adds the value before it."""
    return readings[-1] - readings[0] + sum(before for before, now in pairwise(readings) if now < before)


def counter_agg(readings: Sequence[float]) -> float:
    """timescaledb-toolkit, crates/counter-agg: the delta, and what the counter had reached at each reset."""
    return prometheus(readings)


def myems(readings: Sequence[float]) -> float:
    """myems-normalization, meter.py: positive steps only."""
    return sum(max(0.0, now - before) for before, now in pairwise(readings))


@pytest.mark.parametrize(
    ("readings", "kwh", "others"),
    [
        ([100, 110, 120, 5, 15], 35, {home_assistant: 35, prometheus: 35, counter_agg: 35, myems: 30}),
        ([1000, 1010, 1005, 1020], 20, {home_assistant: 20, prometheus: 1030, counter_agg: 1030, myems: 25}),
        ([1000, 0, 1010, 1020], 20, {home_assistant: 1020, prometheus: 1020, counter_agg: 1020, myems: 1020}),
    ],
    ids=["restart", "dip", "transient zero"],
)
def test_golden_what_each_system_makes_of_a_falling_counter(
    readings: list[float], kwh: float, others: dict[Callable[[Sequence[float]], float], float]
) -> None:
    assert emsd(readings) == kwh
    assert {rule: rule(readings) for rule in others} == others


def test_golden_a_dip_ends_where_home_assistant_sees_a_reset() -> None:
    """homeassistant/components/sensor/recorder.py, reset_detected(): below 0.9 times the previous state."""
    assert RESET_SHARE == 0.9


def test_golden_a_used_meter_is_no_energy() -> None:
    """Home Assistant issue 59491: after a swap one hour was credited with the meter's whole life."""
    readings = [50_000.0, 50_001.0, 12_345.0, 12_346.0, 12_347.0]
    assert home_assistant(readings) == 12_348
    assert emsd(readings, CounterRules(max_gap_s=300, max_power_kw=100)) == 3


@pytest.mark.parametrize(
    ("readings", "modulus", "kwh"),
    [([999_990, 12], 1e6, 22), ([4_294_967_200, 104], 2.0**32, 200)],
    ids=["six digits", "32 bits"],
)
def test_golden_rollover(readings: list[float], modulus: float, kwh: float) -> None:
    """(x - prev) mod M; M of a display of six digits, and of an unsigned 32-bit register (IEC 61131-3 UDINT)."""
    assert emsd(readings, CounterRules(max_gap_s=300, modulus_kwh=modulus)) == kwh


def test_golden_spreading() -> None:
    """Linear interpolation: (840 s, 500), (960 s, 512) is 506 at 900 s."""
    times = np.array([840, 960], dtype=np.int64) * US_PER_S
    edges = np.array([0, 900, 1800], dtype=np.int64) * US_PER_S
    assert (500 + spread(increments(times, np.array([500.0, 512.0]), ANY_POWER), edges).energy_kwh[0]) == 506


def test_golden_power_of_quarter_hours() -> None:
    """rdtools, rdtools/test/energy_from_power_test.py: 1, 2, 3, 2, 1 W, instantaneous and right-labelled."""
    times = np.arange(5, dtype=np.int64) * BUCKET_15M_US
    power = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 1000
    instantaneous = integrate_power(times, power, method="trapezoid", max_gap_s=900).energy_import.energy_kwh
    right_labelled = integrate_power(times, power, method="period_mean", max_gap_s=900).energy_import.energy_kwh
    assert (instantaneous * 1000).tolist() == pytest.approx([0.375, 0.625, 0.625, 0.375])
    assert (right_labelled * 1000).tolist() == pytest.approx([0.5, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2024-03-31", 23),
        ("Europe/Berlin", "2024-10-27", 25),
        ("Asia/Shanghai", "2024-03-31", 24),
        ("Asia/Shanghai", "1990-04-15", 23),
    ],
)
def test_golden_local_days(zone: str, day: str, hours: int) -> None:
    """The time zone database of IANA."""
    begin, end = local_day_bounds(date.fromisoformat(day), ZoneInfo(zone))
    assert (end - begin).total_seconds() == hours * 3600


def test_golden_demand() -> None:
    """10 min at 1 MW, 15 at 4, 20 at 1: block and sliding mean over 15 minutes, by hand."""
    times = np.array([0, 10, 25, 45], dtype=np.int64) * 60 * US_PER_S
    power = np.array([1000.0, 4000.0, 1000.0, 1000.0])
    energy = integrate_power(times, power, method="left_hold", max_gap_s=3600).energy_import
    block = maximum_block_demand(energy, np.arange(4, dtype=np.int64) * BUCKET_15M_US)
    sliding = maximum_sliding_demand(energy, 0, 3 * BUCKET_15M_US)
    assert block is not None
    assert sliding is not None
    assert (block.demand_kw, sliding.demand_kw) == pytest.approx((3000, 4000))
