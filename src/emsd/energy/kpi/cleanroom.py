"""Cleanrooms: power per floor area, and what less air saves."""

from __future__ import annotations

from typing import Final

__all__ = ["fan_power_ratio", "power_density_w_m2"]

_W_PER_KW: Final = 1000.0


def power_density_w_m2(energy_kwh: float, hours_h: float, floor_area_m2: float) -> float | None:
    """Return the mean power of a period over a floor area [W/m2], None for a period without length."""
    return energy_kwh / hours_h / floor_area_m2 * _W_PER_KW if hours_h > 0 else None


def fan_power_ratio(flow_ratio: float) -> float:
    """Return the power of a fan over that at full flow: the cube of the flow ratio (fan laws, ASHRAE)."""
    return flow_ratio**3
