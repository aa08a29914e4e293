"""Electrical figures of any load: power factor, voltage unbalance, load factor."""

from __future__ import annotations

import math

import numpy as np

from emsd.energy.series import FloatArray

__all__ = ["load_factor_percent", "power_factor", "voltage_unbalance_percent"]


def power_factor(energy_kwh: float, reactive_kvarh: float) -> float | None:
    """Return the power factor of a period [1]: kWh / sqrt(kWh^2 + kvarh^2), None when both are 0.

    The reactive energy is the sum of what was taken and what was given, each positive, as tariffs count it.
    """
    apparent_kvah = math.hypot(energy_kwh, reactive_kvarh)
    return abs(energy_kwh) / apparent_kvah if apparent_kvah > 0 else None


def voltage_unbalance_percent(voltages_v: FloatArray) -> FloatArray:
    """Return the largest deviation from the mean of three voltages over that mean [%] (NEMA MG 1, 14.36.1).

    voltages_v  float64[3] or [3, k], line to line [V]; 462, 463 and 455 V are 1.087 %. NaN where the mean is 0.
    """
    mean = np.mean(voltages_v, axis=0)
    deviation = np.max(np.abs(voltages_v - mean), axis=0)
    unbalance: FloatArray = np.divide(100 * deviation, mean, out=np.full_like(mean, np.nan), where=mean > 0)
    return unbalance


def load_factor_percent(power_kw: FloatArray) -> float | None:
    """Return mean over maximum [%] of powers of equally long times, float64[k] [kW]; None when none is above 0."""
    highest = float(np.max(power_kw)) if power_kw.size else 0.0
    return 100 * float(np.mean(power_kw)) / highest if highest > 0 else None
