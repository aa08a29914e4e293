"""History that was never measured: straight into the tiers, flagged in every row and written to a ledger.

Every function takes a connection: rows, marks and the ledger's entry commit together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emsd.energy.kpi import STORED_INPUTS, Parts
from emsd.energy.series import IncrementFlag
from emsd.store.column_copy import Kind, copy_columns
from emsd.store.pool import Session

__all__ = [
    "Entry",
    "GaugeQuarters",
    "QuarterRows",
    "Replace",
    "Room",
    "asset_quarters_taken",
    "gauge_quarters_taken",
    "make_room",
    "record",
    "write_asset_quarters",
    "write_gauge_quarters",
    "write_quarters",
]

Replace: TypeAlias = Literal["nothing", "simulated", "all"]
"""What may be written over: nothing, what this module wrote before, or whatever stands there."""


@dataclass(frozen=True, slots=True, eq=False)
class QuarterRows:
    """Rows of interval_15m of one meter, column by column, each [k]; NaN becomes NULL."""

    meter_id: int
    bucket_us: NDArray[np.int64]
    energy_import_kwh: NDArray[np.float64]
    energy_export_kwh: NDArray[np.float64]
    estimated_import_kwh: NDArray[np.float64]
    estimated_export_kwh: NDArray[np.float64]
    power_min_kw: NDArray[np.float64]
    power_avg_kw: NDArray[np.float64]
    power_max_kw: NDArray[np.float64]
    coverage: NDArray[np.float64]
    sample_count: NDArray[np.int64]
    flags: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_]) -> QuarterRows:
        """Return some of the rows."""
        return QuarterRows(self.meter_id, *(getattr(self, each.name)[which] for each in fields(self)[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class GaugeQuarters:
    """Rows of gauge_15m of one gauge of one meter, column by column, each [k]."""

    meter_id: int
    quantity_id: int
    bucket_us: NDArray[np.int64]
    min_value: NDArray[np.float64]
    avg_value: NDArray[np.float64]
    max_value: NDArray[np.float64]
    sample_count: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_]) -> GaugeQuarters:
        """Return some of the rows."""
        columns = (getattr(self, each.name)[which] for each in fields(self)[2:])
        return GaugeQuarters(self.meter_id, self.quantity_id, *columns)


@dataclass(frozen=True, slots=True)
class Room:
    """Quarter hours [us] of energy meters that are taken: by what was measured, or will be, and by a simulation."""

    measured: Mapping[int, set[int]]
    simulated: Mapping[int, set[int]]

    def free(self, meter_id: int, bucket_us: NDArray[np.int64], *, beside_simulated: bool) -> NDArray[np.bool_]:
        """Return which quarter hours of a meter are free; `beside_simulated`: also those that were simulated."""
        taken = self.measured.get(meter_id, set())
        if not beside_simulated:
            taken = taken | self.simulated.get(meter_id, set())
        return ~np.isin(bucket_us, np.fromiter(taken, dtype=np.int64, count=len(taken)))


@dataclass(frozen=True, slots=True)
class Entry:
    """What one transaction has written of [from_, to)."""

    site_id: int
    from_: datetime
    to: datetime
    meter_ids: Sequence[int]
    seed: int
    replaced: Replace
    author: str
    quarter_hours: int
    gauge_quarters: int
    asset_quarters: int


# --- what stands there --------------------------------------------------------------------------------------------

_REPLACEABLE: Final[Mapping[Replace, str]] = {
    "nothing": "false",
    "simulated": f"flags & {int(IncrementFlag.SIMULATED)} <> 0",
    "all": "true",
}
_DELETE: Final = """
DELETE FROM interval_15m WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 AND {which}"""
_TAKEN: Final = f"""
SELECT meter_id, flags & {int(IncrementFlag.SIMULATED)} <> 0 AS simulated,
    array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us
FROM interval_15m WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 GROUP BY meter_id, simulated"""  # noqa: S608 - a number
# Readings that accounting has not come to yet: the quarter hour will be theirs.
_WAITING: Final = """
SELECT DISTINCT each.meter_id, (extract(epoch FROM time_bucket('15 minutes', bucket)) * 1000000)::bigint AS bucket_us
FROM dirty_interval CROSS JOIN LATERAL unnest(meter_ids) AS each (meter_id)
WHERE bucket >= $2 AND bucket < $3 AND each.meter_id = ANY($1::integer[])"""


async def make_room(
    connection: Session, meter_ids: Sequence[int], from_: datetime, to: datetime, replace: Replace
) -> Room:
    """Delete what may be written over, and return which quarter hours are taken."""
    if replace != "nothing":
        await connection.execute(_DELETE.format(which=_REPLACEABLE[replace]), meter_ids, from_, to)
    measured, simulated = defaultdict[int, set[int]](set), defaultdict[int, set[int]](set)
    for row in await connection.fetch(_TAKEN, meter_ids, from_, to):
        (simulated if row["simulated"] else measured)[row["meter_id"]].update(row["bucket_us"])
    if replace != "all":
        for row in await connection.fetch(_WAITING, meter_ids, from_, to):
            measured[row["meter_id"]].add(row["bucket_us"])
    return Room(measured, simulated)


# Rows of asset_15m were computed in the transaction that the ledger names. gauge_15m does not say when it was: there it
# is what the ledger names and no reading stands behind.
_SIMULATED: Final[Mapping[str, str]] = {
    "asset_15m": """
EXISTS (SELECT FROM simulated_history WHERE site_id = $4 AND recorded_at = asset_15m.computed_at)""",
    "gauge_15m": """
EXISTS (SELECT FROM simulated_history
        WHERE site_id = $4 AND from_time <= bucket AND to_time > bucket AND gauge_15m.meter_id = ANY(meter_ids))
AND NOT EXISTS (SELECT FROM reading
                WHERE meter_id = gauge_15m.meter_id AND time >= bucket AND time < bucket + INTERVAL '15 minutes')""",
}
_GAUGES_TAKEN: Final = """
SELECT meter_id, quantity_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us
FROM gauge_15m WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 GROUP BY meter_id, quantity_id"""
_ASSETS_TAKEN: Final = """
SELECT asset_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us
FROM asset_15m WHERE asset_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 GROUP BY asset_id"""
_DELETE_TIER: Final = "DELETE FROM {table} WHERE {key} = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3"


async def gauge_quarters_taken(
    connection: Session, site_id: int, meter_ids: Sequence[int], from_: datetime, to: datetime, replace: Replace
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Delete what may be written over, and return the quarter hours [us] that are taken, by meter and quantity."""
    await _delete_tier(connection, "gauge_15m", "meter_id", site_id, meter_ids, from_, to, replace)
    rows = await connection.fetch(_GAUGES_TAKEN, meter_ids, from_, to)
    return {(row["meter_id"], row["quantity_id"]): np.array(row["bucket_us"], dtype=np.int64) for row in rows}


async def asset_quarters_taken(
    connection: Session, site_id: int, asset_ids: Sequence[int], from_: datetime, to: datetime, replace: Replace
) -> dict[int, NDArray[np.int64]]:
    """Delete what may be written over, and return the quarter hours [us] that are taken, by asset."""
    await _delete_tier(connection, "asset_15m", "asset_id", site_id, asset_ids, from_, to, replace)
    rows = await connection.fetch(_ASSETS_TAKEN, asset_ids, from_, to)
    return {row["asset_id"]: np.array(row["bucket_us"], dtype=np.int64) for row in rows}


async def _delete_tier(
    connection: Session,
    table: str,
    key: str,
    site_id: int,
    ids: Sequence[int],
    from_: datetime,
    to: datetime,
    replace: Replace,
) -> None:
    if replace == "nothing":
        return
    statement = _DELETE_TIER.format(table=table, key=key)
    if replace == "simulated":
        await connection.execute(f"{statement} AND {_SIMULATED[table]}", ids, from_, to, site_id)
    else:
        await connection.execute(statement, ids, from_, to)


# --- what is written ----------------------------------------------------------------------------------------------

_QUARTER: Final[dict[str, Kind]] = {
    "meter_id": "int4",
    "bucket": "timestamptz",
    "energy_import_kwh": "float8",
    "energy_export_kwh": "float8",
    "estimated_import_kwh": "float8",
    "estimated_export_kwh": "float8",
    "power_min_kw": "float4",
    "power_avg_kw": "float4",
    "power_max_kw": "float4",
    "coverage": "float4",
    "sample_count": "int4",
    "flags": "int2",
}
_GAUGE: Final[dict[str, Kind]] = {
    "meter_id": "int4",
    "quantity_id": "int2",
    "bucket": "timestamptz",
    "min_value": "float4",
    "avg_value": "float4",
    "max_value": "float4",
    "sample_count": "int4",
}
_ASSET: Final[dict[str, Kind]] = {
    "asset_id": "int4",
    "bucket": "timestamptz",
    **dict.fromkeys(STORED_INPUTS, "float8"),
    **dict.fromkeys((f"{each}_coverage" for each in STORED_INPUTS), "float4"),
}


async def write_quarters(connection: Session, rows: Sequence[QuarterRows], versions: Mapping[int, int]) -> int:
    """Write rows of interval_15m, flagged as simulated, with the version of each meter's rules; return how many."""
    written = 0
    for known in (True, False):
        kinds: dict[str, Kind] = {**_QUARTER, "version": "int4"} if known else _QUARTER
        some = [each for each in rows if (each.meter_id in versions) is known and each.bucket_us.size]
        if not some:
            continue
        columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([getattr(each, name) for each in some])
            for name in _QUARTER
            if name not in {"meter_id", "bucket"}
        }
        columns["meter_id"] = _repeated(some, [each.meter_id for each in some])
        columns["bucket"] = np.concatenate([each.bucket_us for each in some])
        columns["flags"] = columns["flags"] | int(IncrementFlag.SIMULATED)
        if known:
            columns["version"] = _repeated(some, [versions[each.meter_id] for each in some])
        written += await copy_columns(connection, "interval_15m", kinds, columns)
    return written


async def write_gauge_quarters(connection: Session, rows: Sequence[GaugeQuarters]) -> int:
    """Write rows of gauge_15m; return how many."""
    some = [each for each in rows if each.bucket_us.size]
    if not some:
        return 0
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(each, name) for each in some])
        for name in ("min_value", "avg_value", "max_value", "sample_count")
    }
    columns["meter_id"] = _repeated(some, [each.meter_id for each in some])
    columns["quantity_id"] = _repeated(some, [each.quantity_id for each in some])
    columns["bucket"] = np.concatenate([each.bucket_us for each in some])
    return await copy_columns(connection, "gauge_15m", _GAUGE, columns)


async def write_asset_quarters(
    connection: Session, asset_id: int, buckets_us: NDArray[np.int64], inputs: Mapping[str, Parts]
) -> int:
    """Write rows of asset_15m, int64[k] begins; return how many. Where no input is known there is none."""
    unknown = Parts(np.full(buckets_us.size, np.nan), np.full(buckets_us.size, np.nan))
    columns: dict[str, NDArray[Any]] = {}
    known = np.zeros(buckets_us.size, dtype=np.bool_)
    for name in STORED_INPUTS:
        value, coverage = inputs.get(name, unknown)
        known |= np.isfinite(value)
        columns[name], columns[f"{name}_coverage"] = value, np.where(np.isfinite(value), coverage, np.nan)
    columns["asset_id"], columns["bucket"] = np.full(buckets_us.size, asset_id), buckets_us
    return await copy_columns(connection, "asset_15m", _ASSET, {name: each[known] for name, each in columns.items()})


async def record(connection: Session, entry: Entry) -> None:
    """Write to the ledger what this transaction has written."""
    await connection.execute(
        "INSERT INTO simulated_history (site_id, from_time, to_time, meter_ids, seed, replaced, author, quarter_hours,"
        " gauge_quarters, asset_quarters) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        entry.site_id,
        entry.from_,
        entry.to,
        list(entry.meter_ids),
        entry.seed,
        entry.replaced,
        entry.author,
        entry.quarter_hours,
        entry.gauge_quarters,
        entry.asset_quarters,
    )


def _repeated(rows: Sequence[QuarterRows] | Sequence[GaugeQuarters], values: Sequence[int]) -> NDArray[np.int64]:
    return np.repeat(np.array(values, dtype=np.int64), [each.bucket_us.size for each in rows])
