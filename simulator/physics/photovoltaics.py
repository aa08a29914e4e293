"""Modules and inverters by PVWatts: light in the plane, cell temperature, losses, and an inverter that clips."""

from __future__ import annotations

import numpy as np
from pvlib import inverter, pvsystem

from simulator.noise import FloatArray, Stream, smooth
from simulator.physics.day import Day
from simulator.physics.scenarios import ScenarioKind

__all__ = ["DC_TO_AC_RATIO", "TEMPERATURE_COEFFICIENT", "pv_share"]

DC_TO_AC_RATIO = 1.2
"""Modules are bought larger than the inverter, which clips on the best days."""

TEMPERATURE_COEFFICIENT = -0.0035
"""Of the power of a good crystalline module [1/K]. Source: PVWatts version 5 manual, NREL 2014, premium module."""

_INVERTER_EFFICIENCY = 0.97
# PVWatts version 5 manual, table 3: mismatch 2 %, wiring 2 %, light-induced degradation 1.5 %, nameplate rating 1 %,
# connections 0.5 %; and 1 % for the age of the modules.
_FIXED_LOSS = 0.08


def pv_share(
    day: Day, source: Stream, asset_key: str, dc_to_ac: float, per_k: float = TEMPERATURE_COEFFICIENT
) -> FloatArray:
    """Return the AC power of an inverter, of its rating, 0..1.

    dc_to_ac  peak power of its modules [kWp] for each kW of its rating
    per_k     by which the power of the modules changes with their temperature [1/K]
    """
    dirt = 0.025 + 0.02 * smooth(source, day.time_s, 20 * 86_400.0)
    dirt = np.clip(dirt + day.amount(ScenarioKind.SOILING, asset_key), 0.0, 1.0)
    strings = np.clip(1.0 - day.amount(ScenarioKind.STRING_OUTAGE, asset_key), 0.0, 1.0)
    light = day.site["irradiance_poa_w_m2"] * (1.0 - dirt)
    direct = pvsystem.pvwatts_dc(light, day.site["module_temperature_c"], dc_to_ac * (1.0 - _FIXED_LOSS), per_k)
    share: FloatArray = inverter.pvwatts(direct * strings, 1.0 / _INVERTER_EFFICIENCY, _INVERTER_EFFICIENCY)
    return np.clip(np.nan_to_num(share), 0.0, 1.0)
