from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simulator.noise import stream
from simulator.physics.day import KNOTS_PER_DAY, LEAD_KNOTS, Day
from simulator.physics.production import busy_tools, tool_power

JUNE = 20_605  # 2026-06-01, a Monday
SOURCES = [stream(1, "bay", str(number)) for number in range(6)]


def test_most_tools_have_a_lot_at_any_time_and_some_wait_now_and_then(day: Callable[..., Day]) -> None:
    today = day()
    for each in SOURCES:
        busy = busy_tools(today, each) / today.activity
        assert busy.max() <= 1.0 + 1e-12
        assert 0.85 < busy.mean() < 0.99
        assert busy.min() < 0.95


def test_tools_idle_at_their_base_load_and_never_beyond_their_rating(day: Callable[..., Day]) -> None:
    today = day()
    for each in SOURCES:
        assert tool_power(today, np.zeros(today.knot.size), each) == pytest.approx(np.full(today.knot.size, 0.40))
        power = tool_power(today, busy_tools(today, each), each)
        assert 0.6 < power.min() < power.max() < 1.0
        assert 0.80 < power.mean() < 0.90


def test_a_shift_change_is_felt(day: Callable[..., Day]) -> None:
    today = day()
    place = [int(np.argmin(np.abs(today.local_hour - hour))) for hour in (6.3, 7.5, 8.7, 18.3, 19.5, 20.7)]
    before, change, after = today.activity[place].reshape(2, 3).T
    assert (change < 0.5 * (before + after) - 0.03).all()


def test_one_day_a_week_from_nine_to_three_some_tools_are_maintained(day: Callable[..., Day]) -> None:
    found = []
    for each in SOURCES:
        maintained = []
        for number in range(JUNE, JUNE + 8):
            today = day(number)
            window = (today.local_hour > 10.5) & (today.local_hour < 13.5) & (np.arange(today.knot.size) > LEAD_KNOTS)
            maintained.append(float((busy_tools(today, each) / today.activity)[window].max()))
        # Busy with lots at all times of at least one knot, but never beyond 0.88 while maintained.
        low = [place for place, most in enumerate(maintained[:7]) if most < 0.8801]
        assert len(low) == 1
        found.append(low[0])
        assert (maintained[7] < 0.8801) is (low[0] == 0)
    assert len(set(found)) > 1  # not all bays on one day


def test_production_is_continuous_over_midnight(day: Callable[..., Day]) -> None:
    for each in SOURCES[:2]:
        today, tomorrow = (busy_tools(day(JUNE + n), each) for n in (0, 1))
        assert np.array_equal(today[-LEAD_KNOTS - 1 :], tomorrow[: LEAD_KNOTS + 1])
        assert today.size == LEAD_KNOTS + KNOTS_PER_DAY + 1
