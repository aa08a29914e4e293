"""Energy of meters together, added up by the database: one row a bucket comes of it, however many the meters are.

A year of quarter hours of a thousand meters is 35 million rows; as arrays of every meter they would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import numpy as np

from emsd.energy.series import FloatArray, TimeArray
from emsd.energy.windows import Tier
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["SummedEnergy", "meter_column", "portions", "read_summed", "read_summed_minutes"]

_ROWS_AT_ONCE: Final = 2_000_000
"""Rows that one statement adds up: a second or two, so that nobody waits for its connection for long."""
_FEWEST_BUCKETS: Final = 96

_TABLES: Final = {"1m": "interval_1m", "15m": "interval_15m", "1d": "interval_1d"}
_SUMS: Final = """
SELECT (extract(epoch FROM bucket) * 1000000)::bigint AS at_us, sum(energy_import_kwh) AS import_kwh,
    sum(energy_export_kwh) AS export_kwh,
    sum(coalesce(energy_import_kwh, 0) - coalesce(energy_export_kwh, 0))
        FILTER (WHERE energy_import_kwh IS NOT NULL OR energy_export_kwh IS NOT NULL) AS net_kwh,
    sum(estimated_import_kwh + estimated_export_kwh) AS estimated_kwh, sum(coverage::float8) AS coverage
FROM {table} WHERE {meter_id} = ANY($1::integer[]) AND {when} GROUP BY bucket"""
_SHARE: Final = "SELECT $1 > 0.25 * count(*) FROM meter WHERE measures_energy AND kind <> 'derived'"
_IN_RANGE: Final = "bucket >= $2 AND bucket < $3"
_AMONG: Final = "bucket = ANY($2::timestamptz[])"


@dataclass(frozen=True, slots=True, eq=False)
class SummedEnergy:
    """Energy of some meters together in k buckets; NaN where nothing is known of any of them.

    begin_us                int64[k] [us]
    import_kwh, export_kwh  float64[k] [kWh], of those of which it is known
    net_kwh                 float64[k] [kWh], import less export of those of which either is known
    estimated_kwh           float64[k] [kWh], the estimated part of import and export
    coverage                float64[k], 0..1, mean over the meters
    """

    begin_us: TimeArray
    import_kwh: FloatArray
    export_kwh: FloatArray
    net_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray


async def read_summed(connection: Session, meter_ids: Sequence[int], tier: Tier, edges_us: TimeArray) -> SummedEnergy:
    """Return the energy of some meters together in the buckets of a tier between k + 1 ascending edges [us]."""
    begin_us = edges_us[:-1]
    found = _nothing(begin_us)
    query = _SUMS.format(table=_TABLES[tier], when=_IN_RANGE, meter_id=await meter_column(connection, meter_ids))
    for part in portions(len(meter_ids), begin_us.size):
        bounds = to_datetime(int(edges_us[part.start])), to_datetime(int(edges_us[part.stop]))
        _fill(found, await connection.fetch(query, list(meter_ids), *bounds))
    return _of_meters(found, len(meter_ids))


async def read_summed_minutes(connection: Session, meter_ids: Sequence[int], minute_us: TimeArray) -> SummedEnergy:
    """Return the same of the minutes that begin at `minute_us`, int64[k] [us], ascending."""
    found = _nothing(minute_us)
    query = _SUMS.format(table=_TABLES["1m"], when=_AMONG, meter_id="meter_id")
    for part in portions(len(meter_ids), minute_us.size):
        chosen = [to_datetime(each) for each in minute_us[part].tolist()]
        _fill(found, await connection.fetch(query, list(meter_ids), chosen))
    return _of_meters(found, len(meter_ids))


async def meter_column(connection: Session, meter_ids: Sequence[int]) -> str:
    """Return how to write meter_id in a condition on interval tables that is to find these meters.

    As it is, the primary key finds the rows of each: right for a few. With "+ 0" no index on it applies, and the rows
    of all meters, which lie side by side, are read: four times faster for most of them. The planner does not see that.
    """
    return "(meter_id + 0)" if await connection.fetchval(_SHARE, float(len(meter_ids))) else "meter_id"


def portions(meters: int, buckets: int) -> Iterator[slice]:
    """Yield slices of the buckets that one statement may read of so many meters."""
    size = max(_FEWEST_BUCKETS, _ROWS_AT_ONCE // max(1, meters))
    for first in range(0, buckets if meters else 0, size):
        yield slice(first, min(first + size, buckets))


def _nothing(begin_us: TimeArray) -> SummedEnergy:
    imported, exported, net = (np.full(begin_us.size, np.nan) for _ in range(3))
    return SummedEnergy(begin_us, imported, exported, net, np.zeros(begin_us.size), np.zeros(begin_us.size))


def _fill(found: SummedEnergy, rows: Sequence[asyncpg.Record]) -> None:
    if not rows:
        return
    places = np.searchsorted(found.begin_us, np.array([row["at_us"] for row in rows], dtype=np.int64))
    for name in ("import_kwh", "export_kwh", "net_kwh", "estimated_kwh", "coverage"):
        getattr(found, name)[places] = np.array([row[name] for row in rows], dtype=np.float64)


def _of_meters(found: SummedEnergy, meters: int) -> SummedEnergy:
    if meters:
        np.divide(found.coverage, meters, out=found.coverage)
    return found
