"""One meter, from its samples to its buckets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emsd.energy import (
    US_PER_S,
    CounterRules,
    EnergySource,
    IncrementFlag,
    MeterSamples,
    energy_of,
    meter_buckets,
)
from emsd.energy.series import TimeArray

RULES = CounterRules(max_gap_s=30, max_power_kw=1000)


def seconds(*values: float) -> TimeArray:
    return (np.array(values) * US_PER_S).astype(np.int64)


def every_10_s(count: int) -> TimeArray:
    return np.arange(count, dtype=np.int64) * 10 * US_PER_S


def test_a_meter_with_counters_uses_them_and_reports_its_power() -> None:
    times = every_10_s(13)
    samples = MeterSamples(times, np.arange(13.0), np.full(13, 7.0), np.full(13, 360.0))
    result = meter_buckets(samples, RULES, seconds(0, 60, 120))
    assert samples.source is EnergySource.COUNTERS
    assert result.energy_import_kwh.tolist() == [6, 6]
    assert result.energy_export_kwh.tolist() == [0, 0]
    assert result.estimated_import_kwh.tolist() == [0, 0]
    assert result.coverage.tolist() == [1, 1]
    assert result.power_avg_kw.tolist() == [360, 360]
    assert result.sample_count.tolist() == [6, 6]
    assert result.flags.tolist() == [0, 0]
    assert not result.pending


def test_a_meter_without_counters_integrates_its_power() -> None:
    samples = MeterSamples(every_10_s(13), power_kw=np.full(13, -360.0))
    result = meter_buckets(samples, RULES, seconds(0, 60, 120))
    assert samples.source is EnergySource.POWER
    assert result.energy_export_kwh.tolist() == [6, 6]
    assert result.energy_import_kwh.tolist() == [0, 0]
    assert result.power_min_kw.tolist() == [-360, -360]


def test_power_may_be_held_for_reports_on_change() -> None:
    samples = MeterSamples(seconds(0, 20, 40), power_kw=np.array([0.0, 360.0, 0.0]))
    assert meter_buckets(samples, RULES, seconds(0, 40), power_method="left_hold").energy_import_kwh.tolist() == [2]
    assert meter_buckets(samples, RULES, seconds(0, 20)).energy_import_kwh.tolist() == [1]


def test_a_direction_without_counter_is_unknown() -> None:
    samples = MeterSamples(every_10_s(7), export_kwh=np.arange(7.0), power_kw=np.full(7, -360.0))
    result = meter_buckets(samples, RULES, seconds(0, 60))
    assert result.energy_export_kwh.tolist() == [6]
    assert math.isnan(result.energy_import_kwh[0])
    assert result.coverage.tolist() == [1]
    taken, given = energy_of(samples, RULES)
    assert taken is None
    assert given is not None


def test_a_silent_counter_is_not_replaced_by_power() -> None:
    samples = MeterSamples(every_10_s(7), np.full(7, math.nan), power_kw=np.full(7, 360.0))
    result = meter_buckets(samples, RULES, seconds(0, 60))
    assert math.isnan(result.energy_import_kwh[0])
    assert result.coverage.tolist() == [0]
    assert result.power_avg_kw.tolist() == [360]
    assert result.sample_count.tolist() == [6]


def test_a_meter_of_neither_counter_nor_power_has_no_energy() -> None:
    samples = MeterSamples(every_10_s(7))
    result = meter_buckets(samples, RULES, seconds(0, 60))
    assert samples.source is EnergySource.NONE
    assert math.isnan(result.energy_import_kwh[0])
    assert math.isnan(result.power_max_kw[0])
    assert result.coverage.tolist() == result.sample_count.tolist() == [0]


def test_coverage_is_the_measured_share_of_the_whole_bucket() -> None:
    """Samples until 45 s of the minute; before that a gap of 35 s, 5 s longer than counts as measured."""
    samples = MeterSamples(seconds(0, 35, 45), np.array([0.0, 3.5, 4.5]))
    result = meter_buckets(samples, RULES, seconds(0, 60))
    assert result.coverage == pytest.approx([10 / 60])
    assert result.energy_import_kwh.tolist() == [4.5]
    assert result.estimated_import_kwh.tolist() == [3.5]


def test_faults_are_flagged_in_the_buckets_they_touch() -> None:
    counter = np.array([0.0, 1, 2, 9999, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0])
    result = meter_buckets(MeterSamples(every_10_s(14), counter), RULES, seconds(0, 60, 120))
    assert result.flags.tolist() == [IncrementFlag.GLITCH, 0]
    assert result.energy_import_kwh.tolist() == [6, 6]
    assert result.pending


def test_a_meter_is_pending_when_either_counter_is() -> None:
    good, zero_at_the_end = np.arange(1.0, 8.0), np.array([1.0, 2, 3, 4, 5, 6, 0])
    edges = seconds(0, 60)
    assert meter_buckets(MeterSamples(every_10_s(7), zero_at_the_end, good), RULES, edges).pending
    assert meter_buckets(MeterSamples(every_10_s(7), good, zero_at_the_end), RULES, edges).pending
    assert not meter_buckets(MeterSamples(every_10_s(7), good, good), RULES, edges).pending


def test_coverage_is_of_the_better_covered_direction() -> None:
    times, silent = every_10_s(7), np.full(7, math.nan)
    edges = seconds(0, 60)
    assert meter_buckets(MeterSamples(times, np.arange(7.0), silent), RULES, edges).coverage.tolist() == [1]
    assert meter_buckets(MeterSamples(times, silent, np.arange(7.0)), RULES, edges).coverage.tolist() == [1]


def test_float32_columns_of_the_database_are_taken() -> None:
    samples = MeterSamples(every_10_s(7), power_kw=np.full(7, 360.0, dtype=np.float32).astype(np.float64))
    raw = MeterSamples(every_10_s(7), power_kw=np.full(7, 360.0, dtype=np.float32))
    edges = seconds(0, 60)
    assert meter_buckets(raw, RULES, edges).energy_import_kwh == meter_buckets(samples, RULES, edges).energy_import_kwh
    assert meter_buckets(raw, RULES, edges).power_avg_kw.dtype == np.float64
