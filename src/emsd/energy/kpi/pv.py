"""Photovoltaics after IEC 61724-1: what a plant gave of what the sun offered."""

from __future__ import annotations

from typing import Final, TypeVar

from emsd.energy.series import FloatArray

__all__ = ["REFERENCE_CELL_C", "corrected_irradiance_w_m2", "performance_ratio", "specific_yield"]

Number = TypeVar("Number", float, FloatArray)

REFERENCE_CELL_C: Final = 25.0
"""Module temperature at standard test conditions [degC]; there the irradiance is 1 kW/m2."""


def performance_ratio(yield_kwh: float, peak_power_kwp: float, irradiation_kwh_m2: float) -> float | None:
    """Return (E / P0) / (H / 1 kW/m2) [1], None without sun (IEC 61724-1:2021, performance ratio).

    With the irradiation of `corrected_irradiance_w_m2` it is the temperature-corrected ratio to 25 degC.
    """
    return yield_kwh / peak_power_kwp / irradiation_kwh_m2 if irradiation_kwh_m2 > 0 else None


def corrected_irradiance_w_m2(irradiance_w_m2: Number, module_c: Number, coefficient_per_k: float) -> Number:
    """Return G (1 + gamma (Tc - 25)) [W/m2], what modules at 25 degC would have needed for the same power.

    gamma is the temperature coefficient of maximum power [1/K], negative for silicon (IEC 61724-1:2021, 25 degC
    performance ratio).
    """
    return irradiance_w_m2 * (1 + coefficient_per_k * (module_c - REFERENCE_CELL_C))


def specific_yield(yield_kwh: float, peak_power_kwp: float) -> float:
    """Return the yield of a period over the peak power [kWh/kWp]."""
    return yield_kwh / peak_power_kwp
