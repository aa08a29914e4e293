"""Buckets: they add up over any partition, and they say what they do not know."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import (
    BUCKET_1M_US,
    BUCKET_15M_US,
    US_PER_S,
    CounterRules,
    EnergyCurve,
    IncrementFlag,
    Increments,
    bucket_edges,
    ceil_us,
    flags_in_buckets,
    floor_us,
    increments,
    power_statistics,
    spread,
)
from emsd.energy.series import TimeArray

RULES = CounterRules(max_gap_s=300)
# A real epoch: sums must stay exact at times of today, not only near 1970.
NOW_US = 1_767_225_600 * US_PER_S


def seconds(*values: float) -> TimeArray:
    return (np.array(values) * US_PER_S).astype(np.int64)


def test_golden_a_stretch_is_cut_at_a_quarter_hour() -> None:
    """500 kWh at 840 s and 512 kWh at 960 s are 506 kWh at 900 s."""
    result = increments(seconds(840, 960), np.array([500.0, 512.0]), RULES)
    assert spread(result, seconds(0, 900, 1800)).energy_kwh.tolist() == [6, 6]
    assert spread(result, seconds(840, 900, 960)).covered_s.tolist() == [60, 60]


def test_a_bucket_without_any_stretch_is_nan_and_never_0() -> None:
    result = increments(seconds(60, 120), np.array([5.0, 5.0]), RULES)
    buckets = spread(result, seconds(0, 60, 120, 180))
    np.testing.assert_array_equal(buckets.energy_kwh, [math.nan, 0, math.nan])
    np.testing.assert_array_equal(buckets.estimated_kwh, [math.nan, 0, math.nan])
    assert buckets.covered_s.tolist() == [0, 60, 0]
    nothing = spread(increments(seconds(60), np.array([5.0]), RULES), seconds(0, 60, 120))
    assert np.isnan(nothing.energy_kwh).all()
    assert nothing.covered_s.tolist() == [0, 0]


def test_energy_of_too_long_a_gap_is_estimated_and_not_covered() -> None:
    result = increments(seconds(0, 60, 660, 720), np.array([0.0, 1.0, 11.0, 13.0]), RULES)
    buckets = spread(result, seconds(0, 360, 720))
    assert buckets.energy_kwh.tolist() == [6, 7]
    assert buckets.estimated_kwh.tolist() == [5, 5]
    assert buckets.covered_s.tolist() == [60, 60]


def test_a_step_is_unknown_energy_and_no_coverage() -> None:
    rules = CounterRules(max_gap_s=300, max_power_kw=600)
    counter = np.array([0.0, 6.0, 9000.0, 9006.0, 9012.0])
    result = increments(seconds(0, 60, 120, 180, 240), counter, rules)
    buckets = spread(result, seconds(0, 60, 90, 120, 180, 240))
    np.testing.assert_array_equal(buckets.energy_kwh, [6, math.nan, math.nan, 6, 6])
    half = spread(result, seconds(0, 120, 240))
    assert half.energy_kwh.tolist() == [6, 12]
    assert half.covered_s.tolist() == [60, 120]
    step = int(IncrementFlag.STEP)
    assert flags_in_buckets(result, seconds(0, 60, 90, 120, 180)).tolist() == [0, step, step, 0]
    assert flags_in_buckets(result, seconds(70, 80, 300)).tolist() == [step, step]
    assert flags_in_buckets(result, seconds(130, 200)).tolist() == [0]


def test_windows_may_overlap() -> None:
    curve = EnergyCurve(increments(seconds(0, 60, 120), np.array([0.0, 6.0, 18.0]), RULES))
    assert curve.between(seconds(0, 30, 60), seconds(60, 90, 120)).energy_kwh.tolist() == [6, 9, 12]


@st.composite
def series(draw: st.DrawFn) -> Increments:
    """Stretches at real times, some with holes between them, some estimated."""
    count = draw(st.integers(1, 40))
    holes = draw(st.lists(st.sampled_from([0, 0, 0, 1, 777_777]), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(1, 10**9), min_size=count, max_size=count))
    start_us, at = [], NOW_US
    for hole, length in zip(holes, lengths, strict=True):
        start_us.append(at + hole)
        at += hole + length
    starts = np.array(start_us, dtype=np.int64)
    return Increments(
        starts,
        starts + np.array(lengths, dtype=np.int64),
        np.array(draw(st.lists(st.floats(0, 1e6), min_size=count, max_size=count))),
        np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))),
        np.zeros(count, dtype=np.uint8),
    )


@given(series(), st.lists(st.floats(0, 1), max_size=20, unique=True))
@settings(max_examples=300, deadline=None)
def test_buckets_add_up_over_any_partition(stretches: Increments, shares: list[float]) -> None:
    first, last = int(stretches.start_us[0]), int(stretches.end_us[-1])
    inner = {first + round(share * (last - first)) for share in shares}
    edges = np.array(sorted({first, last, *inner}), dtype=np.int64)
    buckets = spread(stretches, edges)
    assert np.nansum(buckets.energy_kwh) == pytest.approx(stretches.total_kwh, rel=1e-9)
    estimated = float(stretches.energy_kwh[stretches.estimated].sum())
    assert np.nansum(buckets.estimated_kwh) == pytest.approx(estimated, rel=1e-9)
    length_s = (stretches.end_us - stretches.start_us) / US_PER_S
    assert buckets.covered_s.sum() == pytest.approx(length_s[~stretches.estimated].sum(), rel=1e-9)


@given(series(), st.integers(1, 3 * 10**8), st.integers(-(10**9), 10**9))
@settings(max_examples=200, deadline=None)
def test_buckets_equal_the_overlaps_added_one_by_one(stretches: Increments, width: int, offset: int) -> None:
    first = NOW_US + offset
    edges = first + np.arange(7, dtype=np.int64) * width
    buckets = spread(stretches, edges)
    scale = max(1.0, stretches.total_kwh)
    rows = zip(
        stretches.start_us.tolist(),
        stretches.end_us.tolist(),
        stretches.energy_kwh.tolist(),
        stretches.estimated.tolist(),
        strict=True,
    )
    parts = list(rows)
    for i in range(6):
        low, high = int(edges[i]), int(edges[i + 1])
        energy, covered_us, touched = 0.0, 0, False
        for start, end, kwh, estimated in parts:
            overlap = min(end, high) - max(start, low)
            if overlap > 0:
                touched = True
                energy += kwh * overlap / (end - start)
                covered_us += 0 if estimated else overlap
        assert buckets.covered_s[i] == pytest.approx(covered_us / US_PER_S, abs=1e-9)
        if touched:
            assert buckets.energy_kwh[i] == pytest.approx(energy, abs=1e-9 * scale)
        else:
            assert math.isnan(buckets.energy_kwh[i])


def test_power_statistics_are_of_the_samples_in_the_half_open_bucket() -> None:
    power = np.array([9.0, 1.0, 3.0, math.nan, 5.0, 7.0, 8.0])
    result = power_statistics(seconds(-1, 0, 30, 40, 60, 180, 240), power, seconds(0, 60, 120, 180, 240))
    np.testing.assert_array_equal(result.min_kw, [1, 5, math.nan, 7])
    np.testing.assert_array_equal(result.mean_kw, [2, 5, math.nan, 7])
    np.testing.assert_array_equal(result.max_kw, [3, 5, math.nan, 7])
    assert result.sample_count.tolist() == [2, 1, 0, 1]
    assert power_statistics(seconds(0, 61), np.array([2.0, 4.0]), seconds(0, 60, 120)).mean_kw.tolist() == [2, 4]
    assert np.isnan(power_statistics(seconds(), np.array([]), seconds(0, 60)).max_kw).all()


@given(
    st.lists(st.tuples(st.integers(0, 600), st.floats(-1e6, 1e6)), max_size=60, unique_by=lambda s: s[0]),
    st.lists(st.integers(0, 600), min_size=2, max_size=12, unique=True),
)
@settings(max_examples=200, deadline=None)
def test_power_statistics_equal_plain_python(samples: list[tuple[int, float]], edges: list[int]) -> None:
    samples, edges = sorted(samples), sorted(edges)
    result = power_statistics(seconds(*(t for t, _ in samples)), np.array([p for _, p in samples]), seconds(*edges))
    for i in range(len(edges) - 1):
        inside = [p for t, p in samples if edges[i] <= t < edges[i + 1]]
        assert result.sample_count[i] == len(inside)
        if inside:
            assert result.min_kw[i] == min(inside)
            assert result.max_kw[i] == max(inside)
            assert result.mean_kw[i] == pytest.approx(math.fsum(inside) / len(inside), abs=1e-6)
        else:
            assert math.isnan(result.mean_kw[i])


def test_buckets_are_aligned_to_the_epoch() -> None:
    assert floor_us(NOW_US + 59_999_999, BUCKET_1M_US) == NOW_US
    assert ceil_us(NOW_US + 1, BUCKET_1M_US) == NOW_US + BUCKET_1M_US
    assert floor_us(NOW_US, BUCKET_15M_US) == ceil_us(NOW_US, BUCKET_15M_US) == NOW_US
    assert floor_us(-1, BUCKET_1M_US) == -BUCKET_1M_US
    edges = bucket_edges(NOW_US + 1, NOW_US + BUCKET_15M_US + 1, BUCKET_15M_US)
    assert ((edges - NOW_US) // BUCKET_15M_US).tolist() == [0, 1, 2]
    assert bucket_edges(NOW_US, NOW_US + BUCKET_15M_US, BUCKET_15M_US).size == 2
