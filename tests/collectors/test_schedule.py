"""Ticks: on the wall clock, spread by the meter, counted by the monotonic clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.schedule import Ticks

T0_US = 1_774_750_000_123_456
SECOND_US = 1_000_000


def aligned(key: str = "incomer", interval_s: float = 1.0, now: float = 100.0, wall_us: int = T0_US) -> Ticks:
    ticks = Ticks(key, interval_s)
    ticks.align(now, wall_us)
    return ticks


def wall_of(instant: float, now: float = 100.0, wall_us: int = T0_US) -> int:
    return wall_us + round((instant - now) * 1e6)


def test_the_offset_of_a_meter_is_the_same_in_every_process() -> None:
    # Python's own hash() of a text differs from process to process. By coreutils: printf %s incomer | b2sum -l 64
    offsets = {key: wall_of(aligned(key).due) % SECOND_US for key in ("incomer", "tools-feeder", "pv-1-inverter")}
    assert offsets == {"incomer": 808_524, "tools-feeder": 394_007, "pv-1-inverter": 822_681}


@given(st.integers(0, 10**16), st.sampled_from([0.1, 1.0, 15.0, 60.0, 3600.0]))
def test_ticks_stand_at_one_offset_of_the_wall_clock_whenever_one_starts(wall_us: int, interval_s: float) -> None:
    ticks = aligned(interval_s=interval_s, wall_us=wall_us)
    other = aligned(interval_s=interval_s, wall_us=0)
    interval_us = round(interval_s * 1e6)
    assert 100.0 < ticks.due <= 100.0 + interval_s
    difference = (wall_of(ticks.due, wall_us=wall_us) - wall_of(other.due, wall_us=0)) % interval_us
    assert min(difference, interval_us - difference) <= 1


def test_meters_are_spread_over_the_interval() -> None:
    tenths = {int((aligned(f"meter-{number}").due - 100.0) * 10) for number in range(200)}
    assert len(tenths) == 10


def test_a_poll_in_time_leads_to_the_next_tick_and_skips_none() -> None:
    ticks = aligned()
    due = ticks.due
    assert ticks.advance(due + 0.02, wall_of(due + 0.02)) == 0
    assert ticks.due == pytest.approx(due + 1.0, abs=1e-5)


def test_a_tick_served_a_moment_early_is_not_served_twice() -> None:
    ticks = aligned()
    due = ticks.due
    assert ticks.advance(due - 0.002, wall_of(due - 0.002)) == 0
    assert ticks.due == pytest.approx(due + 1.0, abs=1e-5)


def test_a_poll_that_takes_3_4_intervals_skips_three_ticks_and_queues_none() -> None:
    ticks = aligned()
    due = ticks.due
    assert ticks.advance(due + 3.4, wall_of(due + 3.4)) == 3
    assert ticks.due == pytest.approx(due + 4.0, abs=1e-5)


@pytest.mark.parametrize("jump_s", [-86_400.0, -3_600.5, -0.7, 0.7, 3_600.5, 86_400.0])
def test_a_clock_that_is_set_moves_ticks_by_less_than_two_intervals_and_invents_no_missed_ones(jump_s: float) -> None:
    ticks = aligned()
    due = ticks.due
    skipped = ticks.advance(due + 0.01, wall_of(due + 0.01) + round(jump_s * 1e6))
    assert skipped == 0
    assert 0.4 < ticks.due - due < 1.6


def test_ticks_that_went_by_unserved_are_counted_once() -> None:
    ticks = aligned()
    due = ticks.due
    assert ticks.lapse(due + 0.99) == 0
    assert ticks.lapse(due + 5.5) == 5
    assert ticks.lapse(due + 5.6) == 0
    assert ticks.due == pytest.approx(due + 5.0)


def test_after_a_backoff_the_first_tick_at_or_after_it_is_served() -> None:
    ticks = aligned()
    due = ticks.due
    assert ticks.first_from(0.0) == due
    assert ticks.first_from(due + 2.5) == pytest.approx(due + 3.0)
    assert ticks.first_from(due + 3.0) == pytest.approx(due + 3.0)


def test_a_slower_rate_is_due_every_so_many_ticks_even_when_they_jitter() -> None:
    ticks = aligned()
    numbers = []
    for tick in range(40):
        jitter_us = (-3_000, 0, 4_000)[tick % 3]
        numbers.append(ticks.period_number(10.0, wall_of(ticks.due + tick) + jitter_us))
    changes = [tick for tick in range(1, 40) if numbers[tick] != numbers[tick - 1]]
    assert len(changes) >= 3
    assert {after - before for before, after in pairwise(changes)} == {10}
