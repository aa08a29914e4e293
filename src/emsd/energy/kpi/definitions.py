"""The registry of key figures: name, unit, formula, source, inputs, and how a period's figure is made of sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from emsd.energy.kpi import figures
from emsd.energy.kpi.chiller import KW_PER_RT
from emsd.energy.kpi.figures import Quarters

__all__ = ["ELECTRICAL_KINDS", "KPIS", "KpiDefinition", "When", "kpis_of_kind"]

ELECTRICAL_KINDS: Final = (
    "incomer",
    "cleanroom",
    "compressor",
    "chiller",
    "process_tool",
    "pump",
    "lighting",
    "feeder",
    "other",
)


When: TypeAlias = Literal["always", "idle", "sun", "running"]


@dataclass(frozen=True, slots=True)
class KpiDefinition:
    """One key figure.

    formula, source  for people: what is computed, and who says so
    inputs, facts    what it needs of an asset; see `emsd.energy.kpi.inputs`
    compute          the figure of a period from its quarter hours, None where it has no value (nothing ran)
    when             "idle": only while production rests; "sun": without the quarter hours known to be dark; "running":
                     without those in which the machine is known to stand still
    better           which way is better, for comparisons; None where neither is
    as_counted       a plain total: what was spread over gaps counts too, and short parts of a quarter hour
    """

    name: str
    title: str
    unit: str
    formula: str
    source: str
    asset_kinds: tuple[str, ...]
    inputs: tuple[str, ...]
    compute: Callable[[Quarters], float | None]
    facts: tuple[str, ...] = ()
    when: When = "always"
    better: Literal["higher", "lower"] | None = None
    as_counted: bool = False


_COP_FORMULA: Final = "sum of cold delivered / sum of electricity; cold from water: rho V c_p (T entering - T leaving)"
_DEFINITIONS: Final = (
    KpiDefinition(
        "chiller_cop",
        "Coefficient of performance",
        "1",
        _COP_FORMULA,
        "AHRI Standard 550/590",
        ("chiller",),
        ("cooling_kwh", "energy_kwh"),
        figures.cop,
        when="running",
        better="higher",
    ),
    KpiDefinition(
        "chiller_kw_per_rt",
        "Electricity per ton of refrigeration",
        "kW/RT",
        f"{KW_PER_RT} / COP",
        "AHRI Standard 550/590; 1 RT = 12,000 Btu/h (NIST SP 811)",
        ("chiller",),
        ("cooling_kwh", "energy_kwh"),
        figures.kw_per_rt,
        when="running",
        better="lower",
    ),
    KpiDefinition(
        "compressor_specific_power",
        "Specific power",
        "kW/(Nm3/min)",
        "sum of electricity x 60 / sum of air delivered at 0 degC, 1.01325 bar",
        "ISO 1217 (specific energy requirement), related to metered normal volume",
        ("compressor",),
        ("energy_kwh", "air_nm3"),
        figures.specific_power,
        when="running",
        better="lower",
    ),
    KpiDefinition(
        "compressor_load_ratio",
        "Load ratio",
        "%",
        "100 x time under load / time running; from hour counters only from 10 counts on",
        "US DOE, Improving Compressed Air System Performance",
        ("compressor",),
        ("loaded_h", "running_h"),
        figures.load_ratio,
        better="higher",
    ),
    KpiDefinition(
        "compressor_leak",
        "Leak estimate",
        "%",
        "100 x T / (T + t) in the plant's idle times: T under load, t the rest; share of the compressor's delivery",
        "US DOE, Improving Compressed Air System Performance, leaks",
        ("compressor",),
        ("loaded_h",),
        figures.leak,
        when="idle",
        better="lower",
    ),
    KpiDefinition(
        "cleanroom_power_density",
        "Power per floor area",
        "W/m2",
        "sum of electricity / time / floor area of the asset's area",
        "mean power of the period over the area's floor area",
        ("cleanroom",),
        ("energy_kwh",),
        figures.power_density,
        ("floor_area_m2",),
        better="lower",
    ),
    KpiDefinition(
        "pv_performance_ratio",
        "Performance ratio",
        "1",
        "(sum of yield / peak power) / (sum of irradiation / 1 kW/m2)",
        "IEC 61724-1:2021",
        ("pv_inverter",),
        ("yield_kwh", "irradiation_kwh_m2"),
        figures.performance_ratio,
        ("peak_power_kwp",),
        "sun",
        "higher",
    ),
    KpiDefinition(
        "pv_performance_ratio_t25",
        "Performance ratio at 25 degC",
        "1",
        "sum of yield / (peak power x integral of G (1 + gamma (T module - 25)))",
        "IEC 61724-1:2021, 25 degC performance ratio",
        ("pv_inverter",),
        ("yield_kwh", "irradiation_t25_kwh_m2"),
        figures.corrected_ratio,
        ("peak_power_kwp",),
        "sun",
        "higher",
    ),
    KpiDefinition(
        "pv_specific_yield",
        "Specific yield",
        "kWh/kWp",
        "sum of yield / peak power",
        "IEC 61724-1:2021, final system yield",
        ("pv_inverter",),
        ("yield_kwh",),
        figures.specific_yield,
        ("peak_power_kwp",),
        better="higher",
        as_counted=True,
    ),
    KpiDefinition(
        "energy_per_piece",
        "Energy per piece",
        "kWh",
        "sum of electricity / pieces that went through, scrap included",
        "ISO 50006, energy performance indicator",
        ("process_tool",),
        ("energy_kwh", "pieces"),
        figures.energy_per_piece,
        better="lower",
    ),
    KpiDefinition(
        "piece_yield",
        "Yield",
        "%",
        "100 x good pieces / pieces that went through",
        "ISO 22400-2, quality ratio",
        ("process_tool",),
        ("pieces", "good_pieces"),
        figures.piece_yield,
        better="higher",
    ),
    KpiDefinition(
        "power_factor",
        "Power factor",
        "1",
        "kWh / sqrt(kWh2 + kvarh2), with kvarh taken and given added up",
        "mean power factor of a billing period",
        ELECTRICAL_KINDS,
        ("energy_kwh", "reactive_kvarh"),
        figures.power_factor,
        better="higher",
    ),
    KpiDefinition(
        "voltage_unbalance",
        "Voltage unbalance",
        "%",
        "the value that 95 % of the quarter hours stay below: 100 x largest deviation from the mean of three voltages"
        " / that mean",
        "NEMA MG 1, 14.36; 95 % as in EN 50160",
        ELECTRICAL_KINDS,
        ("voltage_unbalance_percent",),
        figures.unbalance,
        better="lower",
    ),
    KpiDefinition(
        "load_factor",
        "Load factor",
        "%",
        "100 x mean power / highest power of a quarter hour",
        "mean over maximum demand",
        ELECTRICAL_KINDS,
        ("energy_kwh",),
        figures.load_factor,
        better="higher",
    ),
)

KPIS: Final = MappingProxyType({each.name: each for each in _DEFINITIONS})


def kpis_of_kind(asset_kind: str) -> tuple[KpiDefinition, ...]:
    """Return the key figures of a kind of asset, in the order of the registry."""
    return tuple(each for each in _DEFINITIONS if asset_kind in each.asset_kinds)
