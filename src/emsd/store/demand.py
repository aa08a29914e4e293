"""Energy of a scope's top meters, read for their demand: blocks, sliding windows, and the running period."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from emsd.energy.counters import CounterRules, increments
from emsd.energy.demand_forecast import MEMORY_MINUTES, Tail
from emsd.energy.demand_series import DemandSeries, sliding_series
from emsd.energy.intervals import EnergyCurve
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, US_PER_HOUR, FloatArray
from emsd.readings import to_datetime
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.pool import Session
from emsd.store.summed_energy import meter_column, portions

__all__ = [
    "RunningMinutes",
    "minute_power_kw",
    "read_demand_blocks",
    "read_demand_sliding",
    "read_running_minutes",
    "read_tail",
    "summed_power_kw",
]

_QUARTER_MIN: Final = 15
_NEEDED_SHARE: Final = 0.5
"""A minute counts as known when this share of it is covered: readings of a slow meter do not fill every one."""

_MINUTES_AT_ONCE: Final = 500_000
"""Minutes, of all meters together, that are in memory at once: 20 MB of arrays."""

_READ_BLOCKS: Final = """
SELECT block, sum(kwh) AS kwh, count(*) FILTER (WHERE meter_id <> ALL($6::integer[])) AS meters,
    min(covered) FILTER (WHERE meter_id <> ALL($6::integer[])) AS covered
FROM ({of_meter}) AS of_meter GROUP BY block"""
_BLOCK: Final = "((extract(epoch FROM bucket) * 1000000)::bigint - $4::bigint) / $5::bigint AS block"
_OF_METERS: Final = "FROM {table} WHERE {meter_id} = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3"
_ONE_A_BLOCK: Final = f"SELECT meter_id, {_BLOCK}, energy_import_kwh AS kwh, coverage::float8 AS covered {_OF_METERS}"
_SEVERAL_A_BLOCK: Final = f"""
SELECT meter_id, {_BLOCK}, sum(energy_import_kwh) AS kwh, sum(coverage::float8) AS covered {_OF_METERS}
GROUP BY meter_id, block"""

# The counter just before the tail begins, and everything since.
_READ_TAIL: Final = """
SELECT meter_id, array_agg((extract(epoch FROM time) * 1000000)::bigint ORDER BY time) AS time_us,
    array_agg(energy_import_kwh ORDER BY time) AS import_kwh
FROM reading
WHERE meter_id = ANY($1::integer[]) AND time >= $2 AND time < $3 AND energy_import_kwh IS NOT NULL
GROUP BY meter_id"""


@dataclass(frozen=True, slots=True)
class RunningMinutes:
    """Mean power of successive minutes up to an instant, of each meter: float64[n] [kW], NaN where unknown."""

    settled_us: int
    power_kw: Mapping[int, FloatArray]


async def read_demand_blocks(
    connection: Session,
    meter_ids: Sequence[int],
    from_us: int,
    to_us: int,
    *,
    period_min: int,
    resting: Collection[int] = (),
) -> DemandSeries:
    """Return the demand of the settlement periods in [from_us, to_us), which begin at from_us; import only.

    From quarter hours, or from minutes where the period is no multiple of them; added up by the database, so that a
    year of many meters takes the memory of one. A period that does not end in the range is left out. Of the meters
    that are resting (`ScopeMeters.resting`) nothing need be known, where there are others.
    """
    width_us = BUCKET_15M_US if period_min % _QUARTER_MIN == 0 else BUCKET_1M_US
    period_us = period_min * BUCKET_1M_US
    per_block = period_us // width_us
    count = max(0, (to_us - from_us) // period_us) if meter_ids else 0
    needed = len(set(meter_ids).difference(resting)) or len(meter_ids)
    resting = list(resting) if needed < len(meter_ids) else []
    begin_us = from_us + np.arange(count, dtype=np.int64) * period_us
    energy_kwh, coverage = np.full(count, np.nan), np.zeros(count)
    table = "interval_15m" if width_us == BUCKET_15M_US else "interval_1m"
    of_meter = _ONE_A_BLOCK if per_block == 1 else _SEVERAL_A_BLOCK
    query = _READ_BLOCKS.format(
        of_meter=of_meter.format(table=table, meter_id=await meter_column(connection, meter_ids))
    )
    for part in portions(len(meter_ids) * per_block, count):
        bounds = to_datetime(from_us + part.start * period_us), to_datetime(from_us + part.stop * period_us)
        rows = await connection.fetch(query, list(meter_ids), *bounds, from_us, period_us, resting)
        places = [row["block"] for row in rows]
        energy_kwh[places] = np.array([row["kwh"] for row in rows], dtype=np.float64)
        # A meter without any row is not covered at all.
        coverage[places] = [row["covered"] / per_block if row["meters"] == needed else 0.0 for row in rows]
    # What is stored as real is a rounded share of 1: 0.9 must stay 0.9.
    return DemandSeries(begin_us, energy_kwh * (US_PER_HOUR / period_us), np.round(coverage, 6))


async def read_demand_sliding(
    connection: Session,
    meter_ids: Sequence[int],
    from_us: int,
    to_us: int,
    *,
    period_min: int,
    resting: Collection[int] = (),
) -> DemandSeries:
    """Return the demand of every window of a settlement period's length inside [from_us, to_us), minute by minute."""
    edges_us = np.arange(from_us, to_us + 1, BUCKET_1M_US, dtype=np.int64)
    found = DemandSeries(edges_us[:0], np.array([]), np.array([]))
    at_once = max(1, _MINUTES_AT_ONCE // edges_us.size)
    resting = resting if set(meter_ids).difference(resting) else ()
    for first in range(0, len(meter_ids) if edges_us.size > 1 else 0, at_once):
        series = await read_energy(connection, meter_ids[first : first + at_once], "1m", edges_us)
        energy = [each.import_kwh for each in series.values()]
        coverage = [np.ones_like(own.coverage) if each in resting else own.coverage for each, own in series.items()]
        part = await asyncio.to_thread(sliding_series, edges_us, energy, coverage, period_min)
        found = found.with_more(part) if first else part
    return found


async def read_running_minutes(
    connection: Session, meter_ids: Sequence[int], settled_us: int, *, minutes: int = MEMORY_MINUTES
) -> RunningMinutes:
    """Return the mean power of each meter in the minutes before `settled_us`, a full minute."""
    edges_us = np.arange(settled_us - minutes * BUCKET_1M_US, settled_us + 1, BUCKET_1M_US, dtype=np.int64)
    found = await read_energy(connection, meter_ids, "1m", edges_us) if meter_ids else {}
    return RunningMinutes(settled_us, {meter_id: minute_power_kw(series) for meter_id, series in found.items()})


def minute_power_kw(series: EnergySeries) -> FloatArray:
    """Return the mean power drawn in each minute of a series, float64[n] [kW], NaN where too little is known."""
    return np.where(series.coverage >= _NEEDED_SHARE, series.import_kwh * 60, np.nan)


def summed_power_kw(running: RunningMinutes, meter_ids: Sequence[int], *, resting: Collection[int] = ()) -> FloatArray:
    """Return the power of several meters together, NaN in a minute in which one that is not resting is unknown."""
    columns = (running.power_kw[each] for each in meter_ids if each not in resting)
    total: FloatArray = np.sum(list(columns), axis=0)
    for each in resting:
        total = total + np.nan_to_num(running.power_kw[each])
    return total


async def read_tail(
    connection: Session, max_gap_s: Mapping[int, float], settled_us: int, begin_us: int, now_us: int
) -> Tail | None:
    """Return what some meters have drawn since the last settled minute, as far as all of them have reported.

    max_gap_s   longest gap that counts as measured [s], by meter
    begin_us    when the running period began [us]

    None when one of them has no counter, or has not reported since.
    """
    rows = await connection.fetch(
        _READ_TAIL, list(max_gap_s), to_datetime(settled_us - BUCKET_1M_US), to_datetime(now_us)
    )
    curves: list[EnergyCurve] = []
    until_us = now_us
    for row in rows:
        time_us = np.array(row["time_us"], dtype=np.int64)
        counter = np.array(row["import_kwh"], dtype=np.float64)
        curves.append(EnergyCurve(increments(time_us, counter, CounterRules(max_gap_s=max_gap_s[row["meter_id"]]))))
        until_us = min(until_us, int(time_us[-1]))
    if len(curves) < len(max_gap_s) or until_us <= max(settled_us, begin_us):
        return None
    begins = np.array([settled_us, max(settled_us, begin_us)], dtype=np.int64)
    ends = np.array([until_us, until_us], dtype=np.int64)
    energy_kwh = np.sum([curve.between(begins, ends).energy_kwh for curve in curves], axis=0)
    if not np.isfinite(energy_kwh).all():
        return None
    return Tail(until_us, float(energy_kwh[0]), float(energy_kwh[1]))
