"""Why a figure is what it is: the readings behind it, and what was done where they were not plain.

Between two good readings the energy is their difference, so over any time

    last reading - first reading + corrections - what lies outside of the time = the figure

where a correction is what a rollover, a restart, a swap or a step makes of the plain difference. `evidence_of` says all
of this of a part of a series, from the same Increments that the intervals are made of; parts that follow each other add
up, so that a year can be explained day by day.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import numpy as np

from emsd.energy.evidence import MOST_LISTED, Evidence, GapEvidence, ReadingAt, SpecialStretch
from emsd.energy.series import BoolArray, FloatArray, IncrementFlag, Increments, TimeArray

__all__ = ["evidence_of"]

_MOST_LEFT_OUT: Final = 8


def evidence_of(
    found: Increments,
    time_us: TimeArray,
    values: FloatArray,
    *,
    by_counter: bool,
    from_us: int,
    to_us: int,
    part: tuple[int, int],
) -> Evidence:
    """Return what the stretches that begin in `part` say of the energy in [from_us, to_us).

    found           energy of the series in the part and around it, as `energy_of` returns it
    time_us, values the usable readings that it was made of, and those that people wrote down; ascending
    by_counter      whether the values are those of a counter; the sum of readings is then checked
    part            [from, to) [us]; parts that follow each other make up [from_us, to_us), the first of them also takes
                    the stretches that reach into it
    """
    is_first = part[0] <= from_us
    blocks = _blocks(found, time_us) if by_counter else np.arange(found.start_us.size)
    begins = found.start_us[_first_of_block(blocks)]
    owned = ((begins >= part[0]) | is_first) & (begins < part[1])
    ends = found.end_us[_last_of_block(blocks)]
    owned &= (ends > from_us) & (begins < to_us)
    inside_us = np.minimum(found.end_us, to_us) - np.maximum(found.start_us, from_us)
    share = np.clip(inside_us / (found.end_us - found.start_us), 0.0, 1.0)
    energy = np.nan_to_num(found.energy_kwh)
    known = np.isfinite(found.energy_kwh)
    counted = known & owned & (share > 0)
    inside = np.searchsorted(time_us, (max(part[0], from_us), min(part[1], to_us)))
    plain = Evidence(
        figure_kwh=math.fsum((energy * share)[counted]) if counted.any() else None,
        estimated_kwh=math.fsum((energy * share)[counted & found.estimated]),
        sample_count=int(inside[1] - inside[0]),
        begin_us=int(found.start_us[owned][0]) if owned.any() else None,
        end_us=int(found.end_us[owned][-1]) if owned.any() else None,
    )
    gaps = _gaps(found, owned, energy * share)
    gaps += _holes(found, part, from_us, to_us, is_first=is_first)
    gaps.sort(key=lambda gap: gap.start_us)
    plain = plain + Evidence(gaps=tuple(gaps[:MOST_LISTED]), gap_count=len(gaps))
    if not owned.any():
        return plain
    if not by_counter:
        outermost = (found.start_us[owned][:1], found.end_us[owned][-1:])
        first, last = (_nearest(at_us, _values_at(at_us, time_us, values)) for at_us in outermost)
        return plain + Evidence(first=first, last=last)
    outside_kwh = math.fsum((energy * (1.0 - share))[owned])
    return plain + Evidence(outside_kwh=outside_kwh) + _of_counter(found, time_us, values, blocks, owned)


def _of_counter(
    found: Increments, time_us: TimeArray, values: FloatArray, blocks: TimeArray, owned: BoolArray
) -> Evidence:
    """Hold every owned stretch against the readings on either side of it."""
    before, after = _values_at(found.start_us, time_us, values), _values_at(found.end_us, time_us, values)
    residual = found.energy_kwh - (after - before)
    plain = owned & (found.flags == 0) & np.isfinite(residual)
    evidence = Evidence(ratio_kwh=math.fsum(residual[plain]))
    for block in np.unique(blocks[owned & ~plain]).tolist():
        evidence = evidence + _special(found, time_us, values, *np.searchsorted(blocks, (block, block + 1)).tolist())
    places = np.flatnonzero(owned)
    # Readings on either side of a hole in the series belong to two lives of the counter.
    holes = np.flatnonzero(found.start_us[places[1:]] != found.end_us[places[:-1]])
    jumps = before[places[holes + 1]] - after[places[holes]]
    evidence = evidence + Evidence(corrections_kwh=-math.fsum(jumps[np.isfinite(jumps)]))
    first = _nearest(found.start_us[places], before[places])
    last = _nearest(found.end_us[places][::-1], after[places][::-1])
    if not math.isfinite(before[places[0]]):  # the first reading of all follows a stretch that nobody read the begin of
        first = _nearest(found.end_us[places], after[places])
    if not math.isfinite(after[places[-1]]):
        last = _nearest(found.start_us[places][::-1], before[places][::-1])
    return evidence + Evidence(first=first, last=last)


def _special(found: Increments, time_us: TimeArray, values: FloatArray, begin: int, end: int) -> Evidence:
    """Tell the stretches begin..end, between which there is no reading, as one."""
    start_us, end_us = int(found.start_us[begin]), int(found.end_us[end - 1])
    before, after = (_reading(at_us, time_us, values) for at_us in (start_us, end_us))
    energy = found.energy_kwh[begin:end]
    flags = IncrementFlag(int(np.bitwise_or.reduce(found.flags[begin:end])))
    counted_kwh = float(np.nansum(energy))
    difference_kwh = after.value - before.value if before and after else 0.0
    inner = slice(int(np.searchsorted(time_us, start_us, side="right")), int(np.searchsorted(time_us, end_us)))
    left_out = list(zip(time_us[inner].tolist(), values[inner].tolist(), strict=True))
    stretch = SpecialStretch(
        before=before,
        after=after,
        flags=flags,
        pieces_kwh=tuple(None if math.isnan(each) else each for each in energy.tolist()),
        counted_kwh=None if np.isnan(energy).all() else counted_kwh,
        correction_kwh=counted_kwh - difference_kwh,
        left_out=tuple(ReadingAt(at_us, value) for at_us, value in left_out[:_MOST_LEFT_OUT]),
        left_out_count=len(left_out),
    )
    names = [flag.name.lower() for flag in flags if flag.name]
    return Evidence(
        corrections_kwh=stretch.correction_kwh,
        specials=(stretch,),
        special_count=1,
        special_counts=Counter(names),
    )


def _blocks(found: Increments, time_us: TimeArray) -> TimeArray:
    """Number the stretches so that those have one number between which there is no reading, but an event.

    At an event that cuts a series stretches end and begin at its time, with readings that are of no sample.
    """
    at_reading = np.isin(found.start_us, time_us)
    follows = np.concatenate(([False], found.start_us[1:] == found.end_us[:-1])) if found.start_us.size else at_reading
    return np.cumsum(at_reading | ~follows)


def _first_of_block(blocks: TimeArray) -> TimeArray:
    return np.searchsorted(blocks, blocks)


def _last_of_block(blocks: TimeArray) -> TimeArray:
    return np.searchsorted(blocks, blocks, side="right") - 1


def _gaps(found: Increments, owned: BoolArray, inside_kwh: FloatArray) -> list[GapEvidence]:
    known = np.isfinite(found.energy_kwh)
    return [
        GapEvidence(
            int(found.start_us[i]),
            int(found.end_us[i]),
            float(found.energy_kwh[i]) if known[i] else None,
            float(inside_kwh[i]) if known[i] else 0.0,
        )
        for i in np.flatnonzero(owned & found.estimated).tolist()
    ]


def _holes(found: Increments, part: tuple[int, int], from_us: int, to_us: int, *, is_first: bool) -> list[GapEvidence]:
    """Return the times between stretches of which there is no stretch at all, as power leaves them."""
    begins, ends = found.end_us[:-1], found.start_us[1:]
    owned = (begins < ends) & ((begins >= part[0]) | is_first) & (begins < part[1])
    owned &= (ends > from_us) & (begins < to_us)
    return [GapEvidence(int(begins[i]), int(ends[i]), None, 0.0) for i in np.flatnonzero(owned).tolist()]


def _values_at(at_us: TimeArray, time_us: TimeArray, values: FloatArray) -> FloatArray:
    """Return the readings at these times, NaN where there is none."""
    if not time_us.size:
        return np.full(at_us.size, np.nan)
    places = np.minimum(np.searchsorted(time_us, at_us), time_us.size - 1)
    return np.where(time_us[places] == at_us, values[places], np.nan)


def _reading(at_us: int, time_us: TimeArray, values: FloatArray) -> ReadingAt | None:
    value = float(_values_at(np.array([at_us], dtype=np.int64), time_us, values)[0])
    return None if math.isnan(value) else ReadingAt(at_us, value)


def _nearest(at_us: TimeArray, values: FloatArray) -> ReadingAt | None:
    """Return the first of these readings that there is."""
    there = np.flatnonzero(np.isfinite(values))
    return ReadingAt(int(at_us[there[0]]), float(values[there[0]])) if there.size else None
