"""Demand of several meters together over settlement periods, and over windows that slide by one interval.

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

__all__ = ["DemandSeries", "sliding_series"]


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

    def with_more(self, other: DemandSeries) -> DemandSeries:
        """Return the demand together with that of further meters over the same periods."""
        demand_kw = np.nan_to_num(self.demand_kw) + np.nan_to_num(other.demand_kw)
        demand_kw[np.isnan(self.demand_kw) & np.isnan(other.demand_kw)] = np.nan
        return DemandSeries(self.begin_us, demand_kw, np.minimum(self.coverage, other.coverage))

    def highest(self, from_us: int, to_us: int) -> Demand | None:
        """Return the highest trusted demand of the periods that begin in [from_us, to_us); the first of equal ones."""
        trusted_kw, begin_us = self.trusted_kw, self.begin_us
        inside = np.isfinite(trusted_kw) & (begin_us >= from_us) & (begin_us < to_us)
        if not inside.any():
            return None
        place = int(np.argmax(np.where(inside, trusted_kw, -np.inf)))
        return Demand(float(trusted_kw[place]), int(begin_us[place]))


def sliding_series(
    edges_us: TimeArray, energy_kwh: Sequence[FloatArray], coverage: Sequence[FloatArray], per_window: int
) -> DemandSeries:
    """Return the demand of every window of `per_window` intervals, each beginning one interval after the other.

    edges_us    int64[n + 1], those of the intervals, all of one width
    energy_kwh  float64[n] of each meter [kWh], NaN where unknown
    coverage    float64[n] of each meter, 0..1
    """
    begin_us = edges_us[: max(0, edges_us.size - per_window)]
    if not begin_us.size:
        return DemandSeries(begin_us, np.array([]), np.array([]))
    energy, covered = np.stack(energy_kwh), np.stack(coverage)
    known: FloatArray = np.asarray(np.isfinite(energy).any(axis=0), dtype=np.float64)
    summed: FloatArray = np.asarray(np.nan_to_num(energy).sum(axis=0))
    total_kwh, known_count = _windows(summed, per_window), _windows(known, per_window)
    width_us = int(edges_us[1] - edges_us[0]) * per_window
    # What is stored as real is a rounded share of 1: 0.9 must stay 0.9.
    return DemandSeries(
        begin_us,
        np.where(known_count > 0, total_kwh * (US_PER_HOUR / width_us), np.nan),
        np.round(np.array([_windows(each, per_window) for each in covered]).min(axis=0) / per_window, 6),
    )


def _windows(values: FloatArray, per_window: int) -> FloatArray:
    """Sum of every window of successive values."""
    summed: FloatArray = np.lib.stride_tricks.sliding_window_view(values, per_window).sum(axis=1)
    return summed
