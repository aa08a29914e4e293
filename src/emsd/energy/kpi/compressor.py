"""Air compressors: what a cubic metre costs, how much of the time they deliver, and what leaks away."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["isentropic_specific_power", "leak_percent", "load_ratio_percent", "mean_power_kw", "specific_power"]

_MINUTES_PER_HOUR: Final = 60.0
_HEAT_RATIO_OF_AIR: Final = 1.4
_KW_PER_BAR_M3_MIN: Final = 100.0 / 60.0
"""1 bar x 1 m3/min = 1e5 Pa / 60 s [kW]."""


def specific_power(energy_kwh: float, volume_m3: float) -> float | None:
    """Return the specific power of a period [kW/(m3/min)], None when nothing was delivered.

    The volume is at the conditions at which it was metered; emsd's own quantities are at 0 degC and 1.01325 bar.
    """
    return energy_kwh * _MINUTES_PER_HOUR / volume_m3 if volume_m3 > 0 else None


def isentropic_specific_power(inlet_bar: float, outlet_bar: float, heat_ratio: float = _HEAT_RATIO_OF_AIR) -> float:
    """Return the least specific power of one-stage compression [kW/(m3/min of inlet air)], pressures absolute [bar].

    k/(k-1) p1 ((p2/p1)^((k-1)/k) - 1), ideal gas; from 1 to 8 bar it is 4.7334.
    """
    exponent = (heat_ratio - 1) / heat_ratio
    return inlet_bar * _KW_PER_BAR_M3_MIN / exponent * (math.pow(outlet_bar / inlet_bar, exponent) - 1)


def load_ratio_percent(loaded_h: float, running_h: float) -> float | None:
    """Return the share of the running time under load [%], None when it did not run."""
    return 100 * loaded_h / running_h if running_h > 0 else None


def leak_percent(loaded_h: float, not_loaded_h: float) -> float | None:
    """Return what leaks, in percent of the compressor's delivery: T / (T + t), None without any time.

    T is the time under load and t the rest while nobody uses air (US Department of Energy, Improving Compressed Air
    System Performance: a Sourcebook for Industry, fact sheet on leaks, for start/stop or load/unload control).
    """
    whole_h = loaded_h + not_loaded_h
    return 100 * loaded_h / whole_h if whole_h > 0 else None


def mean_power_kw(loaded_kw: float, unloaded_share: float, load_ratio: float) -> float:
    """Return the mean power [kW] of a compressor loaded for `load_ratio` (0..1) of the time.

    `unloaded_share` (0..1) is the power unloaded over the power loaded.
    """
    return loaded_kw * (load_ratio + unloaded_share * (1 - load_ratio))
