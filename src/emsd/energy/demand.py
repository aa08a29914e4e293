"""Demand: mean power over a settlement period, as the contract with the grid bills its maximum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emsd.energy.intervals import EnergyCurve
from emsd.energy.series import BUCKET_15M_US, US_PER_HOUR, US_PER_S, FloatArray, Increments, TimeArray

__all__ = ["Demand", "block_demand_kw", "maximum_block_demand", "maximum_sliding_demand"]

# A period's total is trusted when this share of it is covered. Source: OpenDSM (day, month and period totals).
TRUSTED_COVERAGE = 0.9


class Demand(NamedTuple):
    """The highest demand [kW] and the beginning of its period [us]."""

    demand_kw: float
    from_us: int


def block_demand_kw(
    increments: Increments, edges_us: TimeArray, *, min_coverage: float = TRUSTED_COVERAGE
) -> FloatArray:
    """Return the mean power [kW] of each block between k + 1 edges [us], NaN where too little of it is covered."""
    edges_us = np.asarray(edges_us, dtype=np.int64)
    return _demand_kw(EnergyCurve(increments), edges_us[:-1], edges_us[1:], min_coverage)


def maximum_block_demand(
    increments: Increments, edges_us: TimeArray, *, min_coverage: float = TRUSTED_COVERAGE
) -> Demand | None:
    """Return the highest demand of the blocks between k + 1 edges [us], None when none is covered well enough."""
    edges_us = np.asarray(edges_us, dtype=np.int64)
    return _highest(block_demand_kw(increments, edges_us, min_coverage=min_coverage), edges_us[:-1])


def maximum_sliding_demand(
    increments: Increments,
    from_us: int,
    to_us: int,
    *,
    period_us: int = BUCKET_15M_US,
    min_coverage: float = TRUSTED_COVERAGE,
) -> Demand | None:
    """Return the highest mean power over any period_us inside [from_us, to_us), None when none is covered.

    It is exact, not sampled: power is constant within a stretch, so the energy of a sliding window has its maximum
    where the window begins or ends at a stretch's bound (or at the edge of the range).
    """
    bounds = np.concatenate((increments.start_us, increments.end_us, np.array([from_us, to_us], dtype=np.int64)))
    begins = np.unique(np.concatenate((bounds, bounds - period_us)))
    begins = begins[(begins >= from_us) & (begins <= to_us - period_us)]
    if not begins.size:
        return None
    return _highest(_demand_kw(EnergyCurve(increments), begins, begins + period_us, min_coverage), begins)


def _demand_kw(curve: EnergyCurve, from_us: TimeArray, to_us: TimeArray, min_coverage: float) -> FloatArray:
    windows = curve.between(from_us, to_us)
    width_us = to_us - from_us
    demand_kw = windows.energy_kwh * (US_PER_HOUR / width_us)
    demand_kw[windows.covered_s * US_PER_S < min_coverage * width_us] = np.nan
    return demand_kw


def _highest(demand_kw: FloatArray, begins_us: TimeArray) -> Demand | None:
    if not np.isfinite(demand_kw).any():
        return None
    place = int(np.nanargmax(demand_kw))
    return Demand(float(demand_kw[place]), int(begins_us[place]))
