"""Derives the residual of every bus, and how far every meter's counter is from its power.

Set by set from interval_1m, not from raw readings: for a thousand meters that is one query of 60,000 rows a minute
instead of one of millions, and the counter's faults are judged there already. A minute's energy by counter stands
beside the mean of its power samples; over minutes that are measured as a whole their sums may be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.balance import BusEnergy, balance
from emsd.energy.live_balance import CounterAndPower, live_deviation_percent, live_residual
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, floor_us
from emsd.plant.derived import (
    COUNTER_POWER_DEVIATION,
    RESIDUAL_QUANTITIES,
    children_of_buses,
    derived_meter_id,
    derived_quantities,
)
from emsd.plant.expression import factors_of
from emsd.plant.loader import LoadedPlant
from emsd.plant.profile import ENERGY_COUNTERS
from emsd.readings import Quality, Reading, columns
from emsd.store.bucket_series import MinuteSeries, read_minutes, read_quarters
from emsd.store.pool import Session

__all__ = ["derive_balance"]

_MINUTES: Final = 60
_MINUTE_WINDOWS: Final = (15, 60)
_QUARTER_WINDOWS: Final = (16, 96)
"""Quarter hours: meters whose count is too coarse for an hour are judged over four hours, or a day."""
_FULL_COVERAGE: Final = 0.999
_METERS_PER_SLICE: Final = 50
"""Meters judged before the event loop gets its turn, so that polls keep their time."""

_RESIDUAL: Final = columns(*RESIDUAL_QUANTITIES)
_DEVIATION: Final = columns(COUNTER_POWER_DEVIATION)


async def derive_balance(
    connection: Session, settled_us: int, loaded: LoadedPlant, meter_ids: Mapping[str, int]
) -> Sequence[Reading]:
    """Return residuals and deviations at the end of the settled minute; see `emsd.service.deriving.Deriver`."""
    plant = loaded.plant
    buses = children_of_buses(plant.meters, plant.virtual_meters, loaded.profiles)
    having = derived_quantities(plant.meters, plant.virtual_meters, loaded.profiles)
    compared = [key for key, names in having.items() if COUNTER_POWER_DEVIATION in names]
    minutes_us = np.arange(settled_us - _MINUTES * BUCKET_1M_US, settled_us, BUCKET_1M_US, dtype=np.int64)
    keys = sorted({*buses, *(child for below in buses.values() for child in below), *compared} & having.keys())
    stored = await read_minutes(connection, [meter_ids[key] for key in keys], minutes_us)
    series = {key: stored[meter_ids[key]] for key in keys}
    readings = []
    for bus, children in buses.items():
        if bus in series:
            readings.append(_residual(loaded, bus, children, series, settled_us, meter_ids))
            await asyncio.sleep(0)  # polls keep their time
    found = await _deviations(loaded, compared, series, BUCKET_1M_US, _MINUTE_WINDOWS)
    left = [key for key, percent in found.items() if percent is None]
    if left:
        until_us = floor_us(settled_us, BUCKET_15M_US)
        quarters_us = np.arange(
            until_us - _QUARTER_WINDOWS[-1] * BUCKET_15M_US, until_us, BUCKET_15M_US, dtype=np.int64
        )
        longer = await read_quarters(connection, [meter_ids[key] for key in left], quarters_us)
        by_key = {key: longer[meter_ids[key]] for key in left}
        found |= await _deviations(loaded, left, by_key, BUCKET_15M_US, _QUARTER_WINDOWS)
    for key, percent in found.items():
        quality = Quality.GOOD if percent is not None else Quality.NOT_AVAILABLE
        readings.append(Reading(settled_us, derived_meter_id(meter_ids[key]), _DEVIATION, (percent,), int(quality)))
    return readings


def _residual(
    loaded: LoadedPlant,
    bus: str,
    children: Sequence[str],
    series: Mapping[str, MinuteSeries],
    settled_us: int,
    meter_ids: Mapping[str, int],
) -> Reading:
    members = (bus, *children)
    live = live_residual(
        balance(_bus_energy(series[bus]), {child: _bus_energy(series[child]) for child in children}),
        count_kwh=sum(_of_inputs(loaded, key, _count_kwh, sum) for key in members),
        slowest_poll_s=max(_of_inputs(loaded, key, _poll_interval_s, max) for key in members),
        width_us=BUCKET_1M_US,
    )
    values = (None, None) if live is None else (live.residual_kw, live.residual_percent)
    quality = Quality.MISSING if live is None else Quality.GOOD
    return Reading(settled_us, derived_meter_id(meter_ids[bus]), _RESIDUAL, values, int(quality))


def _bus_energy(series: MinuteSeries) -> BusEnergy:
    return BusEnergy(series.import_kwh, series.export_kwh, series.estimated_kwh, series.coverage)


async def _deviations(
    loaded: LoadedPlant, keys: Sequence[str], series: Mapping[str, MinuteSeries], width_us: int, lengths: Sequence[int]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for place, key in enumerate(keys, start=1):
        found[key] = _deviation(loaded, key, series[key], width_us, lengths)
        if place % _METERS_PER_SLICE == 0:
            await asyncio.sleep(0)
    return found


def _deviation(
    loaded: LoadedPlant, key: str, series: MinuteSeries, width_us: int, lengths: Sequence[int]
) -> float | None:
    comparable: NDArray[np.bool_] = (
        (series.coverage >= _FULL_COVERAGE) & (series.flags == 0) & (series.estimated_kwh == 0)
    )
    return live_deviation_percent(
        CounterAndPower(series.import_kwh, series.export_kwh, series.power_avg_kw, comparable, series.sample_count),
        count_kwh=_count_kwh(loaded, key, 1.0),
        width_us=width_us,
        lengths=lengths,
    )


def _of_inputs(
    loaded: LoadedPlant,
    key: str,
    of_meter: Callable[[LoadedPlant, str, float], float],
    together: Callable[[list[float]], float],
    factor: float = 1.0,
) -> float:
    """Return a figure of a meter; of a virtual one that of its inputs together."""
    virtual = loaded.virtual_meters_by_key.get(key)
    if virtual is None:
        return of_meter(loaded, key, factor)
    inputs = factors_of(virtual.expression).items()
    return together([_of_inputs(loaded, each, of_meter, together, factor * abs(inner)) for each, inner in inputs])


def _count_kwh(loaded: LoadedPlant, key: str, factor: float) -> float:
    profile = loaded.profile_of(loaded.meters_by_key[key])
    counts = [profile.counter_count(name) or 0.0 for name in ENERGY_COUNTERS if name in profile.quantities]
    return factor * max(counts, default=0.0)


def _poll_interval_s(loaded: LoadedPlant, key: str, _factor: float) -> float:
    return loaded.meters_by_key[key].poll_interval_s
