"""What minute intervals say of the present: the residual of a bus, and a meter's counter against its power.

Both compare figures that differ by a few percent at most, and a counter moves in counts. So each is formed over the
shortest window in which a count is a small share of the energy (RESOLUTION_SHARE): a feeder that is read to the
watt-hour is judged by the minute, one that counts in kilowatt-hours by the hour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emsd.energy.balance import BalanceSeries
from emsd.energy.series import US_PER_HOUR, US_PER_S, BoolArray, FloatArray

__all__ = [
    "LARGEST_DEVIATION_PERCENT",
    "RESIDUAL_WINDOWS",
    "RESOLUTION_SHARE",
    "CounterAndPower",
    "LiveResidual",
    "live_deviation_percent",
    "live_residual",
]

RESOLUTION_SHARE = 0.005
"""A count of each counter is at most this share of the energy that is judged."""

_WORST_RESOLUTION_SHARE = 0.05
"""Above this a residual in percent says more of the counters' steps than of the bus, over an hour too."""

RESIDUAL_WINDOWS = (1, 5, 15, 60)
"""Minutes that a residual is formed over, the shortest that will do."""

_MEASURED = 0.99
"""Coverage of bus and children from which on a bucket counts: in one that is partly known, energies do not compare."""

_COMPARABLE_SHARE = 0.5
"""Share of a window in which counter and power must both be known for a comparison."""

_ENOUGH_SAMPLES = 600
"""Samples of power in a window: the mean of 600 of a load that varies by 30 % is right to 1.2 % (standard error)."""

LARGEST_DEVIATION_PERCENT = 1000.0
"""What stands for a counter that stands still while power flows, and the largest deviation that is told."""


class LiveResidual(NamedTuple):
    """Residual of a bus: mean power [kW], percent of what came onto it (None when that is next to nothing), minutes."""

    residual_kw: float
    residual_percent: float | None
    minutes: int


def live_residual(
    series: BalanceSeries, *, count_kwh: float, slowest_poll_s: float, width_us: int
) -> LiveResidual | None:
    """Return the residual of a bus over its newest buckets that are wholly measured, None when it is not known now.

    series          buckets up to now, each `width_us` [us] long
    count_kwh       one count of the bus and of each child, together [kWh]
    slowest_poll_s  the longest poll interval among them [s]: a meter's newest bucket is known only when its next sample
                    has come, and within its interval energy is spread, not measured
    """
    measured = np.minimum(series.coverage, series.children_coverage) >= _MEASURED
    balanced = np.flatnonzero(np.isfinite(series.residual_kwh) & measured)
    late = math.ceil(slowest_poll_s * US_PER_S / width_us)
    if not balanced.size or series.residual_kwh.size - 1 - balanced[-1] > late:
        return None
    longest = RESIDUAL_WINDOWS[-1]
    for minutes in RESIDUAL_WINDOWS:
        last = balanced[balanced > balanced[-1] - minutes]
        supply = float(series.supply_kwh[last].sum())
        fine = count_kwh <= RESOLUTION_SHARE * supply and minutes * width_us >= slowest_poll_s * US_PER_S
        if fine or minutes == longest:
            residual = float(series.residual_kwh[last].sum())
            hours = last.size * width_us / US_PER_HOUR
            tells = supply > 0 and count_kwh <= _WORST_RESOLUTION_SHARE * supply
            return LiveResidual(residual / hours, 100 * residual / supply if tells else None, int(last.size))
    return None


@dataclass(frozen=True, slots=True, eq=False)
class CounterAndPower:
    """One meter's intervals in k buckets; NaN where nothing is known.

    import_kwh, export_kwh  float64[k] [kWh] by counter; NaN too for a direction that it does not count
    power_kw                float64[k] [kW], mean of the samples
    comparable              bool[k]: measured as a whole, nothing estimated, no fault of the counter
    sample_count            float64[k]
    """

    import_kwh: FloatArray
    export_kwh: FloatArray
    power_kw: FloatArray
    comparable: BoolArray
    sample_count: FloatArray


def live_deviation_percent(
    buckets: CounterAndPower, *, count_kwh: float, width_us: int, lengths: Sequence[int]
) -> float | None:
    """Return how far counter and power differ, in percent of the counter, over the shortest window that will do.

    buckets  of `width_us` [us] each, up to now
    lengths  numbers of buckets that are tried as a window, in ascending order

    None: no window is long enough for the counter's resolution and the spread of the samples, or nothing flowed.
    """
    for length in lengths:
        found = _deviation(buckets, slice(max(0, buckets.power_kw.size - length), None), count_kwh, width_us, length)
        if found is not None:
            return found
    return None


def _deviation(buckets: CounterAndPower, last: slice, count_kwh: float, width_us: int, length: int) -> float | None:
    usable = buckets.comparable[last] & np.isfinite(buckets.power_kw[last])
    taken, given = buckets.import_kwh[last], buckets.export_kwh[last]
    usable &= np.isfinite(taken) | np.isfinite(given)
    if usable.sum() < _COMPARABLE_SHARE * length or buckets.sample_count[last][usable].sum() < _ENOUGH_SAMPLES:
        return None
    energy_kwh = buckets.power_kw[last] * (width_us / US_PER_HOUR)
    # A meter that counts one direction is compared in that direction only.
    only_taken, only_given = np.isnan(given), np.isnan(taken)
    energy_kwh = np.where(
        only_taken, np.maximum(energy_kwh, 0.0), np.where(only_given, np.minimum(energy_kwh, 0.0), energy_kwh)
    )
    counted = np.nan_to_num(taken) - np.nan_to_num(given)
    flown = float((np.nan_to_num(taken) + np.nan_to_num(given))[usable].sum())
    by_counter, by_power = float(counted[usable].sum()), float(energy_kwh[usable].sum())
    powered = float(np.abs(energy_kwh[usable]).sum())
    if count_kwh <= RESOLUTION_SHARE * flown:
        return min(LARGEST_DEVIATION_PERCENT, 100 * abs(by_counter - by_power) / flown)
    # The counter hardly moves. If power says that it should have, and by much, it stands still.
    return LARGEST_DEVIATION_PERCENT if flown <= count_kwh < RESOLUTION_SHARE * powered else None
