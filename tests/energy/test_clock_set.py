"""The clock of the service is set while a counter runs: its readings overlap in time, and no energy is invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.energy import CounterRules, increments
from emsd.energy.series import FloatArray, TimeArray

POWER_KW = 50.0
SECONDS = 6000
TRUE_KWH = (SECONDS - 1) * POWER_KW / 3600
RATED = CounterRules(max_gap_s=10.0, max_power_kw=100.0, count_kwh=0.001)
UNRATED = CounterRules(max_gap_s=10.0, count_kwh=0.001)


def told(set_at_s: int, by_s: float) -> tuple[TimeArray, FloatArray]:
    """Return times [us] and counter [kWh] of one reading a second, in the order of their times, as a database has them.

    At the true second `set_at_s` the clock is set by `by_s` [s].
    """
    true_s = np.arange(SECONDS)
    # Answers never come at the same fraction of two seconds.
    times = np.round((true_s + np.where(true_s >= set_at_s, by_s, 0.0)) * 1e6).astype(np.int64) + true_s % 7
    order = np.argsort(times, kind="stable")
    return times[order], (1000.0 + true_s * POWER_KW / 3600)[order]


@pytest.mark.parametrize("rules", [RATED, UNRATED], ids=["rated", "unrated"])
@pytest.mark.parametrize("by_s", [86_400.0, 3600.0, 300.0, 1.5, -0.4, -0.9])
def test_a_clock_set_forward_or_back_by_less_than_an_interval_loses_and_invents_no_energy(
    rules: CounterRules, by_s: float
) -> None:
    assert increments(*told(3000, by_s), rules).total_kwh == pytest.approx(TRUE_KWH)


def test_the_energy_across_a_clock_set_forward_is_marked_as_estimated() -> None:
    found = increments(*told(3000, 3600.0), RATED)
    assert [round(end - start, -6) / 1e6 for start, end in zip(found.start_us, found.end_us, strict=True)].count(
        3601.0
    ) == 1
    assert found.estimated.sum() == 1


@given(st.integers(60, SECONDS - 60), st.floats(-86_400.0, 86_400.0))
def test_a_clock_that_is_set_never_makes_more_energy_of_a_rated_meter_than_there_was(
    set_at_s: int, by_s: float
) -> None:
    """Of a time that is told twice, both tellings stand in the table; which energy is whose, nobody can know."""
    found = increments(*told(set_at_s, by_s), RATED)
    assert found.total_kwh <= TRUE_KWH + 0.01
    told_twice_s = max(0.0, min(-by_s, set_at_s, SECONDS - set_at_s))
    assert found.total_kwh >= TRUE_KWH - 2 * (told_twice_s + 60.0) * POWER_KW / 3600
