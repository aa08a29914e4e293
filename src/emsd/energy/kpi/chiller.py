"""Chillers: cooling power from water, and what it costs in electricity."""

from __future__ import annotations

from typing import Final, TypeVar

from emsd.energy.series import FloatArray

__all__ = ["KW_PER_RT", "WATER_DENSITY_KG_M3", "WATER_HEAT_CAPACITY_KJ_KG_K", "cooling_power_kw", "cop", "iplv_cop"]

Number = TypeVar("Number", float, FloatArray)

KW_PER_RT: Final = 3.516853
"""One ton of refrigeration [kW]: 12,000 Btu/h (NIST Special Publication 811, appendix B.8)."""

WATER_DENSITY_KG_M3: Final = 1000.0
WATER_HEAT_CAPACITY_KJ_KG_K: Final = 4.186
"""Water near 10 degC; brines differ, and an asset's `kpi` in the plant file says so."""

_S_PER_HOUR: Final = 3600.0


def cooling_power_kw(
    flow_m3h: Number,
    entering_c: Number,
    leaving_c: Number,
    density_kg_m3: float = WATER_DENSITY_KG_M3,
    heat_capacity_kj_kg_k: float = WATER_HEAT_CAPACITY_KJ_KG_K,
) -> Number:
    """Return rho V c_p (T_entering - T_leaving) [kW]; negative while the water gets warmer."""
    return flow_m3h * (entering_c - leaving_c) * (density_kg_m3 * heat_capacity_kj_kg_k / _S_PER_HOUR)


def cop(cooling_kwh: float, energy_kwh: float) -> float | None:
    """Return the coefficient of performance [1] of a period, None when no energy was used.

    Both are sums over the same time. kW/RT is KW_PER_RT divided by it.
    """
    return cooling_kwh / energy_kwh if energy_kwh > 0 else None


def iplv_cop(at_100: float, at_75: float, at_50: float, at_25: float) -> float:
    """Return the integrated part load value from the COP at 100, 75, 50 and 25 % load (AHRI Standard 550/590)."""
    return 0.01 * at_100 + 0.42 * at_75 + 0.45 * at_50 + 0.12 * at_25
