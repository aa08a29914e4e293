"""Demand of several meters together from their stored intervals: blocks, and windows that slide by one interval.

A window that slides continuously needs the readings themselves (`emsd.energy.demand.maximum_sliding_demand`); over a
long time the minutes stand for them, so the window slides minute by minute. The difference is at most what power
changes within a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emsd.energy.demand import TRUSTED_COVERAGE, Demand
from emsd.energy.series import US_PER_HOUR, FloatArray, TimeArray

__all__ = ["DemandSeries", "block_series", "sliding_series"]


@dataclass(frozen=True, slots=True, eq=False)
class DemandSeries:
    """Mean power over k periods of equal length, which may overlap.

    begin_us    int64[k] [us]
    demand_kw   float64[k] [kW], as far as it is known; NaN where nothing is
    coverage    float64[k], 0..1, of the worst covered meter
    """

    begin_us: TimeArray
    demand_kw: FloatArray
    coverage: FloatArray

    @property
    def trusted_kw(self) -> FloatArray:
        """Demand of the periods that are covered well enough, NaN elsewhere; float64[k] [kW]."""
        return np.where(self.coverage >= TRUSTED_COVERAGE, self.demand_kw, np.nan)

    def highest(self, from_us: int, to_us: int) -> Demand | None:
        """Return the highest trusted demand of the periods that begin in [from_us, to_us); the first of equal ones."""
        trusted_kw, begin_us = self.trusted_kw, self.begin_us
        inside = np.isfinite(trusted_kw) & (begin_us >= from_us) & (begin_us < to_us)
        if not inside.any():
            return None
        place = int(np.argmax(np.where(inside, trusted_kw, -np.inf)))
        return Demand(float(trusted_kw[place]), int(begin_us[place]))


def block_series(
    edges_us: TimeArray, energy_kwh: Sequence[FloatArray], coverage: Sequence[FloatArray], per_block: int
) -> DemandSeries:
    """Return the demand of successive blocks of `per_block` intervals each.

    edges_us    int64[n + 1], those of the intervals, all of one width; the first begins a block
    energy_kwh  float64[n] of each meter [kWh], NaN where unknown
    coverage    float64[n] of each meter, 0..1

    Intervals that fill no block at the end are left out.
    """
    blocks = (edges_us.size - 1) // per_block
    used = slice(0, blocks * per_block)
    energy, covered = _stacked(energy_kwh, used), _stacked(coverage, used)
    shape = (len(energy_kwh), blocks, per_block)
    return _series(edges_us, energy.reshape(shape), covered.reshape(shape), slice(0, blocks * per_block, per_block))


def sliding_series(
    edges_us: TimeArray, energy_kwh: Sequence[FloatArray], coverage: Sequence[FloatArray], per_window: int
) -> DemandSeries:
    """Return the demand of every window of `per_window` intervals, each beginning one interval after the other.

    Arguments are those of `block_series`.
    """
    count = edges_us.size - 1
    if count < per_window:
        return _series(edges_us, np.empty((len(energy_kwh), 0, per_window)), np.empty((1, 0, 1)), slice(0, 0))
    energy, covered = _stacked(energy_kwh, slice(None)), _stacked(coverage, slice(None))
    windows = np.lib.stride_tricks.sliding_window_view
    return _series(
        edges_us,
        windows(energy, per_window, axis=1),
        windows(covered, per_window, axis=1),
        slice(0, count - per_window + 1),
    )


def _stacked(columns: Sequence[FloatArray], used: slice) -> FloatArray:
    return np.stack([column[used] for column in columns])


def _series(edges_us: TimeArray, energy: FloatArray, covered: FloatArray, begins: slice) -> DemandSeries:
    """Demand of windows given as [meters, windows, intervals]."""
    begin_us = edges_us[begins]
    per_window = energy.shape[2]
    if not begin_us.size:
        return DemandSeries(begin_us, np.array([]), np.array([]))
    width_us = int(edges_us[1] - edges_us[0]) * per_window
    known = np.isfinite(energy).any(axis=(0, 2))
    total_kwh = np.nansum(energy, axis=2).sum(axis=0)
    demand_kw = np.where(known, total_kwh * (US_PER_HOUR / width_us), np.nan)
    # What is stored as real is a rounded share of 1: 0.9 must stay 0.9.
    coverage = np.round(covered.mean(axis=2).min(axis=0), 6)
    return DemandSeries(begin_us, demand_kw, coverage)
