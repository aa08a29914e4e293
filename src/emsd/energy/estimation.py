"""Energy of long gaps by like days.

A gap of up to an hour stays as accounting has it: its energy lies evenly between the samples on either side. A longer
one is filled quarter hour by quarter hour with the mean of the three nearest like days: days of the same class (working
day, Saturday, Sunday or holiday, by the site's calendar) whose same quarter hour was measured. Where a counter says
what the gap holds in all, the shape is scaled to that; where nobody knows, the mean itself is the estimate. Source: the
routines "Linear interpolation" for small gaps and "Historical" for others of Itron Enterprise Edition Meter Data
Management, Estimation routines, https://docs.itrontotal.com/IEEMDM.

    Increments --long_gaps--> Gap --estimate--> EstimatedQuarters
    quarter hours as measured --like_days.like_day_table--^

The days before the gap come first, the nearest of them first, up to REACH_DAYS back; only where they are fewer than
three are later ones taken. So an estimate does not change again because time goes on once three days were found.
Estimates never feed estimates: a quarter hour that is estimated itself, by whatever method, is no basis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from emsd.energy.like_days import LikeDayTable, local_quarters
from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, BoolArray, FloatArray, Increments, TimeArray, bucket_edges

__all__ = ["LONG_GAP_US", "EstimatedQuarters", "Gap", "estimate", "long_gaps"]

LONG_GAP_US: Final = US_PER_HOUR


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without samples [start_us, end_us) and the energy in it [kWh]; NaN where nobody knows it."""

    start_us: int
    end_us: int
    energy_kwh: float

    @property
    def total_known(self) -> bool:
        """Whether a counter says what the gap holds."""
        return math.isfinite(self.energy_kwh)


@dataclass(frozen=True, slots=True, eq=False)
class EstimatedQuarters:
    """What long gaps hold in k quarter hours of one direction, in order of time.

    bucket_us     int64[k], beginnings
    energy_kwh    float64[k] [kWh], the part of the quarter hour that lies in gaps; NaN where nothing is known
    replaced_kwh  float64[k] [kWh], what the even spread put there, and this takes the place of
    shaped        bool[k], whether like days gave the shape
    total_known   bool[k], whether a counter said what the gap holds
    basis_days    the like days behind each, none where there were none
    """

    bucket_us: TimeArray
    energy_kwh: FloatArray
    replaced_kwh: FloatArray
    shaped: BoolArray
    total_known: BoolArray
    basis_days: Sequence[tuple[date, ...]]


def long_gaps(increments: Increments, *, until_us: int | None = None) -> list[Gap]:
    """Return the stretches longer than LONG_GAP_US that were not measured, in order of time.

    They are those that are estimated, those of unknown energy (a STEP), the holes between stretches and, when
    `until_us` is given, the time after the last stretch until then.
    """
    start_us, end_us = increments.start_us, increments.end_us
    if not start_us.size:
        return []
    unmeasured = (increments.estimated | np.isnan(increments.energy_kwh)) & (end_us - start_us > LONG_GAP_US)
    gaps = [
        Gap(int(start_us[i]), int(end_us[i]), float(increments.energy_kwh[i]))
        for i in np.flatnonzero(unmeasured).tolist()
    ]
    holes = np.flatnonzero(start_us[1:] - end_us[:-1] > LONG_GAP_US).tolist()
    gaps += [Gap(int(end_us[i]), int(start_us[i + 1]), math.nan) for i in holes]
    if until_us is not None and until_us - int(end_us[-1]) > LONG_GAP_US:
        gaps.append(Gap(int(end_us[-1]), until_us, math.nan))
    return sorted(gaps, key=lambda gap: gap.start_us)


def estimate(gaps: Iterable[Gap], table: LikeDayTable, zone: ZoneInfo) -> EstimatedQuarters:
    """Return what the gaps hold in each quarter hour that they touch; a gap in which a counter stood still is left out.

    The table must hold the gaps' own days. Quarter hours without a like day keep their even share of a known total, so
    that the others are scaled to the rest of it. Of two gaps in one quarter hour the energy adds up.
    """
    parts = [_fill(gap, table, zone) for gap in gaps if gap.energy_kwh != 0]
    if not parts:
        nothing = np.zeros(0)
        return EstimatedQuarters(nothing.astype(np.int64), nothing, nothing, nothing > 0, nothing > 0, [])
    bucket_us = np.unique(np.concatenate([part.bucket_us for part in parts]))
    energy_kwh, replaced_kwh = np.full(bucket_us.size, np.nan), np.zeros(bucket_us.size)
    shaped, total_known = np.zeros(bucket_us.size, dtype=np.bool_), np.ones(bucket_us.size, dtype=np.bool_)
    basis_days: list[tuple[date, ...]] = [() for _ in range(bucket_us.size)]
    for part in parts:
        places = np.searchsorted(bucket_us, part.bucket_us)
        before = energy_kwh[places]
        both = np.nan_to_num(before) + np.nan_to_num(part.energy_kwh)
        energy_kwh[places] = np.where(np.isnan(before) & np.isnan(part.energy_kwh), np.nan, both)
        replaced_kwh[places] += part.replaced_kwh
        shaped[places] |= part.shaped
        total_known[places] &= part.total_known
        for place, days in zip(places.tolist(), part.basis_days, strict=True):
            basis_days[place] = basis_days[place] or days
    return EstimatedQuarters(bucket_us, energy_kwh, replaced_kwh, shaped, total_known, basis_days)


def _fill(gap: Gap, table: LikeDayTable, zone: ZoneInfo) -> EstimatedQuarters:
    edges_us = bucket_edges(gap.start_us, gap.end_us, BUCKET_15M_US)
    inside_us = np.minimum(edges_us[1:], gap.end_us) - np.maximum(edges_us[:-1], gap.start_us)
    ordinals, slots = local_quarters(edges_us[:-1], zone)
    like_kwh = np.full(inside_us.size, np.nan)
    basis_days: list[tuple[date, ...]] = []
    for place, (ordinal, slot) in enumerate(zip(ordinals.tolist(), slots.tolist(), strict=True)):
        rows = table.basis(ordinal, slot)
        basis_days.append(tuple(date.fromordinal(table.first_ordinal + row) for row in sorted(rows)))
        if rows:
            like_kwh[place] = table.energy_kwh[rows, slot].mean() * inside_us[place] / BUCKET_15M_US
    shaped = np.isfinite(like_kwh)
    known = np.full(inside_us.size, gap.total_known)
    if not gap.total_known:
        return EstimatedQuarters(edges_us[:-1], like_kwh, np.zeros(inside_us.size), shaped, known, basis_days)
    even_kwh = gap.energy_kwh * (inside_us / (gap.end_us - gap.start_us))
    if not like_kwh[shaped].sum() > 0:  # like days of nothing have no shape to give
        shaped[:] = False
    energy_kwh = even_kwh.copy()
    energy_kwh[shaped] = _scaled(like_kwh[shaped], math.fsum(even_kwh[shaped]))
    return EstimatedQuarters(edges_us[:-1], energy_kwh, even_kwh, shaped, known, basis_days)


def _scaled(shape_kwh: FloatArray, total_kwh: float) -> FloatArray:
    """Scale a shape to a total exactly: what rounding leaves over goes to the largest part."""
    if not shape_kwh.size:
        return shape_kwh
    parts: FloatArray = shape_kwh * (total_kwh / math.fsum(shape_kwh))
    largest = int(np.argmax(parts))
    parts[largest] += total_kwh - math.fsum(parts)
    return parts
