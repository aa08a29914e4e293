"""What key figures are computed from: the inputs of an asset by the quarter hour, and how meters can give them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["INPUTS", "STORED_INPUTS", "InputKind", "Method", "Offer"]


class Method(StrEnum):
    """How an input comes from quantities of meters."""

    INTERVALS = "intervals"
    """Energy of the interval tables: import less export."""
    YIELD = "yield"
    """Energy of the interval tables: export."""
    COUNTER = "counter"
    """Increments of a counter, by the rules of energy counters."""
    COUNTERS = "counters"
    """The sum of the increments of several counters."""
    INTEGRAL = "integral"
    """Integral of a gauge over time."""
    WATER = "water"
    """Integral of flow times temperature difference times density and heat capacity, at the samples."""
    CORRECTED_SUN = "corrected_sun"
    """Integral of irradiance corrected to 25 degC of the module, at the samples."""
    LOADED_STATES = "loaded_states"
    """Time in the run state `loaded`."""
    RUNNING_STATES = "running_states"
    """Time in the run states `running`, `loaded` and `unloaded`."""
    LOADED_POWER = "loaded_power"
    """Time with the power above `loaded_above_kw`."""
    RUNNING_POWER = "running_power"
    """Time with the power above `running_above_kw`."""
    UNBALANCE = "unbalance"
    """NEMA unbalance of the mean voltages of the quarter hour."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to an input: all of `quantities` are needed, `scale` makes the result's unit of theirs.

    facts  facts of the asset that it needs
    """

    method: Method
    quantities: tuple[str, ...]
    scale: float = 1.0
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputKind:
    """An input: its name with its unit, what it is, and the ways to it, the best first.

    stored  kept by the quarter hour as a column of table asset_15m; the others are in the interval tables
    of_site instruments of the site's weather stations give it too
    """

    name: str
    title: str
    offers: tuple[Offer, ...]
    stored: bool = True
    of_site: bool = False


_ENERGY: Final = ("energy_import_kwh", "energy_export_kwh")
_KW_PER_W: Final = 1e-3

_KINDS: Final = (
    InputKind("energy_kwh", "Electricity used", (Offer(Method.INTERVALS, _ENERGY),), stored=False),
    InputKind("yield_kwh", "Electricity generated", (Offer(Method.YIELD, _ENERGY),), stored=False),
    InputKind(
        "cooling_kwh",
        "Cold delivered",
        (
            Offer(Method.COUNTER, ("cooling_energy_kwh",)),
            Offer(Method.INTEGRAL, ("thermal_power_kw",)),
            Offer(
                Method.WATER,
                (
                    "water_flow_m3h",
                    "chilled_water_entering_temperature_c",
                    "chilled_water_leaving_temperature_c",
                ),
            ),
            Offer(Method.WATER, ("water_flow_m3h", "return_temperature_c", "supply_temperature_c")),
        ),
    ),
    InputKind(
        "air_nm3",
        "Compressed air delivered",
        (Offer(Method.COUNTER, ("air_volume_nm3",)), Offer(Method.INTEGRAL, ("air_flow_nm3h",))),
    ),
    InputKind(
        "loaded_h",
        "Time under load",
        (
            Offer(Method.LOADED_STATES, ("run_state",)),
            Offer(Method.LOADED_POWER, ("active_power_kw",), facts=("loaded_above_kw",)),
            Offer(Method.COUNTER, ("loaded_hours_h",)),
        ),
    ),
    InputKind(
        "running_h",
        "Time running",
        (
            Offer(Method.RUNNING_STATES, ("run_state",)),
            Offer(Method.RUNNING_POWER, ("active_power_kw",), facts=("running_above_kw",)),
            Offer(Method.COUNTER, ("running_hours_h",)),
        ),
    ),
    InputKind(
        "irradiation_kwh_m2",
        "Irradiation in the plane of the array",
        (
            Offer(Method.INTEGRAL, ("irradiance_poa_w_m2",), _KW_PER_W),
            Offer(Method.INTEGRAL, ("irradiance_w_m2",), _KW_PER_W),
        ),
        of_site=True,
    ),
    InputKind(
        "irradiation_t25_kwh_m2",
        "Irradiation corrected to 25 degC of the modules",
        (
            Offer(
                Method.CORRECTED_SUN,
                ("irradiance_poa_w_m2", "module_temperature_c"),
                _KW_PER_W,
                ("temperature_coefficient_per_k",),
            ),
            Offer(
                Method.CORRECTED_SUN,
                ("irradiance_w_m2", "module_temperature_c"),
                _KW_PER_W,
                ("temperature_coefficient_per_k",),
            ),
        ),
        of_site=True,
    ),
    InputKind(
        "reactive_kvarh",
        "Reactive energy, taken and given",
        (
            Offer(Method.COUNTERS, ("reactive_energy_import_kvarh", "reactive_energy_export_kvarh")),
            Offer(Method.COUNTERS, ("reactive_energy_import_kvarh",)),
        ),
    ),
    InputKind(
        "voltage_unbalance_percent",
        "Voltage unbalance of the quarter hour",
        (
            Offer(Method.UNBALANCE, ("voltage_l1_l2_v", "voltage_l2_l3_v", "voltage_l3_l1_v")),
            Offer(Method.UNBALANCE, ("voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v")),
        ),
    ),
    InputKind("pieces", "Pieces that went through", (Offer(Method.COUNTER, ("pieces_count",)),)),
    InputKind("good_pieces", "Good pieces", (Offer(Method.COUNTER, ("good_pieces_count",)),)),
)

INPUTS: Final = MappingProxyType({each.name: each for each in _KINDS})
STORED_INPUTS: Final = tuple(each.name for each in _KINDS if each.stored)
"""Columns of table asset_15m, each with a column `<name>_coverage` beside it; a test holds the two together."""
