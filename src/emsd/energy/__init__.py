"""The arithmetic of energy: pure functions without clock, database or network.

    samples of a meter --counters.increments---> Increments --intervals.spread--> Buckets
                       `-power.integrate_power-'            `-demand.maximum_*--> kW
    meters.meter_buckets           all of that for one meter: what an interval's row holds
    windows.window_bounds          "today" or "24h" as instants
    windows.split_by_tier          which stored intervals make up a window
    carbon.emissions_kg            energy by period and the factors valid then -> kg CO2 with coverage
    reconcile.counter_power_deviation   is a meter's counter what its power says?

Arrays of times are int64 microseconds since 1970 UTC, energy is in kWh, power in kW, consumption positive. A missing
value is NaN in an array and None elsewhere, never 0, and nothing is lost without a flag: see IncrementFlag.
"""

from emsd.energy.carbon import (
    CarbonFactor,
    CarbonMethod,
    Emissions,
    EnergyPeriod,
    emissions_kg,
    factor_at,
    factor_cuts,
)
from emsd.energy.counters import CONTEXT_SAMPLES, CounterRules, increments
from emsd.energy.demand import Demand, block_demand_kw, maximum_block_demand, maximum_sliding_demand
from emsd.energy.intervals import (
    Buckets,
    EnergyCurve,
    PowerStatistics,
    flags_in_buckets,
    power_statistics,
    spread,
)
from emsd.energy.meters import EnergySource, MeterBuckets, MeterSamples, energy_of, meter_buckets
from emsd.energy.power import PowerEnergy, PowerMethod, integrate_power
from emsd.energy.reconcile import CounterPowerDeviation, counter_power_deviation
from emsd.energy.series import (
    BUCKET_1M_US,
    BUCKET_15M_US,
    US_PER_HOUR,
    US_PER_S,
    IncrementFlag,
    Increments,
    bucket_edges,
    ceil_us,
    datetime_from_us,
    datetime_to_us,
    floor_us,
    sort_unique,
)
from emsd.energy.windows import (
    WINDOW_NAMES,
    Segment,
    Tier,
    WindowName,
    local_day_bounds,
    settled_minute,
    split_by_tier,
    window_bounds,
)

__all__ = [
    "BUCKET_15M_US",
    "BUCKET_1M_US",
    "CONTEXT_SAMPLES",
    "US_PER_HOUR",
    "US_PER_S",
    "WINDOW_NAMES",
    "Buckets",
    "CarbonFactor",
    "CarbonMethod",
    "CounterPowerDeviation",
    "CounterRules",
    "Demand",
    "Emissions",
    "EnergyCurve",
    "EnergyPeriod",
    "EnergySource",
    "IncrementFlag",
    "Increments",
    "MeterBuckets",
    "MeterSamples",
    "PowerEnergy",
    "PowerMethod",
    "PowerStatistics",
    "Segment",
    "Tier",
    "WindowName",
    "block_demand_kw",
    "bucket_edges",
    "ceil_us",
    "counter_power_deviation",
    "datetime_from_us",
    "datetime_to_us",
    "emissions_kg",
    "energy_of",
    "factor_at",
    "factor_cuts",
    "flags_in_buckets",
    "floor_us",
    "increments",
    "integrate_power",
    "local_day_bounds",
    "maximum_block_demand",
    "maximum_sliding_demand",
    "meter_buckets",
    "power_statistics",
    "settled_minute",
    "sort_unique",
    "spread",
    "split_by_tier",
    "window_bounds",
]
