"""Energy and power in buckets of time.

Energy of a stretch is spread evenly over it, so a bucket's edge may cut a stretch anywhere and buckets always add
up: 500 kWh at 840 s and 512 kWh at 960 s are 506 kWh at 900 s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import US_PER_S, FlagArray, FloatArray, Increments, TimeArray, usable_samples

__all__ = ["Buckets", "EnergyCurve", "PowerStatistics", "flags_in_buckets", "power_statistics", "spread"]


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Energy of k buckets.

    energy_kwh     float64[k] [kWh], NaN where no stretch of known energy touches the bucket
    estimated_kwh  float64[k] [kWh], the part of it from stretches longer than the longest measured gap; NaN as above
    covered_s      float64[k] [s], time of the bucket inside stretches of known energy that are not estimated
    """

    energy_kwh: FloatArray
    estimated_kwh: FloatArray
    covered_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PowerStatistics:
    """Power samples of k buckets: extremes and mean of the samples [kW], NaN where there are none."""

    min_kw: FloatArray
    mean_kw: FloatArray
    max_kw: FloatArray
    sample_count: NDArray[np.int64]


class EnergyCurve:
    """Running total of energy as a continuous function of time, made once and asked for any windows."""

    def __init__(self, increments: Increments) -> None:
        start_us, end_us, energy = increments.start_us, increments.end_us, increments.energy_kwh
        estimated = increments.estimated
        known = np.isfinite(energy)
        if not known.all():
            start_us, end_us, energy, estimated = start_us[known], end_us[known], energy[known], estimated[known]
        knots_us = np.concatenate((start_us[:1], end_us))
        ends: NDArray[np.intp] | slice = slice(1, None)
        if not np.array_equal(start_us[1:], end_us[:-1]):  # holes between the stretches
            knots_us = np.unique(np.concatenate((start_us, end_us)))
            ends = np.searchsorted(knots_us, end_us)
        length_us = end_us - start_us
        self._knots_us = knots_us
        self._energy_kwh = _running_total(knots_us.size, ends, energy)
        self._known_us = _running_total(knots_us.size, ends, length_us)
        self._has_estimated = bool(estimated.any())
        if self._has_estimated:
            self._estimated_kwh = _running_total(knots_us.size, ends, np.where(estimated, energy, 0.0))
            self._measured_us = _running_total(knots_us.size, ends, np.where(estimated, 0, length_us))

    def over(self, edges_us: TimeArray) -> Buckets:
        """Return the buckets between the k + 1 successive edges [us]."""
        return self._differences(np.asarray(edges_us, dtype=np.int64), slice(1, None), slice(None, -1))

    def between(self, from_us: TimeArray, to_us: TimeArray) -> Buckets:
        """Return the k windows [from_us[i], to_us[i]) [us], which may overlap."""
        k = len(from_us)
        times_us = np.concatenate((from_us, to_us)).astype(np.int64, copy=False)
        return self._differences(times_us, slice(k, None), slice(None, k))

    def _differences(self, times_us: TimeArray, later: slice, earlier: slice) -> Buckets:
        if self._knots_us.size == 0:
            k = times_us[later].size
            return Buckets(np.full(k, np.nan), np.full(k, np.nan), np.zeros(k))

        def difference(total: FloatArray) -> FloatArray:
            # float64 holds microseconds since 1970 exactly until the year 2255.
            values: FloatArray = np.interp(times_us, self._knots_us, total)
            return values[later] - values[earlier]

        energy_kwh, known_us = difference(self._energy_kwh), difference(self._known_us)
        measured_us = difference(self._measured_us) if self._has_estimated else known_us
        estimated_kwh = difference(self._estimated_kwh) if self._has_estimated else np.zeros(energy_kwh.size)
        unknown = known_us <= 0
        if unknown.any():
            energy_kwh[unknown] = np.nan
            estimated_kwh[unknown] = np.nan
        return Buckets(energy_kwh, estimated_kwh, measured_us / US_PER_S)


def spread(increments: Increments, edges_us: TimeArray) -> Buckets:
    """Spread increments evenly over their time into the buckets between k + 1 ascending edges [us].

    A bucket that is only partly touched holds the energy of that part; covered_s tells.
    """
    return EnergyCurve(increments).over(edges_us)


def flags_in_buckets(increments: Increments, edges_us: TimeArray) -> FlagArray:
    """Return for each bucket the bits of IncrementFlag of all stretches that touch it, uint8[k]."""
    edges_us = np.asarray(edges_us, dtype=np.int64)
    flags = np.zeros(edges_us.size - 1, dtype=np.uint8)
    for i in np.flatnonzero(increments.flags):
        first = max(0, int(np.searchsorted(edges_us, increments.start_us[i], side="right")) - 1)
        last = int(np.searchsorted(edges_us, increments.end_us[i], side="left"))
        flags[first:last] |= increments.flags[i]
    return flags


def power_statistics(time_us: TimeArray, power_kw: FloatArray, edges_us: TimeArray) -> PowerStatistics:
    """Return minimum, mean and maximum of the power samples in the buckets [edge, next edge).

    time_us   int64[n], ascending; of equal times the first wins
    power_kw  float64[n] [kW], NaN where missing
    edges_us  int64[k + 1], ascending

    Raises ValueError when the times descend.
    """
    times, power = usable_samples(time_us, power_kw)
    place = np.searchsorted(times, edges_us)
    count = place[1:] - place[:-1]
    filled = count > 0
    if filled.all():
        # reduceat takes each group up to the next one's begin, the last up to the array's end.
        groups, power = place[:-1], power[: place[-1]]
        low, high = np.minimum.reduceat(power, groups), np.maximum.reduceat(power, groups)
        return PowerStatistics(low, np.add.reduceat(power, groups) / count, high, count)
    low, mean, high = (np.full(count.size, np.nan) for _ in range(3))
    if filled.any():
        # Empty buckets begin where the next filled one begins, so they may be left out.
        groups, power = place[:-1][filled], power[: place[-1]]
        low[filled] = np.minimum.reduceat(power, groups)
        high[filled] = np.maximum.reduceat(power, groups)
        mean[filled] = np.add.reduceat(power, groups) / count[filled]
    return PowerStatistics(low, mean, high, count)


def _running_total(size: int, ends: NDArray[np.intp] | slice, amounts: NDArray[np.generic]) -> FloatArray:
    total = np.zeros(size)
    if size:
        total[ends] = amounts
    return np.cumsum(total)
