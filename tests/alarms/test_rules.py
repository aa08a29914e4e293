from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.alarms.lifecycle import Event
from emsd.alarms.rules import Change, Evaluator, Stale, Threshold
from emsd.readings import Quality, Reading, reading_of

S = 1_000_000
POWER = Threshold("active_power_kw", above=300.0, deadband=15.0, on_delay_s=60.0)


def power(time_s: float, value: float | None) -> Reading:
    return reading_of(1, round(time_s * S), {"active_power_kw": value})


def feed(evaluator: Evaluator, samples: Sequence[tuple[float, float | None]]) -> list[Change]:
    """Feed (time [s], kW) pairs that arrive at once."""
    return [
        change for time_s, value in samples for change in evaluator.observe(power(time_s, value), round(time_s * S))
    ]


def occur(time_s: float, value: float | None) -> Change:
    return Change(Event.OCCUR, round(time_s * S), value)


def back(time_s: float, value: float | None) -> Change:
    return Change(Event.RETURN, round(time_s * S), value)


# --- threshold, goldens: 300 kW, deadband 5 % = 15 kW, on-delay 60 s


def test_the_condition_must_hold_for_the_whole_on_delay() -> None:
    assert feed(POWER.evaluator(0), [(0, 310), (59, 320)]) == []
    assert feed(POWER.evaluator(0), [(0, 310), (59, 320), (60, 330)]) == [occur(60, 330)]


def test_a_value_at_the_limit_is_not_beyond_it_and_stops_the_on_delay() -> None:
    assert feed(POWER.evaluator(0), [(0, 310), (30, 300), (31, 310), (60, 310), (90, 310)]) == []
    assert feed(POWER.evaluator(0), [(0, 310), (30, 300), (31, 310), (91, 310)]) == [occur(91, 310)]


def test_a_value_that_comes_back_as_the_on_delay_ends_raises_nothing() -> None:
    assert feed(POWER.evaluator(0), [(0, 310), (60, 290)]) == []


def test_the_condition_ends_only_past_the_deadband() -> None:
    samples = [(0.0, 310.0), (60.0, 310.0), (61.0, 299.0), (62.0, 285.1), (63.0, 285.0), (64.0, 310.0)]
    assert feed(POWER.evaluator(0), samples) == [occur(60, 310), back(63, 285)]


def test_an_on_delay_that_ran_out_between_two_readings_is_dated_when_it_ran_out() -> None:
    assert feed(POWER.evaluator(0), [(0, 310), (900, 310)]) == [occur(60, 310)]
    assert feed(POWER.evaluator(0), [(0, 310), (900, 200)]) == [occur(60, 310), back(900, 200)]


def test_the_on_delay_of_a_slow_meter_runs_out_by_time() -> None:
    evaluator = POWER.evaluator(0)
    feed(evaluator, [(0, 310)])
    assert evaluator.tick(59 * S) == ()
    assert evaluator.tick(75 * S) == (occur(60, 310),)
    assert evaluator.tick(99 * S) == ()


def test_a_missing_value_neither_raises_nor_returns_nor_stops_the_on_delay() -> None:
    evaluator = POWER.evaluator(0)
    assert feed(evaluator, [(0, 310), (30, None), (60, 310)]) == [occur(60, 310)]
    assert feed(evaluator, [(61, None), (62, float("nan"))]) == []
    assert evaluator.active
    assert evaluator.observe(reading_of(1, 63 * S, {"frequency_hz": 50.0}), 63 * S) == ()
    assert feed(evaluator, [(64, 100)]) == [back(64, 100)]


def test_older_readings_are_ignored() -> None:
    evaluator = POWER.evaluator(0)
    feed(evaluator, [(100, 310)])
    assert evaluator.observe(power(50, 100), 101 * S) == ()
    assert evaluator.observe(power(100, 100), 101 * S) == ()
    assert feed(evaluator, [(160, 310)]) == [occur(160, 310)]


def test_a_clock_in_the_future_does_not_blind_the_alarm() -> None:
    evaluator = POWER.evaluator(0)
    assert evaluator.observe(power(4e9, 310), 10 * S) == ()
    assert evaluator.observe(power(4e9, 310), 70 * S) == (occur(70, 310),)
    assert feed(evaluator, [(71, 0)]) == [back(71, 0)]


def test_the_on_delay_of_replayed_readings_runs_by_their_own_time() -> None:
    evaluator = POWER.evaluator(0)
    hour = 3600
    evaluator.observe(power(0, 310), hour * S)
    assert evaluator.tick((hour + 59) * S) == ()
    evaluator.observe(power(10, 200), (hour + 1) * S)
    assert evaluator.tick((hour + 99) * S) == ()


def test_nothing_returns_before_it_occurred() -> None:
    evaluator = POWER.evaluator(0)
    feed(evaluator, [(0, 310)])
    assert evaluator.tick(60 * S) == (occur(60, 310),)
    assert evaluator.observe(power(59.9, 200), 61 * S) == (back(60, 200),)


def test_a_limit_below_works_the_other_way_round() -> None:
    rule = Threshold("room_pressure_pa", below=15.0, deadband=2.0)
    evaluator = rule.evaluator(0)
    values = [15.0, 14.9, 16.9, 17.0]
    changes = [
        change
        for second, value in enumerate(values)
        for change in evaluator.observe(reading_of(1, second * S, {"room_pressure_pa": value}), second * S)
    ]
    assert changes == [occur(1, 14.9), back(3, 17.0)]


def test_both_limits_make_one_condition() -> None:
    rule = Threshold("active_power_kw", above=10.0, below=0.0, deadband=1.0)
    assert feed(rule.evaluator(0), [(0, 11), (1, -1), (2, 0.5), (3, 9.5), (4, 5)]) == [occur(0, 11), back(4, 5)]


def test_a_standing_alarm_that_is_taken_over_is_not_raised_again_and_returns() -> None:
    evaluator = POWER.evaluator(0)
    evaluator.assume_active()
    assert feed(evaluator, [(0, 310), (100, 310), (200, 290)]) == []
    assert evaluator.tick(300 * S) == ()
    assert feed(evaluator, [(301, 100)]) == [back(301, 100)]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Threshold("room_pressure_pa", below=15, on_delay_s=5), "room_pressure_pa < 15 Pa for 5 s"),
        (Threshold("active_power_kw", above=12500.0), "active_power_kw > 12500 kW"),
        (
            Threshold("frequency_hz", above=50.2, below=49.8, on_delay_s=0.5),
            "frequency_hz > 50.2 Hz or < 49.8 Hz for 0.5 s",
        ),
        (Stale(5), "no reading for 5 s"),
    ],
)
def test_a_rule_says_itself_in_words(rule: Threshold | Stale, words: str) -> None:
    assert rule.describe() == words


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "neither above nor below"),
        ({"above": 1.0, "deadband": -1.0}, "must not be negative"),
        ({"above": 1.0, "on_delay_s": -1.0}, "must not be negative"),
        ({"above": 10.0, "below": 0.0, "deadband": 6.0}, "could never return"),
    ],
)
def test_a_threshold_that_cannot_work_is_refused(arguments: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Threshold("active_power_kw", **arguments)


# --- threshold, properties against a simulation second by second

VALUES = st.sampled_from([None, 200.0, 284.0, 285.0, 292.0, 300.0, 301.0, 350.0])
SERIES = st.dictionaries(st.integers(0, 60), VALUES, max_size=30)
RULES = st.builds(
    Threshold,
    st.just("active_power_kw"),
    above=st.just(300.0),
    deadband=st.sampled_from([0.0, 15.0]),
    on_delay_s=st.sampled_from([0.0, 1.0, 5.0, 17.0]),
)


def simulate(rule: Threshold, series: dict[int, float | None], end_s: int) -> list[Change]:
    """Hold each value until the next one and walk through every second."""
    assert rule.above is not None
    changes: list[Change] = []
    active, beyond_since, held = False, -1, 0.0
    for second in range(end_s + 1):
        value = series.get(second)
        if value is not None:
            held = value
            if active and held <= rule.above - rule.deadband:
                active = False
                changes.append(back(second, held))
            beyond_since = -1 if active or held <= rule.above else second if beyond_since < 0 else beyond_since
        if not active and beyond_since >= 0 and second - beyond_since >= rule.on_delay_s:
            active = True
            beyond_since = -1
            changes.append(occur(second, held))
    return changes


@given(RULES, SERIES, st.sets(st.integers(0, 90)))
def test_an_evaluator_equals_the_simulation_however_often_it_is_ticked(
    rule: Threshold, series: dict[int, float | None], ticks: set[int]
) -> None:
    evaluator = rule.evaluator(0)
    changes: list[Change] = []
    for second in range(91):
        if second in series:
            changes += evaluator.observe(power(second, series[second]), second * S)
        if second in ticks or second == 90:
            changes += evaluator.tick(second * S)
    assert changes == simulate(rule, series, 90)


@given(RULES, st.lists(st.tuples(st.integers(0, 100), VALUES, st.integers(0, 120))))
def test_no_two_occurrences_without_a_return_between_and_times_never_run_back(
    rule: Threshold, arrivals: list[tuple[int, float | None, int]]
) -> None:
    """Readings arrive in any order, and ticks at any time."""
    evaluator = rule.evaluator(0)
    changes: list[Change] = []
    for time_s, value, tick_s in arrivals:
        changes += evaluator.observe(power(time_s, value), max(time_s, tick_s) * S)
        changes += evaluator.tick(tick_s * S)
    expected = [Event.OCCUR if place % 2 == 0 else Event.RETURN for place in range(len(changes))]
    assert [change.event for change in changes] == expected
    times = [change.time_us for change in changes]
    assert times == sorted(times)


@given(st.lists(st.floats(285.001, 1000.0), min_size=1))
def test_chatter_within_the_deadband_raises_once(values: list[float]) -> None:
    evaluator = Threshold("active_power_kw", above=300.0, deadband=15.0).evaluator(0)
    changes = feed(evaluator, [(float(second), value) for second, value in enumerate([301.0, *values])])
    assert changes == [occur(0, 301)]


# --- stale


def test_a_meter_is_stale_after_missing_polls_and_not_before_five_seconds() -> None:
    assert Stale.after(3, 1.0) == Stale(5.0)
    assert Stale.after(3, 60.0) == Stale(180.0)


def test_silence_longer_than_the_limit_is_stale_and_the_next_reading_ends_it() -> None:
    evaluator = Stale(5).evaluator(0)
    assert evaluator.observe(power(10, 1), 10 * S) == ()
    assert evaluator.tick(15 * S) == ()
    assert evaluator.tick(15 * S + 1) == (occur(15, None),)
    assert evaluator.tick(99 * S) == ()
    assert evaluator.observe(power(100, 1), 100 * S) == (back(100, None),)


def test_a_meter_that_never_spoke_is_stale_after_the_limit() -> None:
    assert Stale(5).evaluator(20 * S).tick(26 * S) == (occur(25, None),)


def test_silence_counts_by_arrival_not_by_the_device_clock() -> None:
    evaluator = Stale(5).evaluator(0)
    evaluator.observe(power(-86_400, 1), 10 * S)
    assert evaluator.tick(14 * S) == ()


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.REPLAYED, Quality.SIMULATED_HISTORY])
def test_old_data_does_not_prove_that_a_meter_speaks(quality: Quality) -> None:
    evaluator = Stale(5).evaluator(0)
    evaluator.observe(reading_of(1, 4 * S, {"active_power_kw": 1.0}, quality), 4 * S)
    assert evaluator.tick(6 * S) == (occur(5, None),)


def test_a_reading_with_missing_values_proves_that_a_meter_speaks() -> None:
    evaluator = Stale(5).evaluator(0)
    evaluator.observe(reading_of(1, 4 * S, {"active_power_kw": None}, Quality.MISSING), 4 * S)
    assert evaluator.tick(6 * S) == ()


def night(from_s: float, until_s: float) -> Callable[[int], bool]:
    return lambda time_us: from_s * S <= time_us < until_s * S


def test_silence_by_night_is_no_alarm_and_counts_from_sunrise_on() -> None:
    evaluator = Stale(5, may_rest=night(10, 1000)).evaluator(0)
    evaluator.observe(power(8, 1), 8 * S)
    ticks = [(second, evaluator.tick(second * S)) for second in range(9, 1010)]
    assert [(second, changes) for second, changes in ticks if changes] == [(1005, (occur(1004, None),))]


def test_a_meter_that_speaks_at_sunrise_raises_nothing() -> None:
    evaluator = Stale(5, may_rest=night(10, 1000)).evaluator(0)
    evaluator.observe(power(8, 1), 8 * S)
    assert all(evaluator.tick(second * S) == () for second in range(9, 1004))
    evaluator.observe(power(1003, 1), 1003 * S)
    assert evaluator.tick(1007 * S) == ()
    assert evaluator.tick(1009 * S) == (occur(1008, None),)


def test_an_alarm_that_stands_at_sunset_stands_until_the_meter_speaks() -> None:
    evaluator = Stale(5, may_rest=night(10, 1000)).evaluator(0)
    assert evaluator.tick(6 * S) == (occur(5, None),)
    assert evaluator.tick(500 * S) == ()
    assert evaluator.active
    assert evaluator.observe(power(600, 1), 600 * S) == (back(600, None),)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Stale(0)
