"""How the load of a meter is spread over its phases: devices count each phase, physics only the sum."""

from __future__ import annotations

import numpy as np

from simulator.truth import SimulatedPlant

__all__ = ["LINES", "phase_shares"]

LINES = ("l1", "l2", "l3")
_HOUR_US = 3_600_000_000
_LOOKED_AT_H = 48


def phase_shares(physics: SimulatedPlant, meter_key: str) -> tuple[float, float, float]:
    """Return the share of each phase in a meter's power, found where it is largest in the two days after the anchor."""
    times = physics.anchor_us + np.arange(_LOOKED_AT_H, dtype=np.int64) * _HOUR_US
    names = ("active_power_kw", *(f"active_power_{line}_kw" for line in LINES))
    series = physics.quantity_series(meter_key, times, names)
    at = int(np.argmax(np.abs(series["active_power_kw"])))
    total = float(series["active_power_kw"][at])
    if total == 0.0:
        return (1 / 3, 1 / 3, 1 / 3)
    first, second = (float(series[f"active_power_{line}_kw"][at]) / total for line in LINES[:2])
    return (first, second, 1.0 - first - second)
