"""Integrals of several gauges together: exact, additive, and silent where one of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy.counters import CounterRules
from emsd.energy.kpi import Signal, count, integrate
from emsd.energy.series import BUCKET_15M_US, US_PER_S

QUARTER_S = 900


def signal(
    times_s: Sequence[float], values: Sequence[float], *, max_gap_s: float = 300.0, holds: bool = False
) -> Signal:
    return Signal((np.array(times_s) * US_PER_S).astype(np.int64), np.array(values, dtype=float), max_gap_s, holds)


def edges(*quarters: int) -> np.ndarray:
    return np.array(quarters, dtype=np.int64) * BUCKET_15M_US


def test_a_product_of_straight_lines_is_integrated_exactly_whatever_the_sampling() -> None:
    # flow 10 -> 20 and difference 6 -> 2 over an hour: integral of (10 + 10 t)(6 - 4 t) = 60 + 10 - 40/3 over [0, 1].
    def line(begin: float, end: float, step_s: float) -> Signal:
        times = np.arange(0, 3600 + 1, step_s).tolist()
        return signal(times, [begin + (end - begin) * each / 3600 for each in times])

    whole = integrate([line(10, 20, 7.2), line(6, 2, 60)], lambda flow, difference: flow * difference, edges(0, 4))
    assert whole.value[0] == pytest.approx(60 + 10 - 40 / 3, rel=1e-12)
    assert whole.coverage[0] == pytest.approx(1.0)


def test_the_mean_of_a_product_is_not_the_product_of_the_means() -> None:
    # A pump that runs half of the time, and water that differs only then: the means would say half of it.
    times = list(range(QUARTER_S + 1))
    on = [1.0 if each < QUARTER_S / 2 else 0.0 for each in times]
    flow = signal(times, [10 * each for each in on], holds=True)
    difference = signal(times, [6 * each for each in on], holds=True)
    exact = integrate([flow, difference], lambda a, b: a * b, edges(0, 1)).value[0]
    means = (
        integrate([flow], lambda a: a, edges(0, 1)).value[0]
        * integrate([difference], lambda a: a, edges(0, 1)).value[0]
    )
    assert exact == pytest.approx(10 * 6 * 0.125)
    assert means / 0.25 == pytest.approx(exact / 2)
    # Both swing by 25 % together: 3.1 % are missing.
    swing = [1 + 0.25 * np.sin(2 * np.pi * each / QUARTER_S) for each in times]
    both = signal(times, swing)
    exact = integrate([both, both], lambda a, b: a * b, edges(0, 1)).value[0]
    assert exact / 0.25 == pytest.approx(1 + 0.25**2 / 2, rel=1e-5)


def test_a_stretch_counts_only_where_every_signal_is_known() -> None:
    flow = signal(list(range(0, 901, 10)), [36.0] * 91)
    late = signal([300.0, 310.0, 900.0], [2.0, 2.0, 2.0])  # the second gap is longer than max_gap_s
    value, coverage = integrate([flow, late], lambda a, b: a * b, edges(0, 1, 2))
    assert coverage.tolist() == [pytest.approx(10 / 900), 0.0]
    assert value[0] == pytest.approx(36 * 2 * 10 / 3600)
    assert np.isnan(value[1])
    nothing = integrate([flow, signal([5.0], [1.0])], lambda a, b: a * b, edges(0, 1))
    assert np.isnan(nothing.value[0])
    assert nothing.coverage[0] == 0.0


def test_a_state_holds_until_the_next_one() -> None:
    state = signal([0, 200, 400, 600, 800, 1000], [3, 4, 4, 3, 3, 3], holds=True)
    loaded = integrate([state], lambda code: np.isin(code, [3.0]).astype(float), edges(0, 1))
    assert loaded.value[0] * 3600 == pytest.approx(200 + 300)
    assert loaded.coverage[0] == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 7200), st.floats(-50, 50)), min_size=2, max_size=30, unique_by=lambda pair: pair[0]
    ),
    st.lists(st.tuples(st.integers(0, 7200), st.floats(0, 9)), min_size=2, max_size=30, unique_by=lambda pair: pair[0]),
    st.booleans(),
)
def test_quarter_hours_add_up_to_the_whole(
    first: list[tuple[int, float]], second: list[tuple[int, float]], holds: bool
) -> None:
    signals = [
        signal([t for t, _ in sorted(each)], [v for _, v in sorted(each)], max_gap_s=1500, holds=holds)
        for each in (first, second)
    ]
    whole = integrate(signals, lambda a, b: a * b, edges(0, 8))
    parts = integrate(signals, lambda a, b: a * b, edges(*range(9)))
    assert np.nansum(parts.value) == pytest.approx(np.nansum(whole.value), abs=1e-6)
    assert np.mean(parts.coverage) == pytest.approx(whole.coverage[0])
    assert (np.isnan(parts.value) == (parts.coverage == 0)).all()


def test_a_counter_that_restarts_makes_no_cold_and_what_a_gap_hides_is_left_out() -> None:
    rules = CounterRules(max_gap_s=300)
    times = np.arange(0, 1801, 60, dtype=np.int64) * US_PER_S
    counter = 100 + np.arange(31.0)
    counter[20:] -= 118  # restarts at 2
    value, coverage = count(times, counter, rules, edges(0, 2))
    assert value[0] == pytest.approx(19 + 2 + 10)
    gap = np.delete(np.arange(31), np.arange(5, 20))
    value, coverage = count(times[gap], (100 + np.arange(31.0))[gap], rules, edges(0, 2))
    assert value[0] == pytest.approx(30 - 16)
    assert coverage[0] == pytest.approx(1 - 16 * 60 / 1800)
