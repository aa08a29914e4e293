"""Integrals of what several gauges say together, such as flow times temperature difference.

The mean of a product is not the product of the means: a pump that runs half of the time at 10 m3/h while the water
differs by 6 K, and stands while it differs by 0 K, moves 30 m3 K/h and not 5 x 3 = 15. So products are formed at the
instants of the samples and integrated there, and only the integrals are kept by the quarter hour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from emsd.energy.counters import CounterRules, increments
from emsd.energy.intervals import spread
from emsd.energy.series import US_PER_HOUR, US_PER_S, BoolArray, FloatArray, Increments, TimeArray, usable_samples

__all__ = ["Parts", "Signal", "count", "integrate", "parts_of"]

_LEAST_SAMPLES: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """Samples of one gauge.

    time_us    int64[n], ascending; of equal times the first wins
    values     float64[n], NaN where missing
    max_gap_s  longest time between two samples over which the value is believed [s]
    holds      a value holds until the next one (states, reports by exception); else straight lines join them
    """

    time_us: TimeArray
    values: FloatArray
    max_gap_s: float
    holds: bool = False


class Parts(NamedTuple):
    """What is measured of k buckets.

    value     float64[k], the amount in the measured part of the bucket, NaN where nothing is measured
    coverage  float64[k], 0..1, share of the bucket that is measured
    """

    value: FloatArray
    coverage: FloatArray


class _Line(NamedTuple):
    left: FloatArray
    right: FloatArray
    known: BoolArray


def integrate(signals: Sequence[Signal], combine: Callable[..., FloatArray], edges_us: TimeArray) -> Parts:
    """Return the integral over time [unit of `combine` x h] in the buckets between k + 1 ascending edges [us].

    `combine` takes one array for each signal and is evaluated at the begin, the middle and the end of every stretch
    between two successive samples of any signal. By Simpson's rule that is exact while it is a product of at most three
    straight lines, whatever the sampling of each. A stretch counts where every signal is known.

    Raises ValueError when the times of a signal descend.
    """
    edges_us = np.asarray(edges_us, dtype=np.int64)
    samples = [usable_samples(each.time_us, each.values) for each in signals]
    if any(times.size < _LEAST_SAMPLES for times, _ in samples):
        return Parts(np.full(edges_us.size - 1, np.nan), np.zeros(edges_us.size - 1))
    knots_us = np.unique(np.concatenate([edges_us, *(times for times, _ in samples)]))
    knots_us = knots_us[(knots_us >= edges_us[0]) & (knots_us <= edges_us[-1])]
    begin_us, end_us = knots_us[:-1], knots_us[1:]
    lines = [
        _line(times, values, signal, begin_us, end_us) for signal, (times, values) in zip(signals, samples, strict=True)
    ]
    known = np.logical_and.reduce([line.known for line in lines])
    left, right = combine(*(line.left for line in lines)), combine(*(line.right for line in lines))
    middle = combine(*((line.left + line.right) / 2 for line in lines))
    length_us = end_us - begin_us
    amount = (left + 4 * middle + right) / 6 * (length_us / US_PER_HOUR)
    place = np.searchsorted(edges_us, begin_us, side="right")[known] - 1
    k = edges_us.size - 1
    value = np.bincount(place, weights=amount[known], minlength=k)
    covered_us = np.bincount(place, weights=length_us[known], minlength=k)
    return Parts(np.where(covered_us > 0, value, np.nan), covered_us / (edges_us[1:] - edges_us[:-1]))


def count(time_us: TimeArray, counter: FloatArray, rules: CounterRules, edges_us: TimeArray) -> Parts:
    """Return what a counter of any unit counted in the buckets between k + 1 ascending edges [us].

    The rules of energy counters apply (resets, rollovers, dips, glitches); their kW and kWh stand for the counter's
    unit. See `parts_of`. Raises ValueError when the times descend.
    """
    return parts_of(increments(time_us, counter, rules), edges_us)


def parts_of(counted: Increments, edges_us: TimeArray) -> Parts:
    """Return what was counted in the buckets between k + 1 ascending edges [us].

    What was counted over a gap longer than `max_gap_s` is left out: its place in time is not known.
    """
    edges_us = np.asarray(edges_us, dtype=np.int64)
    buckets = spread(counted, edges_us)
    coverage = np.minimum(buckets.covered_s * US_PER_S / (edges_us[1:] - edges_us[:-1]), 1.0)
    measured = buckets.energy_kwh - buckets.estimated_kwh
    return Parts(np.where(coverage > 0, measured, np.nan), coverage)


def _line(times_us: TimeArray, values: FloatArray, signal: Signal, begin_us: TimeArray, end_us: TimeArray) -> _Line:
    place = np.searchsorted(times_us, begin_us, side="right")
    after = np.clip(place, 1, times_us.size - 1)
    before = after - 1
    step_us = times_us[after] - times_us[before]
    known = (place > 0) & (place < times_us.size) & (step_us <= signal.max_gap_s * US_PER_S)
    if signal.holds:
        return _Line(values[before], values[before], known)
    slope = (values[after] - values[before]) / step_us
    left = values[before] + slope * (begin_us - times_us[before])
    return _Line(left, values[before] + slope * (end_us - times_us[before]), known)
