"""Readings that a wrong clock has put too late.

A clock runs an hour ahead for a while and is then put right. In the order of their times its readings stand after those
taken since, though the counter had passed their values before: between the last reading before the fault and the first
after it the counter jumps, that energy is counted over the gap, and counting it once more where the readings stand
would invent it. So what stands after a jump of the counter, has values inside of the jump and rises in no more time
than the jump took is left out.
"""

from __future__ import annotations

import numpy as np

from emsd.energy.series import BoolArray, FloatArray, IncrementFlag, Increments, TimeArray

__all__ = ["marked_held_out", "told_before"]


def told_before(
    times: TimeArray, counter: FloatArray, dropped: int, hold_samples: int, count_kwh: float
) -> BoolArray | None:
    """Return which samples tell what the counter had passed before, given one that stands below those before it.

    times, counter  [us] and [kWh], [n], ascending in time, without missing values
    dropped         the sample below
    hold_samples    how many samples prove it at least

    None when no earlier jump of the counter explains it: it is then a move of another kind.
    """
    value, before = counter[dropped], counter[:dropped]
    jumps = np.flatnonzero((before[:-1] <= value) & (before[1:] > value))
    if not jumps.size:
        return None
    # Readings of both tellings alternate where they overlap, so many jumps pass the value; the gap is the longest.
    last = int(jumps[np.argmax(times[jumps + 1] - times[jumps])])
    low, high, lasted_us = counter[last], counter[last + 1], int(times[last + 1] - times[last])
    held = np.zeros(times.size, dtype=np.bool_)
    highest_before = np.maximum.accumulate(counter[last + 1 : -1])
    rest = counter[last + 2 :]
    held[last + 2 :] = (rest >= low) & (rest <= high) & (rest < highest_before)
    told_us, told = times[held], counter[held]
    if told.size < hold_samples or told_us[-1] - told_us[0] > lasted_us or (told[1:] < told[:-1]).any():
        return None
    # The first of them was taken soon after the jump began: within a few of the steps in which they rise.
    soon_kwh = 3 * (high - low) / (told.size + 1) + 2 * count_kwh
    return held if told[0] - low <= soon_kwh else None


def marked_held_out(found: Increments, held_us: TimeArray, kept_us: TimeArray) -> Increments:
    """Flag the stretches in which samples were left out.

    held_us, kept_us  times of the samples that were left out, and of the others [us], ascending

    Where the series ends in samples that were left out, a stretch of unknown energy says so.
    """
    if not held_us.size:
        return found
    inside = np.searchsorted(held_us, found.end_us) > np.searchsorted(held_us, found.start_us, side="right")
    flags = found.flags | np.where(inside, np.uint8(IncrementFlag.HELD_OUT), np.uint8(0))
    marked = Increments(found.start_us, found.end_us, found.energy_kwh, found.estimated, flags, found.pending)
    ends_us = found.end_us[-1:] if found.end_us.size else kept_us[:1]
    if not ends_us.size or held_us[-1] <= ends_us[0]:
        return marked
    rest = Increments(
        ends_us,
        held_us[-1:],
        np.full(1, np.nan),
        np.ones(1, dtype=np.bool_),
        np.full(1, IncrementFlag.HELD_OUT | IncrementFlag.STEP, dtype=np.uint8),
    )
    return Increments.joined((marked, rest), pending=found.pending)
