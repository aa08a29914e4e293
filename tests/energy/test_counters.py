"""Counters: golden numbers, each fault alone, and the properties that hold for any history."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import CONTEXT_SAMPLES, CounterRules, IncrementFlag, Increments, increments, sort_unique
from emsd.energy.series import US_PER_HOUR, US_PER_S, FloatArray, TimeArray
from tests.energy.reference import Row, Series

NONE, ROLLOVER, RESET = IncrementFlag.NONE, IncrementFlag.ROLLOVER, IncrementFlag.RESET
GLITCH, STEP, DIP = IncrementFlag.GLITCH, IncrementFlag.STEP, IncrementFlag.DIP
ANY_POWER = CounterRules(max_gap_s=300)
# 60 s between samples at 600 kW x 1.25 and 5 s of refresh allow 13.5 kWh a step.
RATED = CounterRules(max_gap_s=300, max_power_kw=600)


def at_minutes(count: int) -> TimeArray:
    return np.arange(count, dtype=np.int64) * 60 * US_PER_S


def of(counter: Sequence[float], rules: CounterRules = ANY_POWER) -> Increments:
    return increments(at_minutes(len(counter)), np.array(counter, dtype=np.float64), rules)


def rows(result: Increments) -> list[Row]:
    """As plain Python rows, unknown energy as None so that rows compare equal."""
    energy = [None if math.isnan(value) else value for value in result.energy_kwh.tolist()]
    return list(
        zip(
            result.start_us.tolist(),
            result.end_us.tolist(),
            energy,
            result.flags.tolist(),
            result.estimated.tolist(),
            strict=True,
        )
    )


def minutes_and_flags(result: Increments) -> list[tuple[int, int, float | None, int]]:
    minute = 60 * US_PER_S
    return [(start // minute, end // minute, energy, flag) for start, end, energy, flag, _ in rows(result)]


# --- golden numbers ---------------------------------------------------------------------------------------------


def test_golden_a_restart_counts_what_the_meter_counted_since() -> None:
    """The usual reset: 100, 110, 120, 5, 15 is 20 before the restart and 15 after it."""
    result = of([100, 110, 120, 5, 15])
    assert result.total_kwh == 35
    assert minutes_and_flags(result) == [(0, 1, 10, NONE), (1, 2, 10, NONE), (2, 3, 5, RESET), (3, 4, 10, NONE)]


def test_golden_a_dip_is_no_reset() -> None:
    """Prometheus says 1030 here (any decrease is a reset), MyEMS 25 (positive steps only)."""
    result = of([1000, 1010, 1005, 1020])
    assert result.total_kwh == 20
    assert minutes_and_flags(result) == [(0, 1, 10, NONE), (1, 3, 10, DIP)]


def test_golden_a_transient_zero_is_no_reset() -> None:
    """Home Assistant, Prometheus and TimescaleDB's counter_agg all say 1020 here."""
    result = of([1000, 0, 1010, 1020])
    assert result.total_kwh == 20
    assert minutes_and_flags(result) == [(0, 2, 10, GLITCH), (2, 3, 10, NONE)]


def test_golden_rollover_of_six_digits() -> None:
    result = of([999_990, 12], CounterRules(max_gap_s=300, modulus_kwh=1e6))
    assert rows(result) == [(0, 60 * US_PER_S, 22, ROLLOVER, False)]
    assert not result.pending


def test_golden_rollover_of_32_bits() -> None:
    result = of([4_294_967_200, 104], CounterRules(max_gap_s=300, modulus_kwh=2.0**32))
    assert rows(result) == [(0, 60 * US_PER_S, 200, ROLLOVER, False)]


# --- each rule alone --------------------------------------------------------------------------------------------


def test_a_plausible_rise_is_energy_and_an_exact_limit_is_plausible() -> None:
    rules = CounterRules(max_gap_s=300, max_power_kw=600, refresh_s=0, count_kwh=0.5)
    limit = 600 * 1.25 / 60 + 0.5
    assert of([0, limit], rules).total_kwh == limit
    beyond = of([0, limit + 0.01], rules)
    assert beyond.pending
    assert rows(beyond) == []


def test_a_device_that_renews_its_counter_seldom_is_plausible_by_refresh_s() -> None:
    counter = [0, 0, 0, 0, 0, 50, 50, 50, 50, 50, 100]
    seldom = CounterRules(max_gap_s=300, max_power_kw=600, refresh_s=300)
    assert of(counter, seldom).total_kwh == 100
    assert STEP in of(counter, RATED).flags


def test_an_implausible_jump_that_returns_is_left_out() -> None:
    assert minutes_and_flags(of([1000, 9000, 1006], RATED)) == [(0, 2, 6, GLITCH)]
    assert minutes_and_flags(of([1000, 9000, 9000, 1009], RATED)) == [(0, 3, 9, GLITCH)]


def test_an_implausible_jump_that_stays_is_a_step_of_unknown_energy() -> None:
    result = of([1000, 1005, 9000, 9005, 9010], RATED)
    assert minutes_and_flags(result) == [
        (0, 1, 5, NONE),
        (1, 2, None, STEP),
        (2, 3, 5, NONE),
        (3, 4, 5, NONE),
    ]
    assert result.total_kwh == 15


def test_a_drop_to_what_no_restart_explains_is_a_step() -> None:
    """A swap for a used meter: Home Assistant issue 59491 credited one hour with the meter's whole life."""
    result = of([50_000, 20_000, 20_005], RATED)
    assert minutes_and_flags(result) == [(0, 1, None, STEP), (1, 2, 5, NONE)]


def test_a_dip_that_stays_for_hold_samples_is_a_step() -> None:
    result = of([1000, 990, 991, 992, 993], RATED)
    assert minutes_and_flags(result) == [
        (0, 1, None, STEP),
        (1, 2, 1, NONE),
        (2, 3, 1, NONE),
        (3, 4, 1, NONE),
    ]
    assert of([1000, 990, 991], RATED).pending


def test_a_dip_of_a_tenth_is_a_dip_and_of_more_a_restart() -> None:
    assert of([1000, 900, 901]).pending
    assert minutes_and_flags(of([1000, 899, 901])) == [(0, 1, 899, RESET), (1, 2, 2, NONE)]


def test_a_register_stuck_at_zero_proves_a_restart_only_after_hold_samples() -> None:
    assert minutes_and_flags(of([1000, 0, 0, 1010])) == [(0, 3, 10, GLITCH)]
    assert of([1000, 0, 0]).pending
    stays = of([1000, 0, 0, 0, 2])
    assert minutes_and_flags(stays) == [(0, 1, 0, RESET), (1, 2, 0, NONE), (2, 3, 0, NONE), (3, 4, 2, NONE)]


def test_a_restart_after_a_glitch_begins_at_the_restart() -> None:
    assert minutes_and_flags(of([1000, 70_000, 3, 8], RATED)) == [(0, 2, 3, RESET), (2, 3, 5, NONE)]


def test_noise_without_any_track_gives_the_base_up_after_the_context() -> None:
    noise = [1000, *(50_000 - 5_000 * i for i in range(CONTEXT_SAMPLES)), 1040]
    result = of(noise, RATED)
    assert minutes_and_flags(result)[0] == (0, CONTEXT_SAMPLES, None, STEP)
    assert minutes_and_flags(of([*noise[:CONTEXT_SAMPLES], 1040], RATED)) == [(0, CONTEXT_SAMPLES, 40, GLITCH)]


def test_no_sample_beyond_the_context_takes_part_in_a_decision() -> None:
    """A rollover at the last sample of the context stands, though the one after it is above the base again."""
    rules = CounterRules(max_gap_s=300, max_power_kw=600, modulus_kwh=1e6)
    noise = [50_000 - 5_000 * i for i in range(CONTEXT_SAMPLES - 1)]
    rolled = (0, CONTEXT_SAMPLES, 9, ROLLOVER | GLITCH)
    assert minutes_and_flags(of([999_995, *noise, 4], rules)) == [rolled]
    assert minutes_and_flags(of([999_995, *noise, 4, 999_998], rules)) == [rolled]


def test_a_zero_that_looks_like_a_rollover_is_revoked_when_the_counter_returns() -> None:
    rules = CounterRules(max_gap_s=300, max_power_kw=600, modulus_kwh=1e6)
    assert minutes_and_flags(of([999_995, 0, 999_997], rules)) == [(0, 2, 2, GLITCH)]
    assert minutes_and_flags(of([999_995, 0, 3], rules)) == [(0, 1, 5, ROLLOVER), (1, 2, 3, NONE)]


def test_a_counter_returns_from_a_glitch_over_its_modulus() -> None:
    rules = CounterRules(max_gap_s=300, max_power_kw=600, modulus_kwh=1e6)
    assert minutes_and_flags(of([999_995, 500_000, 4, 6], rules)) == [(0, 2, 9, ROLLOVER | GLITCH), (2, 3, 2, NONE)]


def test_a_drop_far_from_the_modulus_is_no_rollover() -> None:
    rules = CounterRules(max_gap_s=300, modulus_kwh=1e6)
    assert minutes_and_flags(of([500_000, 12, 13], rules)) == [(0, 1, 12, RESET), (1, 2, 1, NONE)]
    assert minutes_and_flags(of([950_000, 949_990, 950_001], rules)) == [(0, 2, 1, DIP)]


def test_a_suspect_at_the_end_is_pending_and_counts_nothing() -> None:
    result = of([1000, 1010, 0])
    assert result.pending
    assert minutes_and_flags(result) == [(0, 1, 10, NONE)]
    assert not of([1000, 1010]).pending


def test_energy_over_a_gap_longer_than_max_gap_is_kept_and_marked() -> None:
    times = np.array([0, 300, 601], dtype=np.int64) * US_PER_S
    result = increments(times, np.array([0.0, 5.0, 9.0]), ANY_POWER)
    assert result.energy_kwh.tolist() == [5, 4]
    assert result.estimated.tolist() == [False, True]


def test_missing_counters_are_left_out_and_the_first_of_equal_times_wins() -> None:
    times = np.array([0, 60, 60, 120, 180], dtype=np.int64) * US_PER_S
    result = increments(times, np.array([1.0, 3.0, 99.0, math.nan, 7.0]), ANY_POWER)
    assert rows(result) == [
        (0, 60 * US_PER_S, 2, NONE, False),
        (60 * US_PER_S, 180 * US_PER_S, 4, NONE, False),
    ]
    first_is_missing = increments(times[:3], np.array([1.0, math.nan, 4.0]), ANY_POWER)
    assert first_is_missing.energy_kwh.tolist() == [3]


@pytest.mark.parametrize("counter", [[], [5.0], [math.nan, math.nan, 5.0]])
def test_fewer_than_two_samples_are_no_energy(counter: list[float]) -> None:
    assert rows(of(counter)) == []


def test_descending_times_are_refused() -> None:
    with pytest.raises(ValueError, match="descends at position 2"):
        increments(np.array([0, 2, 1]), np.array([1.0, 2.0, 3.0]), ANY_POWER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_gap_s": 0},
        {"max_power_kw": -1},
        {"plausibility_factor": 0},
        {"modulus_kwh": math.nan},
        {"count_kwh": -0.1},
        {"refresh_s": -1},
        {"hold_samples": 1},
        {"hold_samples": CONTEXT_SAMPLES + 1},
    ],
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CounterRules(**{"max_gap_s": 60, **wrong})  # type: ignore[arg-type]


# --- any history ------------------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> tuple[TimeArray, FloatArray, CounterRules]:
    """Counters that rise by whole kWh, with faults of every kind, also on top of each other; or with a wrong clock."""
    modulus = draw(st.sampled_from([None, 1000.0]))
    rules = CounterRules(
        max_gap_s=90,
        # 300.5 kW x 1.25 never allows a whole number of kWh exactly, so rounding cannot decide.
        max_power_kw=draw(st.sampled_from([None, 300.5])),
        modulus_kwh=modulus,
        hold_samples=draw(st.integers(2, 4)),
    )
    time_s, value = 0, draw(st.sampled_from([0, 5, 500, 985]))
    times, counter = [0], [float(value)]
    clock_only = draw(st.integers(0, 3)) == 0
    for _ in range(draw(st.integers(20 if clock_only else 0, 60))):
        time_s += draw(st.sampled_from([60, 60, 60, 60, 120]))
        fault = draw(st.integers(7 if clock_only else 0, 24))
        value += draw(st.integers(0, 5))
        if modulus is not None:
            value %= int(modulus)
        shown = {
            0: 0,
            1: draw(st.integers(0, 1200)),
            2: value - draw(st.integers(1, 3)),
            3: value + draw(st.integers(20, 90)),
        }.get(fault, value)
        if fault == 4:
            value = shown = draw(st.integers(0, 4))
        elif fault == 5:
            value = shown = draw(st.integers(0, 999))
        times.append(time_s * US_PER_S)
        counter.append(math.nan if fault == 6 else float(shown))
    if clock_only:
        # It ran ahead for a while: what was taken then stands later, among what was taken there.
        first = draw(st.integers(1, len(times) - 10))
        length = draw(st.integers(3, 10))
        ahead_us = draw(st.integers(length, 30)) * 60 * US_PER_S + 7
        times[first : first + length] = [time_us + ahead_us for time_us in times[first : first + length]]
    order = np.argsort(times)
    return np.array(times, dtype=np.int64)[order], np.array(counter)[order], rules


def usable(history: tuple[TimeArray, FloatArray, CounterRules]) -> tuple[TimeArray, FloatArray, CounterRules]:
    times, counter, rules = history
    present = np.isfinite(counter)
    return times[present], counter[present], rules


@given(histories())
@settings(max_examples=150, deadline=None)
def test_the_result_equals_the_rules_in_plain_python(history: tuple[TimeArray, FloatArray, CounterRules]) -> None:
    times, counter, rules = history
    good_times, good_counter, _ = usable(history)
    samples = list(zip(good_times.tolist(), good_counter.tolist(), strict=True))
    for is_whole in (True, False):
        result = increments(times, counter, rules, is_whole=is_whole)
        assert (rows(result), result.pending) == Series(samples, rules, is_whole=is_whole).run()


@given(histories())
@settings(max_examples=80, deadline=None)
def test_stretches_follow_each_other_without_holes_and_energy_is_never_negative(
    history: tuple[TimeArray, FloatArray, CounterRules],
) -> None:
    times, counter, rules = usable(history)
    result = increments(times, counter, rules)
    assert (result.end_us > result.start_us).all()
    assert (result.start_us[1:] == result.end_us[:-1]).all()
    assert not (result.energy_kwh < 0).any()
    assert (np.isnan(result.energy_kwh) == (result.flags & STEP > 0)).all()
    if result.start_us.size:
        assert result.start_us[0] == times[0]
        assert result.pending or result.end_us[-1] == times[-1]


@given(histories(), st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=200, deadline=None)
def test_a_part_with_context_gives_what_the_whole_gives(
    history: tuple[TimeArray, FloatArray, CounterRules], one: int, other: int
) -> None:
    """The statement of the module: after hold_samples sound samples, up to CONTEXT_SAMPLES before the end."""
    times, counter, rules = usable(history)
    first, last = sorted((min(one, times.size), min(other, times.size)))
    whole = rows(increments(times, counter, rules, is_whole=False))
    part = rows(increments(times[first:last], counter[first:last], rules, is_whole=False))

    limit = math.inf if rules.max_power_kw is None else rules.max_power_kw * 1.25 / 3600
    run, sound_from = 1, None
    for i in range(first + 1, last):
        rise, seconds = counter[i] - counter[i - 1], (times[i] - times[i - 1]) / US_PER_S
        run = run + 1 if 0 <= rise <= limit * (seconds + rules.refresh_s) else 1
        if run >= rules.hold_samples:
            sound_from = int(times[i])
            break
    last_judged = last - 1 if last == times.size else last - 1 - CONTEXT_SAMPLES
    if sound_from is None or last_judged < first:
        return
    judged_to = int(times[last_judged])
    assert [r for r in part if sound_from <= r[0] <= judged_to] == [r for r in whole if sound_from <= r[0] <= judged_to]


def test_the_context_property_is_not_vacuous() -> None:
    """Without sound samples before it, a part that begins at a glitch does differ from the whole."""
    counter = np.array([1000.0, 0, 1010, 1020, 1030])
    whole = rows(increments(at_minutes(5), counter, ANY_POWER))
    part = rows(increments(at_minutes(5)[1:], counter[1:], ANY_POWER))
    assert part[0][2] == 1010
    assert part[1:] == whole[1:]


@given(
    st.lists(st.floats(0, 9), min_size=20, max_size=60),
    st.integers(5, 14),
    st.sampled_from(["zero", "spike", "missing", "dip"]),
    st.integers(1, 2),
)
@settings(max_examples=200, deadline=None)
def test_no_fault_shorter_than_hold_samples_changes_the_energy(
    rises: list[float], place: int, fault: str, length: int
) -> None:
    true = 5_000 + np.cumsum([0.0, *rises])
    shown = true.copy()
    shown[place : place + length] = {"zero": 0.0, "spike": 1e9, "missing": math.nan, "dip": true[place - 1] - 1}[fault]
    result = of(shown.tolist(), RATED)
    assert result.total_kwh == pytest.approx(true[-1] - true[0], rel=1e-9)
    assert np.isfinite(result.energy_kwh).all()


@given(st.lists(st.floats(0.01, 9), min_size=12, max_size=60), st.integers(3, 8))
@settings(max_examples=200, deadline=None)
def test_a_restart_loses_only_what_was_used_before_it_since_the_last_sample(rises: list[float], place: int) -> None:
    true = np.cumsum([0.0, *rises])
    shown = 5_000 + true
    shown[place:] = true[place:] - true[place - 1]
    result = of(shown.tolist(), RATED)
    assert result.total_kwh == pytest.approx(true[-1], rel=1e-9)
    assert np.count_nonzero(result.flags & RESET) == 1


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_sort_unique_undoes_shuffling_and_repetition(
    history: tuple[TimeArray, FloatArray, CounterRules], random: object
) -> None:
    times, counter, rules = history
    order = list(range(times.size)) * 2
    random.shuffle(order)  # type: ignore[attr-defined]
    again_times, again_counter = sort_unique(times[order], counter[order])
    again = increments(again_times, again_counter, rules)
    assert rows(again) == rows(increments(times, counter, rules))


def test_sort_unique_keeps_the_first_row_of_equal_times() -> None:
    times, values = sort_unique(np.array([5, 1, 5, 1]), np.array([10.0, 20.0, 30.0, 40.0]))
    assert times.tolist() == [1, 5]
    assert values.tolist() == [20.0, 10.0]


def test_the_plausible_energy_is_rated_power_times_time() -> None:
    """600 kW x 1.25 for a minute and 5 s of refresh."""
    offset, slope = RATED.allowed_slope()
    assert offset + slope * 60 * US_PER_S == pytest.approx(600 * 1.25 * 65 / 3600)
    assert slope * US_PER_HOUR == 750
