"""The clock of the service is set while a counter runs: its readings overlap in time, and no energy is invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import (
    BUCKET_1M_US,
    CounterRules,
    EventKind,
    IncrementFlag,
    MeterEvent,
    MeterSamples,
    bucket_edges,
    increments,
    meter_buckets,
    spread,
)
from emsd.energy.counters import overtaken
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


def corrected(begin_s: int, length_s: int, by_s: float, every_s: int = 1) -> tuple[TimeArray, FloatArray]:
    """Return what `told` does, of a clock that is wrong by `by_s` [s] for `length_s` and is then put right."""
    true_s = np.arange(0, SECONDS, every_s)
    wrong = (true_s >= begin_s) & (true_s < begin_s + length_s)
    times = np.round((true_s + np.where(wrong, by_s, 0.0)) * 1e6).astype(np.int64) + true_s % 7
    order = np.argsort(times, kind="stable")
    return times[order], (1000.0 + true_s * POWER_KW / 3600)[order]


@pytest.mark.parametrize("rules", [RATED, UNRATED], ids=["rated", "unrated"])
def test_a_clock_that_ran_an_hour_ahead_and_was_put_right_invents_no_energy(rules: CounterRules) -> None:
    """An hour ahead for 33 minutes: what those readings tell was counted over the gap that they left."""
    times, counter = corrected(2874, 1959, 3600.0)
    found = increments(times, counter, rules)
    assert found.total_kwh == pytest.approx(TRUE_KWH)
    ahead = times >= 6474 * 1_000_000
    assert (found.flags[found.end_us > times[ahead][0]] & IncrementFlag.HELD_OUT).all()
    told_us, told = overtaken(times, counter, rules)
    assert told_us.tolist() == times[ahead].tolist()
    assert told.tolist() == counter[ahead].tolist()


@given(
    st.integers(60, SECONDS - 200),
    st.integers(40, 3000),
    st.floats(30.0, 86_400.0),
    st.sampled_from([1, 7, 10]),
)
@settings(deadline=None)
def test_however_long_a_clock_ran_ahead_there_is_no_more_energy_than_there_was(
    begin_s: int, length_s: int, by_s: float, every_s: int
) -> None:
    rules = CounterRules(max_gap_s=30.0, max_power_kw=100.0, count_kwh=0.001)
    found = increments(*corrected(begin_s, length_s, by_s, every_s), rules)
    assert found.total_kwh <= TRUE_KWH + 0.01


def test_a_part_that_is_told_what_to_hold_out_gives_what_the_whole_gives() -> None:
    """In the middle of them, readings of a wrong clock look sound: an event says what they are."""
    times, counter = corrected(2874, 1959, 3600.0)
    told_us, told = overtaken(times, counter, RATED)
    event = MeterEvent(
        EventKind.HOLD_OUT,
        int(told_us[0]),
        until_us=int(told_us[-1]) + 1,
        counter="import_kwh",
        low_kwh=float(told.min()),
        high_kwh=float(told.max()),
    )
    edges = bucket_edges(0, int(times[-1]) + 1, BUCKET_1M_US)
    whole = spread(increments(times, counter, RATED), edges).energy_kwh
    by_event = meter_buckets(MeterSamples(times, counter), RATED, edges, events=[event])
    np.testing.assert_allclose(by_event.energy_import_kwh, whole)
    middle = slice(np.searchsorted(times, told_us[900]), np.searchsorted(times, told_us[1200]))
    few = MeterSamples(times[middle], counter[middle])
    inside = np.array([told_us[950], told_us[1100]])
    assert meter_buckets(few, RATED, inside).energy_import_kwh[0] > 1, "without the event they pass for sound"
    assert np.isnan(meter_buckets(few, RATED, inside, events=[event]).energy_import_kwh[0])


def test_a_meter_that_was_exchanged_for_one_that_shows_less_is_no_wrong_clock() -> None:
    counter = np.concatenate((np.arange(1000.0, 1100.0), np.arange(1050.0, 1100.0)))
    times = np.arange(counter.size, dtype=np.int64) * 60_000_000
    found = increments(times, counter, CounterRules(max_gap_s=300.0, max_power_kw=100.0))
    assert not (found.flags & IncrementFlag.HELD_OUT).any()
    assert np.count_nonzero(found.flags & IncrementFlag.STEP) == 1


def test_values_that_rise_more_slowly_than_the_counter_jumped_over_them_are_no_wrong_clock() -> None:
    """Exchanged for a meter that shows what the old one jumped over within a minute: it needs nine for it."""
    counter = np.concatenate((np.arange(1000.0, 1011.0), np.arange(1020.0, 1060.0), np.arange(1011.0, 1020.0)))
    times = np.arange(counter.size, dtype=np.int64) * 60_000_000
    found = increments(times, counter, CounterRules(max_gap_s=300.0, max_power_kw=600.0))
    assert not (found.flags & IncrementFlag.HELD_OUT).any()
