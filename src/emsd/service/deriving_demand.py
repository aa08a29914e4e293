"""Demand of the running settlement period against the contract, minute by minute, as values that alarms can watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from emsd.energy.demand import TRUSTED_COVERAGE
from emsd.energy.demand_forecast import MEMORY_MINUTES, DemandForecast, block_begin_us, forecast_from_minutes
from emsd.energy.series import BUCKET_1M_US, FloatArray
from emsd.plant.derived import DEMAND_QUANTITIES, derived_meter_id
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import AssetKind, ThresholdAlarm
from emsd.readings import Quality, Reading, columns, to_datetime
from emsd.store.demand import read_running_minutes, summed_power_kw
from emsd.store.pool import Session

__all__ = ["derive_demand", "watched_keys"]

_COLUMNS: Final = columns(*DEMAND_QUANTITIES)


async def derive_demand(
    connection: Session, settled_us: int, loaded: LoadedPlant, meter_ids: Mapping[str, int]
) -> Sequence[Reading]:
    """Return the demand of the meters that are watched, at the end of a minute; a Deriver.

    demand_kw           mean power over the last settlement period; at its end that is the period's demand
    demand_forecast_kw  of the running period, if the mean power of the last minutes goes on
    demand_headroom_kw  mean power that the site may still draw in the rest without exceeding the contract
    demand_minutes_left until the contract's energy of the period is used up at the present power of the site; the
                        period's length when that is not before it ends

    The last two are those of the site, whichever of its top meters they are read from; other meters have none.
    """
    site = loaded.plant.site
    top = [key for key in _top_keys(loaded) if key in meter_ids]
    watched = [key for key in watched_keys(loaded) if key in meter_ids]
    ids = sorted({meter_ids[key] for key in (*top, *watched)})
    running = await read_running_minutes(connection, ids, settled_us, minutes=MEMORY_MINUTES)
    period_min = site.demand_period_minutes
    begin_us = block_begin_us(settled_us, period_min * BUCKET_1M_US, site.zone)
    contract_kw = site.contract_demand_at(to_datetime(begin_us).astimezone(site.zone).date())

    def forecast(minute_kw: FloatArray) -> DemandForecast | None:
        return forecast_from_minutes(minute_kw, settled_us, begin_us, period_min=period_min, contract_kw=contract_kw)

    resting = {meter_ids[key] for key in top if key in _resting_keys(loaded)}
    whole = forecast(summed_power_kw(running, [meter_ids[key] for key in top], resting=resting)) if top else None
    found = []
    for key in watched:
        minute_kw = running.power_kw[meter_ids[key]]
        own = forecast(minute_kw)
        of_site = whole if key in top else None
        values = (
            _mean_kw(minute_kw[-period_min:]),
            None if own is None else own.forecast_kw,
            None if of_site is None else of_site.headroom_kw,
            None if of_site is None else of_site.minutes_left,
        )
        quality = Quality.GOOD if None not in values[:2] else Quality.MISSING
        found.append(Reading(settled_us, derived_meter_id(meter_ids[key]), _COLUMNS, values, quality))
    return found


def watched_keys(loaded: LoadedPlant) -> list[str]:
    """Return the keys of the meters whose demand is derived: the site's top meters, and those that an alarm names."""
    alarmed = (
        meter.key
        for alarm in loaded.plant.alarms
        if isinstance(alarm, ThresholdAlarm) and alarm.quantity in DEMAND_QUANTITIES
        for meter in loaded.meters_of_alarm(alarm)
    )
    return list(dict.fromkeys((*_top_keys(loaded), *alarmed)))


def _top_keys(loaded: LoadedPlant) -> list[str]:
    """Keys of the energy meters that have no other upstream."""
    return [meter.key for meter in loaded.plant.meters if meter.parent is None and loaded.measures_energy(meter)]


def _resting_keys(loaded: LoadedPlant) -> set[str]:
    """Keys of the top meters of which nothing need be known: inverters that sleep by night, where there are others."""
    inverters = {asset.key for asset in loaded.plant.assets if asset.kind is AssetKind.PV_INVERTER}
    top = set(_top_keys(loaded))
    resting = {meter.key for meter in loaded.plant.meters if meter.key in top and meter.asset in inverters}
    return resting if len(resting) < len(top) else set()


def _mean_kw(minute_kw: FloatArray) -> float | None:
    known = np.isfinite(minute_kw)
    return float(minute_kw[known].mean()) if minute_kw.size and known.mean() >= TRUSTED_COVERAGE else None
