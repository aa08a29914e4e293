"""Chosen buckets of interval tables as arrays: energy, mean power, coverage and flags of many meters at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = ["MinuteSeries", "read_minutes", "read_quarters"]


@dataclass(frozen=True, slots=True, eq=False)
class MinuteSeries:
    """What interval_1m, or another tier, holds of one meter in k chosen buckets; NaN where nothing is known.

    import_kwh, export_kwh  float64[k] [kWh]
    estimated_kwh           float64[k] [kWh], the estimated part of both; 0 where no row is
    coverage                float64[k], 0..1; 0 where no row is
    power_avg_kw            float64[k] [kW]
    sample_count            float64[k]; 0 where no row is
    flags                   uint8[k]
    """

    import_kwh: NDArray[np.float64]
    export_kwh: NDArray[np.float64]
    estimated_kwh: NDArray[np.float64]
    coverage: NDArray[np.float64]
    power_avg_kw: NDArray[np.float64]
    sample_count: NDArray[np.float64]
    flags: NDArray[np.uint8]

    @property
    def net_kwh(self) -> NDArray[np.float64]:
        """Import less export, float64[k] [kWh]; NaN where neither is known."""
        neither = np.isnan(self.import_kwh) & np.isnan(self.export_kwh)
        return np.where(neither, np.nan, np.nan_to_num(self.import_kwh) - np.nan_to_num(self.export_kwh))


_COLUMNS: Final = (
    "energy_import_kwh",
    "energy_export_kwh",
    "estimated_import_kwh + estimated_export_kwh",
    "coverage",
    "power_avg_kw",
    "sample_count",
    "flags",
)
_METERS_PER_SLICE: Final = 100
"""Meters put into arrays before the event loop gets its turn, so that polls keep their time."""
_OF_STRETCHES: Final = 0xFF
"""Flags that stretches of energy have; those beyond concern the row."""
_EMPTY: Final = (np.nan, np.nan, 0.0, 0.0, np.nan, 0.0, 0.0)
# A stretch of minutes of one meter is a range of the primary key. OFFSET 0 keeps the planner from another way, through
# all rows of a chunk, which it takes for the better one once it plans for any arguments.
_READ_BUCKETS: Final = """
SELECT minute.meter_id, array_agg((extract(epoch FROM minute.bucket) * 1000000)::bigint) AS bucket_us, {columns}
FROM unnest($1::integer[]) AS wanted (meter_id)
CROSS JOIN unnest($2::timestamptz[], $3::timestamptz[]) AS stretch (from_time, to_time)
CROSS JOIN LATERAL (
    SELECT * FROM {{table}}
    WHERE meter_id = wanted.meter_id AND bucket >= stretch.from_time AND bucket < stretch.to_time
    OFFSET 0
) AS minute
GROUP BY minute.meter_id
""".format(columns=", ".join(f"array_agg(({name})::float8) AS c{place}" for place, name in enumerate(_COLUMNS)))  # noqa: S608 - names of columns


async def read_minutes(
    connection: Session, meter_ids: Sequence[int], minutes_us: NDArray[np.int64]
) -> dict[int, MinuteSeries]:
    """Return what is stored of every meter in the minutes that begin at `minutes_us`, int64[k], ascending."""
    return await _read(connection, "interval_1m", BUCKET_1M_US, meter_ids, minutes_us)


async def read_quarters(
    connection: Session, meter_ids: Sequence[int], quarters_us: NDArray[np.int64]
) -> dict[int, MinuteSeries]:
    """Return the same of quarter hours that begin at `quarters_us`, int64[k], ascending."""
    return await _read(connection, "interval_15m", BUCKET_15M_US, meter_ids, quarters_us)


async def _read(
    connection: Session, table: str, width_us: int, meter_ids: Sequence[int], begins_us: NDArray[np.int64]
) -> dict[int, MinuteSeries]:
    steps = np.flatnonzero(np.diff(begins_us) > width_us) + 1
    bounds = [0, *steps.tolist(), begins_us.size]
    begins = [to_datetime(int(begins_us[first])) for first in bounds[:-1]]
    ends = [to_datetime(int(begins_us[last - 1]) + width_us) for last in bounds[1:]]
    rows = await connection.fetch(_READ_BUCKETS.format(table=table), list(meter_ids), begins, ends)
    found = {row["meter_id"]: row for row in rows}
    series: dict[int, MinuteSeries] = {}
    for place, meter_id in enumerate(meter_ids, start=1):
        series[meter_id] = _series(found.get(meter_id), begins_us)
        if place % _METERS_PER_SLICE == 0:
            await asyncio.sleep(0)
    return series


def _series(row: asyncpg.Record | None, begins_us: NDArray[np.int64]) -> MinuteSeries:
    columns = [np.full(begins_us.size, empty) for empty in _EMPTY]
    if row is not None:
        places = np.searchsorted(begins_us, np.array(row["bucket_us"], dtype=np.int64))
        for number, column in enumerate(columns):
            column[places] = np.array(row[f"c{number}"], dtype=np.float64)
    taken, given, estimated, coverage, power, count, flags = columns
    return MinuteSeries(
        taken, given, estimated, coverage, power, count, (flags.astype(np.int64) & _OF_STRETCHES).astype(np.uint8)
    )
