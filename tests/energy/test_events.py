"""Events: what a swap, a reset, another ratio, a person's reading change; and what holds for any history of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emsd.energy import (
    CONTEXT_SAMPLES,
    CounterPair,
    CounterRules,
    EventKind,
    IncrementFlag,
    Increments,
    MeterEvent,
    MeterSamples,
    counter_power_deviation,
    effective,
    energy_of,
    increments,
    meter_buckets,
    sort_unique,
    spread,
)
from emsd.energy.events import ratio_of
from emsd.energy.series import US_PER_S, FloatArray, TimeArray
from emsd.energy.spliced import spliced_increments
from tests.energy.reference import Row, Sample, Series, bucket, meter_rows
from tests.energy.test_counters import at_minutes, histories, minutes_and_flags, rows, usable

NONE, RESET, STEP = IncrementFlag.NONE, IncrementFlag.RESET, IncrementFlag.STEP
SWAP, GLITCH, HELD_OUT, DIP = IncrementFlag.SWAP, IncrementFlag.GLITCH, IncrementFlag.HELD_OUT, IncrementFlag.DIP
MINUTE = 60 * US_PER_S
RATED = CounterRules(max_gap_s=300, max_power_kw=600)
UNRATED = CounterRules(max_gap_s=300)

History = tuple[TimeArray, FloatArray, CounterRules]


def read(kwh: float) -> CounterPair:
    return CounterPair(import_kwh=kwh)


def at(minute: float, kind: EventKind, **facts: Any) -> MeterEvent:
    return MeterEvent(kind, round(minute * MINUTE), **facts)


def of(counter: Sequence[float], *events: MeterEvent, rules: CounterRules = RATED) -> Increments:
    times = at_minutes(len(counter))
    return spliced_increments(times, np.array(counter, dtype=np.float64), rules, "import_kwh", events)


# --- each kind alone --------------------------------------------------------------------------------------------


def test_a_swap_counts_to_the_final_and_from_the_initial_reading() -> None:
    swap = at(2.5, EventKind.SWAP, final=read(1015), initial=read(200))
    result = of([1000, 1005, 1010, 203, 208], swap)
    assert result.total_kwh == 10 + 5 + 3 + 5
    assert [(row[0] / MINUTE, row[1] / MINUTE, row[2], row[3]) for row in rows(result)] == [
        (0, 1, 5, NONE),
        (1, 2, 5, NONE),
        (2, 2.5, 5, SWAP),
        (2.5, 3, 3, SWAP),
        (3, 4, 5, NONE),
    ]


@pytest.mark.parametrize("rules", [RATED, UNRATED], ids=["rated", "unrated"])
@pytest.mark.parametrize("new", [0.0, 3.0, 20_000.0, 1012.0])
def test_golden_no_swap_ever_credits_a_whole_life(new: float, rules: CounterRules) -> None:
    """Home Assistant issue 59491: a swap credited one hour with the meter's whole life."""
    result = of([1000, 1005, 1010, new, new + 5], at(2.5, EventKind.SWAP), rules=rules)
    assert result.total_kwh == 15
    assert [row[2:4] for row in rows(result)] == [(5, 0), (5, 0), (None, SWAP | STEP), (None, SWAP | STEP), (5, 0)]


def test_of_a_swap_only_what_nobody_read_is_unknown() -> None:
    final_only = of([1000, 1010, 203, 208], at(1.5, EventKind.SWAP, final=read(1012)))
    assert [row[2] for row in rows(final_only)] == [10, 2, None, 5]
    initial_only = of([1000, 1010, 203, 208], at(1.5, EventKind.SWAP, initial=read(200)))
    assert [row[2] for row in rows(initial_only)] == [10, None, 3, 5]


def test_readings_that_contradict_the_samples_are_unknown_energy_and_never_a_restart() -> None:
    too_low = of([1000, 1010, 203, 208], at(1.5, EventKind.SWAP, final=read(900), initial=read(200)))
    assert [row[2] for row in rows(too_low)] == [10, None, 3, 5]
    wrong = at(1.5, EventKind.SWAP, final=read(1010), initial=read(50_000))
    for rules in (RATED, UNRATED):
        result = of([1000, 1010, 203, 208, 213], wrong, rules=rules)
        assert [row[2] for row in rows(result)] == [10, 0, None, 5, 5]


def test_a_display_shows_whole_kwh() -> None:
    result = of([1000, 1010.7, 203, 208], at(1.5, EventKind.SWAP, final=read(1010), initial=read(203)))
    assert result.total_kwh == pytest.approx(10.7 + 0 + 0 + 5)
    assert not (result.flags & STEP).any()


def test_what_the_old_device_left_in_doubt_is_unknown_once_it_is_gone() -> None:
    result = of([1000, 1005, 0, 203, 208], at(2.5, EventKind.SWAP, initial=read(200)))
    assert minutes_and_flags(result)[1][2:] == (None, SWAP | STEP)
    assert result.total_kwh == 5 + 3 + 5
    with_final = of([1000, 1005, 0, 203, 208], at(2.5, EventKind.SWAP, final=read(1011), initial=read(200)))
    assert [row[2:4] for row in rows(with_final)] == [(5, 0), (6, GLITCH | SWAP), (3, SWAP), (5, 0)]


def test_a_reset_begins_at_zero_and_loses_nothing_when_the_final_reading_is_known() -> None:
    known = of([1000, 1005, 2, 7], at(1.5, EventKind.RESET, final=read(1008)))
    assert [row[2:4] for row in rows(known)] == [(5, 0), (3, RESET), (2, RESET), (5, 0)]
    unknown = of([1000, 1005, 2, 7], at(1.5, EventKind.RESET))
    assert [row[2:4] for row in rows(unknown)] == [(5, 0), (None, RESET | STEP), (2, RESET), (5, 0)]


def test_samples_belong_to_the_new_device_from_the_first_that_is_known_to() -> None:
    """A person's watch is minutes off; the event says which sample is the first of the new device."""
    late = at(4.2, EventKind.SWAP, final=read(1012), initial=read(200), first_us=3 * MINUTE)
    result = of([1000, 1005, 1010, 203, 208, 213], late)
    assert result.total_kwh == 10 + 2 + 3 + 10
    early = at(0.5, EventKind.SWAP, final=read(1012), initial=read(200), first_us=3 * MINUTE)
    assert of([1000, 1005, 1010, 203, 208, 213], early).total_kwh == 10 + 2 + 3 + 10


def test_a_ratio_multiplies_energy_from_its_instant_on() -> None:
    result = of([1000, 1001, 1002, 1003], at(1.5, EventKind.CT_RATIO, factor=5.0))
    assert [(row[0] / MINUTE, row[1] / MINUTE, row[2]) for row in rows(result)] == [
        (0, 1, 1),
        (1, 1.5, 0.5),
        (1.5, 2, 2.5),
        (2, 3, 5),
    ]
    until = of([1000, 1001, 1002, 1003], at(1, EventKind.CT_RATIO, factor=5.0), at(2, EventKind.CT_RATIO, factor=1.0))
    assert until.energy_kwh.tolist() == [1, 5, 1]


def test_a_ratio_decides_what_is_plausible() -> None:
    """600 kW allow 13.5 kWh in a minute: 2.7 of a device that shows a fifth, 67.5 of one that shows five-fold."""
    shows_five_times = [1000, 1050, 1100, 1150, 1200]
    assert of(shows_five_times).pending
    assert of(shows_five_times, at(-1, EventKind.CT_RATIO, factor=0.2)).total_kwh == pytest.approx(40)
    shows_a_fifth = [1000, 1001, 1008, 1009, 1010]
    assert of(shows_a_fifth).total_kwh == 10
    assert of(shows_a_fifth, at(-1, EventKind.CT_RATIO, factor=5.0)).total_kwh == pytest.approx(15)


def test_a_ratio_multiplies_power_too() -> None:
    edges = np.array([0, 3], dtype=np.int64) * MINUTE
    samples = MeterSamples(at_minutes(4), power_kw=np.full(4, 60.0))
    event = at(1.5, EventKind.CT_RATIO, factor=2.0)
    result = meter_buckets(samples, RATED, edges, events=[event])
    assert result.energy_import_kwh.tolist() == [1 + 1.5 + 2]
    assert (result.power_min_kw[0], result.power_max_kw[0]) == (60, 120)


def test_a_manual_reading_is_a_sample_in_the_gap() -> None:
    times = np.array([0, 600], dtype=np.int64) * MINUTE
    counter = np.array([1000.0, 2000.0])
    event = at(100, EventKind.MANUAL_READING, reading=read(1900))
    result = spliced_increments(times, counter, RATED, "import_kwh", [event])
    assert [row[2] for row in rows(result)] == [900, 100]
    assert spliced_increments(times, counter, RATED, "export_kwh", [event]).energy_kwh.tolist() == [1000]


def test_a_manual_reading_that_cannot_be_is_held_like_any_sample() -> None:
    result = of([1000, 1005, 1010, 1015], at(1.5, EventKind.MANUAL_READING, reading=read(9999)))
    assert [row[2:4] for row in rows(result)] == [(5, 0), (5, GLITCH), (5, 0)]


def test_what_is_held_out_counts_for_nothing_and_its_stretch_says_so() -> None:
    samples = MeterSamples(
        at_minutes(6), np.array([0.0, 5, 7, 7, 20, 25]), power_kw=np.array([300.0, 300, 9, 9, 300, 300])
    )
    hold = at(2, EventKind.HOLD_OUT, until_us=4 * MINUTE)
    taken, _ = energy_of(samples, RATED, events=[hold])
    assert taken is not None
    assert minutes_and_flags(taken) == [(0, 1, 5, NONE), (1, 4, 15, HELD_OUT), (4, 5, 5, NONE)]
    buckets = meter_buckets(samples, RATED, at_minutes(6), events=[hold])
    assert buckets.power_max_kw[[0, 1, 4]].tolist() == [300, 300, 300]
    assert np.isnan(buckets.power_max_kw[[2, 3]]).all()
    assert buckets.sample_count.tolist() == [1, 1, 0, 0, 1]
    some = at(0, EventKind.HOLD_OUT, until_us=9 * MINUTE, counter="import_kwh", low_kwh=6, high_kwh=8)
    partly, _ = energy_of(samples, RATED, events=[some])
    assert partly is not None
    assert rows(partly) == rows(taken)


def test_a_series_that_ends_in_what_is_held_out_says_that_nothing_is_known_there() -> None:
    hold = at(2, EventKind.HOLD_OUT, until_us=9 * MINUTE)
    taken, _ = energy_of(MeterSamples(at_minutes(5), np.array([0.0, 5, 7, 7, 20])), RATED, events=[hold])
    assert taken is not None
    assert minutes_and_flags(taken) == [(0, 1, 5, NONE), (1, 4, None, HELD_OUT | STEP)]


def test_a_counter_is_compared_with_its_power_across_a_swap_and_a_ratio() -> None:
    times = at_minutes(121)
    true = np.linspace(0.0, 72.0, 121)
    shown = np.where(times < 60 * MINUTE, 5_000 + true, true - 36.0)
    samples = MeterSamples(times, shown, power_kw=np.full(121, 36.0))
    events = [
        at(60, EventKind.SWAP, final=read(5_036), initial=read(0)),
        at(0, EventKind.CT_RATIO, factor=4.0),
    ]
    result = counter_power_deviation(samples, UNRATED, 0, 120 * MINUTE, events=events)
    assert result.relative == pytest.approx(0, abs=1e-9)
    assert result.covered == 1
    rules = CounterRules(max_gap_s=300, max_power_kw=100)
    assert counter_power_deviation(samples, rules, 0, 120 * MINUTE, events=events).relative == pytest.approx(
        0, abs=1e-9
    )


# --- which events count -----------------------------------------------------------------------------------------

TOLD = at(60, EventKind.SWAP, since_us=10 * MINUTE, serial="4712")


def test_a_swap_that_a_device_told_counts_until_a_person_writes_it_down() -> None:
    written = at(50, EventKind.SWAP, final=read(1000), initial=read(0))
    assert effective([TOLD]) == (TOLD,)
    assert effective([TOLD, written]) == (replace(written, first_us=60 * MINUTE, serial="4712"),)
    assert effective([written, TOLD]) == effective([TOLD, written])


@pytest.mark.parametrize("minute", [5, 121])
def test_a_swap_of_another_time_is_another_swap(minute: int) -> None:
    other = at(minute, EventKind.SWAP, final=read(1000))
    assert set(effective([TOLD, other])) == {TOLD, other}
    reset = at(50, EventKind.RESET)
    assert effective([TOLD, reset]) == (reset, TOLD)


def test_of_two_swaps_that_devices_told_a_person_wrote_down_the_nearer() -> None:
    first = at(60, EventKind.SWAP, since_us=0, serial="a")
    second = at(500, EventKind.SWAP, since_us=61 * MINUTE, serial="b")
    written = at(70, EventKind.SWAP, initial=read(0))
    assert effective([first, second, written]) == (replace(written, first_us=60 * MINUTE, serial="a"), second)


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        (EventKind.CT_RATIO, {}, "needs a factor"),
        (EventKind.CT_RATIO, {"factor": 0.0}, "needs a factor"),
        (EventKind.CT_RATIO, {"factor": math.inf}, "needs a factor"),
        (EventKind.MANUAL_READING, {}, "needs the reading"),
        (EventKind.HOLD_OUT, {}, "needs an end"),
        (EventKind.HOLD_OUT, {"until_us": MINUTE}, "needs an end"),
        (EventKind.RESET, {"initial": read(5)}, "takes no initial reading"),
        (EventKind.SWAP, {"factor": 5.0}, "takes no factor"),
        (EventKind.RESET, {"serial": "1"}, "takes no serial number"),
    ],
)
def test_an_event_without_what_its_kind_needs_is_refused(kind: EventKind, facts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        at(1, kind, **facts)


@pytest.mark.parametrize("kwh", [-1.0, math.nan, math.inf])
def test_what_no_counter_can_show_is_refused(kwh: float) -> None:
    with pytest.raises(ValueError, match="import reading"):
        CounterPair(import_kwh=kwh)


# --- any history with events ------------------------------------------------------------------------------------


@st.composite
def events_in(draw: st.DrawFn, last_us: int) -> tuple[MeterEvent, ...]:
    """Events at, between, before and after the samples, with readings that fit and others that do not."""
    kwh = st.one_of(st.none(), st.integers(0, 1100).map(float))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(EventKind))
        at_us = draw(st.integers(-5, last_us // MINUTE + 5)) * MINUTE + draw(st.sampled_from([0, 1, 30_000_000]))
        facts: dict[str, Any] = {}
        if kind in {EventKind.SWAP, EventKind.RESET}:
            facts["final"] = CounterPair(import_kwh=draw(kwh))
            facts["first_us"] = draw(st.sampled_from([None, at_us - 2 * MINUTE, at_us + 2 * MINUTE]))
        if kind is EventKind.SWAP:
            facts["initial"] = CounterPair(import_kwh=draw(kwh))
        elif kind is EventKind.CT_RATIO:
            facts["factor"] = draw(st.sampled_from([0.5, 1.0, 2.0, 8.0]))
        elif kind is EventKind.MANUAL_READING:
            facts["reading"] = CounterPair(import_kwh=float(draw(st.integers(0, 1100))))
        elif kind is EventKind.HOLD_OUT:
            facts["until_us"] = at_us + draw(st.integers(1, 6)) * MINUTE
            if draw(st.booleans()):
                facts |= {"counter": "import_kwh", "low_kwh": 0.0, "high_kwh": float(draw(st.integers(0, 1000)))}
        found.append(MeterEvent(kind, at_us, **facts))
    return effective(found)


@st.composite
def lives(draw: st.DrawFn) -> tuple[History, tuple[MeterEvent, ...]]:
    history = draw(histories())
    return history, draw(events_in(int(history[0][-1])))


def spliced(history: History, events: Sequence[MeterEvent]) -> Increments:
    times, counter, rules = history
    samples = MeterSamples(times, counter)
    taken, _ = energy_of(samples, rules, events=events)
    assert taken is not None
    return taken


def approximately(found: list[Row]) -> list[Any]:
    return [
        (start, end, None if energy is None else pytest.approx(energy, abs=1e-9), flag, estimated)
        for start, end, energy, flag, estimated in found
    ]


def pairs(history: History) -> list[Sample]:
    times, counter, _ = usable(history)
    return list(zip(times.tolist(), counter.tolist(), strict=True))


@given(lives())
@settings(max_examples=120, deadline=None)
def test_the_result_equals_the_rules_in_plain_python(life: tuple[History, tuple[MeterEvent, ...]]) -> None:
    history, events = life
    result = spliced(history, events)
    expected, pending = meter_rows(pairs(history), history[2], "import_kwh", events)
    assert rows(result) == approximately(expected)
    assert result.pending == pending


@given(lives())
@settings(max_examples=60, deadline=None)
def test_stretches_do_not_overlap_and_unknown_energy_is_flagged(life: tuple[History, tuple[MeterEvent, ...]]) -> None:
    result = spliced(*life)
    assert (result.end_us > result.start_us).all()
    assert (result.start_us[1:] >= result.end_us[:-1]).all()
    assert not (result.energy_kwh < 0).any()
    assert (np.isnan(result.energy_kwh) == (result.flags & STEP > 0)).all()


@given(lives(), st.lists(st.integers(-400, 8000), min_size=2, max_size=20, unique=True))
@settings(max_examples=80, deadline=None)
def test_energy_adds_up_over_any_partition_of_time(
    life: tuple[History, tuple[MeterEvent, ...]], cuts_s: list[int]
) -> None:
    """Over all of time the buckets hold the total; each one what the rules in plain Python give it."""
    history, events = life
    result = spliced(history, events)
    edges = np.array(sorted({-(10**9), *(cut * US_PER_S for cut in cuts_s), 10**11}), dtype=np.int64)
    buckets = spread(result, edges)
    assert np.nansum(buckets.energy_kwh) == pytest.approx(result.total_kwh, abs=1e-6)
    expected, _ = meter_rows(pairs(history), history[2], "import_kwh", events)
    for i in range(edges.size - 1):
        energy, estimated, covered_s = bucket(expected, int(edges[i]), int(edges[i + 1]))
        if energy is None:
            assert math.isnan(buckets.energy_kwh[i])
        else:
            assert buckets.energy_kwh[i] == pytest.approx(energy, abs=1e-6)
            assert buckets.estimated_kwh[i] == pytest.approx(estimated, abs=1e-6)
        assert buckets.covered_s[i] == pytest.approx(covered_s, abs=1e-6)


@given(lives(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_and_repetition_of_samples_and_events_change_nothing(
    life: tuple[History, tuple[MeterEvent, ...]], random: Any
) -> None:
    (times, counter, rules), events = life
    order = list(range(times.size)) * 2
    random.shuffle(order)
    again = sort_unique(times[order], counter[order])
    # Two events of one kind at one instant are told apart by the order in which they were written.
    assume(len({(event.kind, event.at_us, event.boundary_us) for event in events}) == len(events))
    shuffled = list(events)
    random.shuffle(shuffled)
    assert rows(spliced((again[0], again[1], rules), effective(shuffled))) == rows(
        spliced((times, counter, rules), events)
    )


@given(lives(), st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=150, deadline=None)
def test_a_part_with_context_gives_what_the_whole_gives(
    life: tuple[History, tuple[MeterEvent, ...]], one: int, other: int
) -> None:
    """The statement of `counters`, through events: from hold_samples sound samples to the context before the end."""
    history, events = life
    times, counter, rules = usable(history)
    first, last = sorted((min(one, times.size), min(other, times.size)))
    whole = rows(spliced((times, counter, rules), events))
    part = rows(spliced((times[first:last], counter[first:last], rules), events))

    series = Series(pairs(history), rules, events)
    special = {event.at_us for event in events if event.factor is None} | {event.boundary_us for event in events}
    special |= {event.until_us for event in events if event.until_us is not None}
    run, sound_from = 1, None
    for i in range(first + 1, last):
        disturbed = any(times[i - 1] <= at_us <= times[i] for at_us in special) or any(
            event.holds_out(times[i - 1 : i + 1], counter[i - 1 : i + 1]).any() for event in events if event.until_us
        )
        run = 1 if disturbed or series.rise(i - 1, i) is None else run + 1
        if run >= rules.hold_samples:
            sound_from = int(times[i])
            break
    # What is held out is no sample that a judgement could use.
    kept = np.ones(times.size, dtype=np.bool_)
    for event in events:
        if event.until_us:
            kept &= ~event.holds_out(times, counter)
    inside = np.flatnonzero(kept[first:last]) + first
    if last < times.size:
        inside = inside[:-CONTEXT_SAMPLES]
    if sound_from is None or not inside.size:
        return
    judged_to = int(times[inside[-1]])
    assert approximately([r for r in part if sound_from <= r[0] <= judged_to]) == [
        r for r in whole if sound_from <= r[0] <= judged_to
    ]


@given(
    st.lists(st.floats(0.01, 9), min_size=12, max_size=50),
    st.integers(2, 9),
    st.floats(0.01, 0.99),
    st.floats(0, 50_000),
)
@settings(max_examples=300, deadline=None)
def test_the_total_is_last_minus_first_and_what_events_say(
    rises: list[float], place: int, share: float, new_shows: float
) -> None:
    true = 5_000 + np.cumsum([0.0, *rises])
    at_swap = true[place - 1] + share * rises[place - 1]
    shown = true.copy()
    shown[place:] = new_shows + true[place:] - at_swap
    swap = MeterEvent(
        EventKind.SWAP,
        round((place - 1 + share) * MINUTE),
        final=read(float(at_swap)),
        initial=read(new_shows),
    )
    result = of(shown.tolist(), swap)
    first_life, second_life = at_swap - shown[0], shown[-1] - new_shows
    assert result.total_kwh == pytest.approx(first_life + second_life, rel=1e-9, abs=1e-6)
    assert result.total_kwh == pytest.approx(true[-1] - true[0], rel=1e-9, abs=1e-6)
    assert np.isfinite(result.energy_kwh).all()
    silent = of(shown.tolist(), replace(swap, final=CounterPair(), initial=CounterPair()))
    lost = rises[place - 1]
    assert silent.total_kwh == pytest.approx(true[-1] - true[0] - lost, rel=1e-9, abs=1e-6)


@given(histories())
@settings(max_examples=30, deadline=None)
def test_without_events_it_is_the_counter_alone(history: History) -> None:
    times, counter, rules = history
    alone = increments(times, counter, rules, is_whole=False)
    assert rows(spliced(history, ())) == rows(alone)
    assert rows(spliced_increments(times, counter, rules, "import_kwh", ())) == rows(alone)
    assert ratio_of([]) is None
