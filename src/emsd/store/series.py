"""Time series for people: the newest values, downsampled readings, and intervals.

Names of columns come from the vocabulary and names of tables from the map below, never from a request; everything
that a caller sends travels as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, overload

import asyncpg
import numpy as np

from emsd.energy.windows import Tier
from emsd.quantities import QUANTITIES, Kind, Quantity
from emsd.store.pool import Pool, session
from emsd.store.reads import READ_TIMEOUT_S, snapshot

__all__ = ["IntervalRow", "LatestRow", "SeriesPoint", "read_intervals", "read_latest", "read_series"]

_LOOK_BACK: Final = timedelta(days=31)
# A report by exception spreads one poll's worth of values over as many rows as it has topics; this many are merged.
_ROWS_MERGED: Final = 24


@overload
def _decimal(value: float) -> float: ...
@overload
def _decimal(value: None) -> None: ...
def _decimal(value: float | None) -> float | None:
    """Return the shortest decimal that is the same real: 412.3 and not 412.29998779296875."""
    return None if value is None else float(str(np.float32(value)))


@dataclass(frozen=True, slots=True)
class LatestRow:
    """The newest value of one quantity of one meter, in the quantity's unit, and the quality of its reading."""

    meter_id: int
    quantity: Quantity
    value: float
    time: datetime
    quality: int


# Unpivoting in the database keeps the answer at one small row a value, however wide the table.
_LATEST: Final = """
SELECT DISTINCT ON (wanted.meter_id, cell.n) wanted.meter_id, cell.n, cell.value, newest.time, newest.quality
FROM unnest($1::integer[]) AS wanted (meter_id)
CROSS JOIN LATERAL (
    SELECT time, quality, ARRAY[{columns}]::float8[] AS cells FROM reading
     WHERE meter_id = wanted.meter_id AND time > $2 ORDER BY time DESC LIMIT {rows}
) AS newest
CROSS JOIN LATERAL unnest(newest.cells) WITH ORDINALITY AS cell (value, n)
WHERE cell.value IS NOT NULL
ORDER BY wanted.meter_id, cell.n, newest.time DESC
""".format(columns=", ".join(each.name for each in QUANTITIES), rows=_ROWS_MERGED)  # noqa: S608 - names of the vocabulary and a constant


async def read_latest(pool: Pool, meter_ids: Sequence[int], now: datetime) -> list[LatestRow]:
    """Return the newest known value of every quantity, by meter and in the order of the vocabulary.

    The last 24 readings of a meter within 31 days are merged, since one reading need not hold every quantity.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the newest values", timeout_s=READ_TIMEOUT_S) as connection:
        rows = await connection.fetch(_LATEST, meter_ids, now - _LOOK_BACK)
    latest = []
    for row in rows:
        quantity, value = QUANTITIES[row["n"] - 1], row["value"]
        if quantity.kind is Kind.GAUGE:
            value = _decimal(value)
        latest.append(LatestRow(row["meter_id"], quantity, value, row["time"], row["quality"]))
    return latest


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One bucket of one quantity: (minimum, mean, maximum) of a gauge, the last value of a counter; in its unit."""

    time: datetime
    minimum: float | None = None
    mean: float | None = None
    maximum: float | None = None
    last: float | None = None


async def read_series(
    pool: Pool,
    meter_id: int,
    quantities: Sequence[Quantity],
    from_: datetime,
    to: datetime,
    *,
    bucket: timedelta,
) -> Mapping[str, list[SeriesPoint]]:
    """Return readings in [from_, to) downsampled to one point a bucket; buckets without a value are absent.

    Buckets begin at `from_`, so that the first one is whole.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    chosen = ", ".join(_aggregates(each) for each in quantities)
    query = (
        f"SELECT time_bucket($4::interval, time, $2::timestamptz) AS bucket, {chosen} FROM reading"  # noqa: S608 - names of the vocabulary
        " WHERE meter_id = $1 AND time >= $2 AND time < $3 GROUP BY bucket ORDER BY bucket"
    )
    async with snapshot(pool, "read a series") as connection:
        rows = await connection.fetch(query, meter_id, from_, to, bucket)
    return {each.name: [point for row in rows if (point := _point(row, each)) is not None] for each in quantities}


def _aggregates(quantity: Quantity) -> str:
    name = quantity.name
    if quantity.kind is Kind.COUNTER:
        return f"last({name}, time) FILTER (WHERE {name} IS NOT NULL) AS {name}__last"
    return f"min({name})::float8 AS {name}__min, avg({name}::float8) AS {name}__avg, max({name})::float8 AS {name}__max"


def _point(row: asyncpg.Record, quantity: Quantity) -> SeriesPoint | None:
    name = quantity.name
    if quantity.kind is Kind.COUNTER:
        last = row[f"{name}__last"]
        return None if last is None else SeriesPoint(row["bucket"], last=last)
    mean = row[f"{name}__avg"]
    if mean is None:
        return None
    return SeriesPoint(row["bucket"], _decimal(row[f"{name}__min"]), mean, _decimal(row[f"{name}__max"]))


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One interval of one meter: energy [kWh], power [kW], coverage 0..1; `flags` as emsd.energy.IncrementFlag."""

    bucket: datetime
    energy_import_kwh: float | None
    energy_export_kwh: float | None
    estimated_import_kwh: float
    estimated_export_kwh: float
    power_min_kw: float | None
    power_avg_kw: float | None
    power_max_kw: float | None
    coverage: float
    sample_count: int
    flags: int


_INTERVALS: Final = """
SELECT bucket, energy_import_kwh, energy_export_kwh, estimated_import_kwh, estimated_export_kwh,
       power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags
FROM {table} WHERE meter_id = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket
"""
_INTERVALS_BY_TIER: Final[Mapping[Tier, str]] = {
    tier: _INTERVALS.format(table=f"interval_{tier}") for tier in ("1m", "15m", "1d")
}


async def read_intervals(pool: Pool, meter_id: int, tier: Tier, from_: datetime, to: datetime) -> list[IntervalRow]:
    """Return the intervals of one meter that begin in [from_, to), in order.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read intervals", timeout_s=READ_TIMEOUT_S) as connection:
        rows = await connection.fetch(_INTERVALS_BY_TIER[tier], meter_id, from_, to)
    return [
        IntervalRow(
            bucket=row["bucket"],
            energy_import_kwh=row["energy_import_kwh"],
            energy_export_kwh=row["energy_export_kwh"],
            estimated_import_kwh=row["estimated_import_kwh"],
            estimated_export_kwh=row["estimated_export_kwh"],
            power_min_kw=_decimal(row["power_min_kw"]),
            power_avg_kw=_decimal(row["power_avg_kw"]),
            power_max_kw=_decimal(row["power_max_kw"]),
            coverage=_decimal(row["coverage"]),
            sample_count=row["sample_count"],
            flags=row["flags"],
        )
        for row in rows
    ]
