"""The figure of a period from its quarter hours: which sums go into which formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from emsd.energy.kpi import chiller, cleanroom, compressor, electrical, pv
from emsd.energy.series import FloatArray

__all__ = [
    "Quarters",
    "cop",
    "corrected_ratio",
    "energy_per_piece",
    "kw_per_rt",
    "leak",
    "load_factor",
    "load_ratio",
    "performance_ratio",
    "piece_yield",
    "power_density",
    "power_factor",
    "specific_power",
    "specific_yield",
    "unbalance",
]

_HOURS_PER_QUARTER: Final = 0.25
_NORMAL_PERCENTILE: Final = 95.0
_LEAST_COUNTS: Final = 10.0
"""Counters of whole hours say nothing of a short time: below so many counts a share of it is a guess."""


@dataclass(frozen=True, slots=True, eq=False)
class Quarters:
    """The quarter hours of a period in which every input of a key figure is known; there is at least one.

    inputs  name -> float64[n], the amount of a whole quarter hour
    facts   name -> value of what does not change: peak power, floor area
    """

    inputs: Mapping[str, FloatArray]
    facts: Mapping[str, float]

    def total(self, name: str) -> float:
        """Return the sum of an input."""
        return float(np.sum(self.inputs[name]))

    @property
    def hours_h(self) -> float:
        """Length of the quarter hours together [h]."""
        return next(iter(self.inputs.values())).size * _HOURS_PER_QUARTER

    @property
    def least_hours_h(self) -> float:
        """The shortest time of which hour counters tell something [h]; 0 where the hours come from elsewhere."""
        return self.facts.get("hours_count_h", 0.0) * _LEAST_COUNTS


def cop(quarters: Quarters) -> float | None:
    """Return cold over electricity [1]."""
    return chiller.cop(quarters.total("cooling_kwh"), quarters.total("energy_kwh"))


def kw_per_rt(quarters: Quarters) -> float | None:
    """Return electricity per ton of refrigeration [kW/RT]."""
    value = cop(quarters)
    return chiller.KW_PER_RT / value if value is not None and value > 0 else None


def specific_power(quarters: Quarters) -> float | None:
    """Return electricity over air [kW/(Nm3/min)]."""
    return compressor.specific_power(quarters.total("energy_kwh"), quarters.total("air_nm3"))


def load_ratio(quarters: Quarters) -> float | None:
    """Return time under load over time running [%]."""
    running_h = quarters.total("running_h")
    if running_h < quarters.least_hours_h:
        return None
    return compressor.load_ratio_percent(quarters.total("loaded_h"), running_h)


def leak(quarters: Quarters) -> float | None:
    """Return time under load over all time, of idle times [%]; None for a machine that never was under load.

    It was off, or another one kept the pressure: what leaks is not 0.
    """
    loaded_h = quarters.total("loaded_h")
    if quarters.hours_h < quarters.least_hours_h or loaded_h <= 0:
        return None
    return compressor.leak_percent(loaded_h, quarters.hours_h - loaded_h)


def power_density(quarters: Quarters) -> float | None:
    """Return mean power over floor area [W/m2]."""
    return cleanroom.power_density_w_m2(quarters.total("energy_kwh"), quarters.hours_h, quarters.facts["floor_area_m2"])


def performance_ratio(quarters: Quarters) -> float | None:
    """Return the performance ratio [1]."""
    return _ratio_to(quarters, "irradiation_kwh_m2")


def corrected_ratio(quarters: Quarters) -> float | None:
    """Return the performance ratio at 25 degC [1]."""
    return _ratio_to(quarters, "irradiation_t25_kwh_m2")


def specific_yield(quarters: Quarters) -> float:
    """Return yield over peak power [kWh/kWp]."""
    return pv.specific_yield(quarters.total("yield_kwh"), quarters.facts["peak_power_kwp"])


def energy_per_piece(quarters: Quarters) -> float | None:
    """Return electricity over pieces [kWh]."""
    pieces = quarters.total("pieces")
    return quarters.total("energy_kwh") / pieces if pieces > 0 else None


def piece_yield(quarters: Quarters) -> float | None:
    """Return good pieces over pieces [%]."""
    pieces = quarters.total("pieces")
    return 100 * quarters.total("good_pieces") / pieces if pieces > 0 else None


def power_factor(quarters: Quarters) -> float | None:
    """Return the power factor of the period [1]."""
    return electrical.power_factor(quarters.total("energy_kwh"), quarters.total("reactive_kvarh"))


def unbalance(quarters: Quarters) -> float:
    """Return the unbalance that 95 % of the quarter hours stay below [%]."""
    return float(np.percentile(quarters.inputs["voltage_unbalance_percent"], _NORMAL_PERCENTILE))


def load_factor(quarters: Quarters) -> float | None:
    """Return mean over highest power [%]."""
    return electrical.load_factor_percent(quarters.inputs["energy_kwh"] / _HOURS_PER_QUARTER)


def _ratio_to(quarters: Quarters, irradiation: str) -> float | None:
    return pv.performance_ratio(
        quarters.total("yield_kwh"), quarters.facts["peak_power_kwp"], quarters.total(irradiation)
    )
