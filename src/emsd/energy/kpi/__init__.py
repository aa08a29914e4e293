"""Key figures of equipment, baselines of energy performance, and the footprint of products; pure arithmetic.

signals       samples of gauges and counters -> amounts by the quarter hour, with coverage
inputs        which amounts there are, and from which quantities they can come
chiller, compressor, cleanroom, pv, electrical   the formulas, with their sources
figures       which sums go into which formula
definitions   the registry: what each key figure is made of
periods       amounts of many quarter hours -> the figure of a period, or the reason why there is none
performance   baselines and savings
footprint     energy and emissions of stages -> products
"""

from emsd.energy.kpi.definitions import KPIS, KpiDefinition, kpis_of_kind
from emsd.energy.kpi.figures import Quarters
from emsd.energy.kpi.inputs import INPUTS, STORED_INPUTS, InputKind, Method, Offer
from emsd.energy.kpi.periods import STANDSTILL_SHARE, InputSeries, KpiValue, kpi_value
from emsd.energy.kpi.signals import Parts, Signal, count, integrate

__all__ = [
    "INPUTS",
    "KPIS",
    "STANDSTILL_SHARE",
    "STORED_INPUTS",
    "InputKind",
    "InputSeries",
    "KpiDefinition",
    "KpiValue",
    "Method",
    "Offer",
    "Parts",
    "Quarters",
    "Signal",
    "count",
    "integrate",
    "kpi_value",
    "kpis_of_kind",
]
