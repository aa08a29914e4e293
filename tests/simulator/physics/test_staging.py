from __future__ import annotations

import numpy as np
import pytest

from simulator.noise import FloatArray, IntArray
from simulator.physics.staging import BLOCK_KNOTS, running_shares, starts_per_hour

DAY = 8640
WEEK = 7 * DAY
SIZES = np.array([3.0, 2.0, 2.0, 1.0])


def load_at(knot: IntArray) -> FloatArray:
    result: FloatArray = 4.0 + 3.0 * np.sin(2 * np.pi * knot / 8000.0)
    return result


def staged(first_knot: int, knots: int, first: int = 0) -> FloatArray:
    knot = first_knot + np.arange(knots + 1)
    return running_shares(knot, load_at(knot), SIZES, first)


def settled(shares: FloatArray) -> FloatArray:
    """Leave out the first minute of every block."""
    return shares[:, :-1].reshape(shares.shape[0], -1, BLOCK_KNOTS)[:, :, 7:]


def test_as_many_machines_run_as_carry_the_load_and_no_more() -> None:
    knots = 20 * DAY
    shares = staged(0, knots)
    running = settled(shares)
    assert np.isin(running, (0.0, 1.0)).all()
    load = load_at(np.arange(knots)).reshape(-1, BLOCK_KNOTS)
    carried = SIZES @ running[:, :, -1]
    assert (carried >= load.max(axis=1)).all()
    # Whatever runs beyond the first is needed: without the one that came last it would not do.
    spare = carried - load.max(axis=1) / 0.96
    assert (spare < SIZES.max()).all()


def test_nothing_runs_where_there_is_no_load_and_everything_where_there_is_too_much() -> None:
    knot = np.arange(2 * BLOCK_KNOTS + 1)
    assert not running_shares(knot, np.zeros(knot.size), SIZES).any()
    assert (running_shares(knot, np.full(knot.size, 99.0), SIZES) == 1.0).all()


def test_what_runs_does_not_depend_on_where_one_begins_to_look() -> None:
    whole = staged(0, 3 * DAY)
    for begin in (DAY, 2 * DAY - 2 * BLOCK_KNOTS):
        part = staged(begin, DAY)
        assert np.array_equal(part[:, BLOCK_KNOTS:], whole[:, begin + BLOCK_KNOTS : begin + DAY + 1])


def test_a_machine_starts_and_stops_within_a_minute() -> None:
    shares = staged(0, 20 * DAY)
    assert np.abs(np.diff(shares, axis=1)).max() == pytest.approx(1 / 6)
    assert shares.min() == 0.0
    assert shares.max() == 1.0


def test_machines_take_turns_by_the_week_but_those_that_come_first_always_do() -> None:
    knot = np.arange(4 * WEEK + 1)
    low = np.full(knot.size, 0.5)
    turns = running_shares(knot, low, np.ones(4))
    leader = [int(turns[:, week * WEEK + WEEK // 2].argmax()) for week in range(4)]
    assert sorted(leader) == [0, 1, 2, 3]
    kept = running_shares(knot, np.full(knot.size, 1.5), np.ones(4), 1)
    assert (kept[0] == 1.0).all()
    assert len({int(kept[1:, week * WEEK + WEEK // 2].argmax()) for week in range(3)}) == 3


def test_every_start_is_counted_once() -> None:
    shares = staged(0, 20 * DAY)
    starts = starts_per_hour(shares)
    counted = (starts[:, 1:] + starts[:, :-1]).sum(axis=1) / 2 * 10 / 3600
    seen = (np.diff((shares > 0.5).astype(int), axis=1) == 1).sum(axis=1)
    assert seen.sum() > 10
    assert counted == pytest.approx(seen, abs=1e-9)
