"""The arithmetic of energy: pure functions without clock, database or network.

    samples of a meter --counters.increments---> Increments --intervals.spread--> Buckets
                       `-power.integrate_power-'            `-demand.maximum_*--> kW
    meters.meter_buckets           all of that for one meter: what an interval's row holds
    windows.window_bounds          "today" or "24h" as instants
    windows.split_by_tier          which stored intervals make up a window
    carbon.emissions_kg            energy by period and the factors valid then -> kg CO2 with coverage
    tariff.price_periods        prices of local days on the time axis; cost.energy_costs, bill.bill   what energy costs
    demand_series.DemandSeries  demand from stored intervals; demand_forecast  where the running period will end
    reconcile.counter_power_deviation   is a meter's counter what its power says?
    expressions.combine            energy of several meters -> that of a virtual one
    balance.balance                a meter and those below it -> what none of them counted
    live_balance                   both of the last, as of now and as fine as the counters' resolution allows

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
from emsd.energy.events import CounterName, CounterPair, EventKind, MeterEvent, effective
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
    local_day_edges,
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
    "CounterName",
    "CounterPair",
    "CounterPowerDeviation",
    "CounterRules",
    "Demand",
    "Emissions",
    "EnergyCurve",
    "EnergyPeriod",
    "EnergySource",
    "EventKind",
    "IncrementFlag",
    "Increments",
    "MeterBuckets",
    "MeterEvent",
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
    "effective",
    "emissions_kg",
    "energy_of",
    "factor_at",
    "factor_cuts",
    "flags_in_buckets",
    "floor_us",
    "increments",
    "integrate_power",
    "local_day_bounds",
    "local_day_edges",
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
