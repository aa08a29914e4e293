"""Energy of a scope's top meters, read for their demand: blocks, sliding windows, and the running period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.counters import CounterRules, increments
from emsd.energy.demand_forecast import MEMORY_MINUTES, Tail
from emsd.energy.demand_series import DemandSeries, block_series, sliding_series
from emsd.energy.intervals import EnergyCurve
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, FloatArray
from emsd.energy.windows import Tier
from emsd.readings import to_datetime
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.pool import Session

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
    connection: Session, meter_ids: Sequence[int], from_us: int, to_us: int, *, period_min: int
) -> DemandSeries:
    """Return the demand of the settlement periods in [from_us, to_us), which begin at from_us; import only.

    From quarter hours, or from minutes where the period is no multiple of them.
    """
    tier: Tier
    tier, width_us = ("15m", BUCKET_15M_US) if period_min % _QUARTER_MIN == 0 else ("1m", BUCKET_1M_US)
    edges_us = np.arange(from_us, to_us + 1, width_us, dtype=np.int64)
    per_block = period_min * BUCKET_1M_US // width_us
    if edges_us.size < 2 or not meter_ids:
        empty = np.array([], dtype=np.float64)
        return DemandSeries(np.array([], dtype=np.int64), empty, empty)
    energy, coverage = _columns(await read_energy(connection, meter_ids, tier, edges_us))
    return block_series(edges_us, energy, coverage, per_block)


async def read_demand_sliding(
    connection: Session, meter_ids: Sequence[int], from_us: int, to_us: int, *, period_min: int
) -> DemandSeries:
    """Return the demand of every window of a settlement period's length inside [from_us, to_us), minute by minute."""
    edges_us = np.arange(from_us, to_us + 1, BUCKET_1M_US, dtype=np.int64)
    if edges_us.size < 2 or not meter_ids:
        empty = np.array([], dtype=np.float64)
        return DemandSeries(np.array([], dtype=np.int64), empty, empty)
    energy, coverage = _columns(await read_energy(connection, meter_ids, "1m", edges_us))
    return sliding_series(edges_us, energy, coverage, period_min)


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


def summed_power_kw(running: RunningMinutes, meter_ids: Sequence[int]) -> FloatArray:
    """Return the power of several meters together, NaN in a minute in which one of them is unknown."""
    stacked: FloatArray = np.stack([running.power_kw[meter_id] for meter_id in meter_ids])
    total: FloatArray = stacked.sum(axis=0)
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


def _columns(
    found: Mapping[int, EnergySeries],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    return [each.import_kwh for each in found.values()], [each.coverage for each in found.values()]
