"""Energy of a meter that has no counter, from its power."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from emsd.energy.series import US_PER_HOUR, US_PER_S, FloatArray, Increments, TimeArray, usable_samples

__all__ = ["PowerEnergy", "PowerMethod", "integrate_power"]

PowerMethod: TypeAlias = Literal["trapezoid", "left_hold", "period_mean"]


class PowerEnergy(NamedTuple):
    """Energy in both directions over the same stretches of time, each direction >= 0 [kWh]."""

    energy_import: Increments
    energy_export: Increments


def integrate_power(time_us: TimeArray, power_kw: FloatArray, *, method: PowerMethod, max_gap_s: float) -> PowerEnergy:
    """Integrate power [kW] over time, apart for consumption (positive) and generation (negative).

    time_us   int64[n], ascending; of equal times the first wins
    power_kw  float64[n], NaN where missing
    method    "trapezoid": polled, instantaneous values, straight lines between them; where a line crosses zero
              each direction gets its own triangle.
              "left_hold": reported on change, a value holds until the next one. 0 kW for 7 days and then 6 kW is
              504 kWh by trapezoid (Home Assistant, pull request 116736) and 0 by left_hold.
              "period_mean": a value is the device's mean since the one before.
    max_gap_s longest stretch that is integrated [s]; a longer one leaves a hole, which coverage shows.

    Raises ValueError when the times descend or max_gap_s is not positive.
    """
    if not max_gap_s > 0:
        raise ValueError(f"max_gap_s {max_gap_s} must be greater than 0")
    times, power = usable_samples(time_us, power_kw)
    step_us = times[1:] - times[:-1]
    left, right = power[:-1], power[1:]
    near = step_us <= max_gap_s * US_PER_S
    start_us, end_us = times[:-1], times[1:]
    if not near.all():
        start_us, end_us, step_us, left, right = start_us[near], end_us[near], step_us[near], left[near], right[near]
    if method == "left_hold":
        right = left
    elif method == "period_mean":
        left = right
    hours = step_us / US_PER_HOUR
    positive, negative = _mean_of_both_signs(left, right)
    estimated = np.zeros(hours.size, dtype=np.bool_)
    flags = np.zeros(hours.size, dtype=np.uint8)
    return PowerEnergy(
        Increments(start_us, end_us, positive * hours, estimated, flags),
        Increments(start_us, end_us, negative * hours, estimated, flags),
    )


def _mean_of_both_signs(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the means of the positive and of the negated negative part of lines from left to right."""
    if bool((left >= 0).all() and (right >= 0).all()):
        return (left + right) / 2, np.zeros(left.size)
    positive = (np.maximum(left, 0) + np.maximum(right, 0)) / 2
    negative = (np.maximum(-left, 0) + np.maximum(-right, 0)) / 2
    crossing = left * right < 0
    if crossing.any():
        # The positive end is above zero for the share |p| / (|p| + |q|) of the time: a triangle of height p.
        span = np.abs(left[crossing]) + np.abs(right[crossing])
        positive[crossing] *= 2 * positive[crossing] / span
        negative[crossing] *= 2 * negative[crossing] / span
    return positive, negative
