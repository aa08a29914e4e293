"""What an explanation says is what the intervals are made of, and its sum holds."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import CounterRules, MeterSamples, energy_of, spread
from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.energy.evidence import Evidence
from emsd.energy.explanation import evidence_of
from emsd.energy.series import US_PER_S

RULES = CounterRules(max_gap_s=120.0, max_power_kw=3600.0, count_kwh=0.1, modulus_kwh=100_000.0, refresh_s=0.0)


def explained(
    times_s: list[float],
    shown_kwh: list[float],
    window_s: tuple[float, float],
    events: tuple[MeterEvent, ...] = (),
    *,
    parts: int = 1,
) -> Evidence:
    """Explain a window, in so many parts, and check that each sum holds and is that of the intervals."""
    time_us = np.array([round(each * US_PER_S) for each in times_s], dtype=np.int64)
    values = np.array(shown_kwh)
    found, _ = energy_of(MeterSamples(time_us, import_kwh=values), RULES, events=events)
    assert found is not None
    from_us, to_us = (round(each * US_PER_S) for each in window_s)
    edges = np.linspace(from_us, to_us, parts + 1).astype(np.int64).tolist()
    evidence = reduce(
        Evidence.__add__,
        [
            evidence_of(
                found, time_us, values, by_counter=True, from_us=from_us, to_us=to_us, part=(edges[i], edges[i + 1])
            )
            for i in range(parts)
        ],
    )
    intervals = spread(found, np.array([from_us, to_us], dtype=np.int64)).energy_kwh[0]
    if evidence.figure_kwh is None:
        assert np.isnan(intervals)
    else:
        assert evidence.figure_kwh == pytest.approx(intervals, abs=1e-6)
        assert evidence.left_over_kwh == pytest.approx(0.0, abs=1e-6)
    return evidence


def test_of_a_plain_counter_the_figure_is_last_less_first_without_what_lies_outside() -> None:
    evidence = explained([0, 60, 120, 180, 240], [100, 106, 112, 118, 124], (30, 210))
    assert evidence.figure_kwh == pytest.approx(18.0)
    assert (evidence.first and evidence.first.value, evidence.last and evidence.last.value) == (100, 124)
    assert evidence.outside_kwh == pytest.approx(6.0)
    assert evidence.sample_count == 3
    assert evidence.special_count == evidence.gap_count == 0
    assert evidence.corrections_kwh == evidence.ratio_kwh == 0.0


def test_every_special_stretch_tells_its_readings_and_what_it_adds_to_their_difference() -> None:
    times = [float(60 * i) for i in range(14)]
    shown = [99_990, 99_995, 5, 10, 0, 15, 16, 14.9, 20, 25, 3, 6, 9, 12]
    evidence = explained(times, shown, (0, 13 * 60))
    by_flag = {str(each.flags.name): each for each in evidence.specials}
    assert list(by_flag) == ["ROLLOVER", "GLITCH", "DIP", "RESET"]
    rollover = by_flag["ROLLOVER"]
    assert rollover.before
    assert rollover.after
    assert (rollover.before.value, rollover.after.value) == (99_995, 5)
    assert (rollover.counted_kwh, rollover.correction_kwh) == (10.0, 100_000.0)
    assert [each.value for each in by_flag["GLITCH"].left_out] == [0]
    assert [each.value for each in by_flag["DIP"].left_out] == [14.9]
    assert (by_flag["RESET"].counted_kwh, by_flag["RESET"].correction_kwh) == (3.0, 25.0)
    assert evidence.special_counts == {"rollover": 1, "glitch": 1, "dip": 1, "reset": 1}
    assert evidence.figure_kwh == pytest.approx(5 + 10 + 5 + 5 + 1 + 4 + 5 + 3 + 9)


def test_a_step_is_excluded_and_the_sum_says_so() -> None:
    evidence = explained([0, 60, 120, 180, 240, 300], [10, 11, 5000, 5001, 5002, 5003], (0, 300))
    (step,) = evidence.specials
    assert step.counted_kwh is None
    assert step.correction_kwh == pytest.approx(-4989.0)
    assert evidence.figure_kwh == pytest.approx(4.0)


def test_a_swap_with_its_readings_is_told_as_one_stretch_from_the_old_meter_to_the_new() -> None:
    swap = MeterEvent(
        EventKind.SWAP,
        150 * US_PER_S,
        final=CounterPair(import_kwh=1013.0),
        initial=CounterPair(import_kwh=20.0),
        first_us=180 * US_PER_S,
    )
    evidence = explained([0, 60, 120, 180, 240], [1000, 1005, 1010, 22, 27], (0, 240), (swap,), parts=3)
    (stretch,) = evidence.specials
    assert stretch.before
    assert stretch.after
    assert (stretch.before.value, stretch.after.value) == (1010, 22)
    assert stretch.pieces_kwh == pytest.approx((3.0, 2.0))
    assert stretch.counted_kwh == pytest.approx(3.0 + 2.0)
    assert stretch.correction_kwh == pytest.approx(5.0 - (22 - 1010))
    assert evidence.figure_kwh == pytest.approx(5 + 5 + 3 + 2 + 5)


def test_changed_current_transformers_stand_in_the_sum_by_themselves() -> None:
    ratio = MeterEvent(EventKind.CT_RATIO, 150 * US_PER_S, factor=5.0)
    evidence = explained([0, 60, 120, 180, 240], [0, 1, 2, 3, 4], (0, 240), (ratio,))
    assert evidence.figure_kwh == pytest.approx(2 + 0.5 + 2.5 + 5)
    assert evidence.ratio_kwh + evidence.corrections_kwh == pytest.approx(6.0)


def test_a_gap_tells_its_total_and_its_part_of_the_figure() -> None:
    evidence = explained([0, 60, 120, 1320, 1380], [0, 1, 2, 42, 43], (0, 720), parts=2)
    (gap,) = evidence.gaps
    assert (gap.start_us // US_PER_S, gap.end_us // US_PER_S, gap.energy_kwh) == (120, 1320, 40.0)
    assert gap.inside_kwh == evidence.estimated_kwh == pytest.approx(20.0)
    assert evidence.outside_kwh == pytest.approx(20.0)


def test_of_a_meter_without_a_counter_holes_are_gaps_that_nobody_knows() -> None:
    time_us = np.array([0, 60, 120, 1320, 1380], dtype=np.int64) * US_PER_S
    power = np.full(5, 60.0)
    taken, _ = energy_of(MeterSamples(time_us, power_kw=power), RULES)
    assert taken is not None
    bounds = {"from_us": 0, "to_us": 1380 * US_PER_S, "part": (0, 1380 * US_PER_S)}
    evidence = evidence_of(taken, time_us, power, by_counter=False, **bounds)  # type: ignore[arg-type]
    assert evidence.figure_kwh == pytest.approx(3.0)
    (gap,) = evidence.gaps
    assert (gap.start_us, gap.end_us, gap.energy_kwh) == (120 * US_PER_S, 1320 * US_PER_S, None)
    assert evidence.first
    assert evidence.last
    assert evidence.last.time_us == 1380 * US_PER_S


@st.composite
def broken_histories(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    times, shown, at, value = [], [], 0.0, draw(st.floats(0, 99_000))
    for _ in range(draw(st.integers(2, 60))):
        at += draw(st.sampled_from([10.0, 60.0, 60.0, 60.0, 600.0, 7200.0]))
        value = (value + draw(st.floats(0, 3))) % 100_000
        fault = draw(st.sampled_from(["none"] * 12 + ["zero", "dip", "jump", "restart"]))
        if fault == "restart":
            value = 0.0
        if fault == "jump":
            value += 20_000
        times.append(at)
        shown.append({"zero": 0.0, "dip": max(0.0, value - 0.5)}.get(fault, value))
    return times, shown


@settings(max_examples=100, deadline=None)
@given(history=broken_histories(), parts=st.integers(1, 6), window=st.tuples(st.floats(0, 1), st.floats(0.01, 1)))
def test_the_sum_holds_for_every_history_in_however_many_parts_it_is_explained(
    history: tuple[list[float], list[float]], parts: int, window: tuple[float, float]
) -> None:
    times, shown = history
    begin = round(times[0] + window[0] * (times[-1] - times[0]) - 30)
    end = round(begin + window[1] * (times[-1] - times[0]) + 60)
    whole = explained(times, shown, (begin, end))
    cut = explained(times, shown, (begin, end), parts=parts)
    assert cut.special_counts == whole.special_counts
    assert cut.gaps == pytest.approx(whole.gaps) if not whole.gaps else len(cut.gaps) == len(whole.gaps)
    assert (cut.first, cut.last, cut.sample_count) == (whole.first, whole.last, whole.sample_count)
