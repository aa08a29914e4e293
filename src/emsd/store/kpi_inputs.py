"""Inputs of key figures by the quarter hour: what is marked, the readings they are made of, and the amounts.

Names of columns come from the registry of inputs and the vocabulary, never from a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.kpi import STORED_INPUTS, Parts
from emsd.quantities import BY_NAME
from emsd.readings import instant_us, to_datetime
from emsd.store.pool import Session

__all__ = [
    "AssetMark",
    "clear_marks",
    "lead_kpi_inputs",
    "read_asset_quarters",
    "read_gauges",
    "read_marks",
    "read_mean_gauges",
    "write_asset_quarters",
]


@dataclass(frozen=True, slots=True)
class AssetMark:
    """A quarter hour of an asset whose inputs do not reflect its readings."""

    asset_id: int
    bucket_us: int
    version: int


# --- marks --------------------------------------------------------------------------------------------------------


async def lead_kpi_inputs(connection: Session) -> bool:
    """Try to be the only one that computes inputs until the transaction ends; False when another one is."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('emsd.kpi_inputs'))"))


_READ_MARKS: Final = """
SELECT asset_id, bucket, version
FROM dirty_asset_quarter JOIN unnest($1::integer[], $2::timestamptz[]) AS wanted (asset_id, before) USING (asset_id)
WHERE bucket <= before - interval '15 minutes'
ORDER BY bucket DESC, asset_id LIMIT $3"""


async def read_marks(connection: Session, before: Mapping[int, datetime], *, most: int) -> list[AssetMark]:
    """Return up to `most` marks of quarter hours that ended by the time given for each asset, the newest first."""
    rows = await connection.fetch(_READ_MARKS, list(before), list(before.values()), most)
    return [AssetMark(row["asset_id"], instant_us(row["bucket"]), row["version"]) for row in rows]


_CLEAR_MARKS: Final = """
DELETE FROM dirty_asset_quarter AS mark USING (
    SELECT asset_id, bucket FROM dirty_asset_quarter
    JOIN unnest($1::integer[], $2::timestamptz[], $3::bigint[]) AS done (asset_id, bucket, version)
        USING (asset_id, bucket, version)
    ORDER BY asset_id, bucket FOR UPDATE OF dirty_asset_quarter
) AS done
WHERE (mark.asset_id, mark.bucket) = (done.asset_id, done.bucket)"""


async def clear_marks(connection: Session, marks: Sequence[AssetMark]) -> None:
    """Delete exactly these marks; one that has been set anew meanwhile stays."""
    await connection.execute(
        _CLEAR_MARKS,
        [mark.asset_id for mark in marks],
        [to_datetime(mark.bucket_us) for mark in marks],
        [mark.version for mark in marks],
    )


# --- readings -----------------------------------------------------------------------------------------------------

_GAUGES: Final = """
SELECT array_agg((extract(epoch FROM time) * 1000000)::bigint) AS time_us, {columns}
FROM (SELECT * FROM reading WHERE meter_id = $1 AND time >= $2 AND time < $3 AND ({wanted}) ORDER BY time) AS ordered
"""


async def read_gauges(
    connection: Session, meter_id: int, quantities: Sequence[str], from_us: int, to_us: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Return the readings of one meter in [from_us, to_us) that have one of some quantities: times and a column each.

    int64[n] and float64[n], NaN where NULL.
    """
    names = [BY_NAME[name].name for name in quantities]
    query = _GAUGES.format(
        columns=", ".join(f"array_agg({name}::float8) AS {name}" for name in names),
        wanted=" OR ".join(f"{name} IS NOT NULL" for name in names),
    )
    row = await connection.fetchrow(query, meter_id, to_datetime(from_us), to_datetime(to_us))
    if row is None or row["time_us"] is None:
        return np.array([], dtype=np.int64), {name: np.array([], dtype=np.float64) for name in names}
    return (
        np.array(row["time_us"], dtype=np.int64),
        {name: np.array(row[name], dtype=np.float64) for name in names},
    )


async def read_mean_gauges(
    connection: Session, meter_id: int, quantities: Sequence[str], edges_us: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the means of gauges in the quarter hours between k + 1 edges: float64[q, k], and int64[k] samples.

    Only readings that have all of them count, so that the means are comparable.
    """
    names = [BY_NAME[name].name for name in quantities]
    means = ", ".join(f"avg({name}::float8) AS {name}" for name in names)
    complete = " AND ".join(f"{name} IS NOT NULL" for name in names)
    rows = await connection.fetch(
        f"SELECT time_bucket('15 minutes', time) AS bucket, count(*) AS samples, {means} FROM reading"  # noqa: S608 - names of the vocabulary
        f" WHERE meter_id = $1 AND time >= $2 AND time < $3 AND {complete} GROUP BY bucket",
        meter_id,
        to_datetime(int(edges_us[0])),
        to_datetime(int(edges_us[-1])),
    )
    values = np.full((len(names), edges_us.size - 1), np.nan)
    samples = np.zeros(edges_us.size - 1, dtype=np.int64)
    for row in rows:
        place = int(np.searchsorted(edges_us, instant_us(row["bucket"])))
        samples[place] = row["samples"]
        values[:, place] = [row[name] for name in names]
    return values, samples


# --- amounts by the quarter hour ----------------------------------------------------------------------------------

_COLUMNS: Final = tuple(name for each in STORED_INPUTS for name in (each, f"{each}_coverage"))
_WRITE: Final = """
INSERT INTO asset_15m (asset_id, bucket, {columns})
SELECT $1, * FROM unnest($2::timestamptz[], {arrays})
ON CONFLICT (asset_id, bucket) DO UPDATE SET {updates}, computed_at = excluded.computed_at
""".format(
    columns=", ".join(_COLUMNS),
    arrays=", ".join(f"${place}::float8[]" for place in range(3, 3 + len(_COLUMNS))),
    updates=", ".join(f"{name} = excluded.{name}" for name in _COLUMNS),
)
_DELETE: Final = "DELETE FROM asset_15m WHERE asset_id = $1 AND bucket = ANY($2::timestamptz[])"
_READ: Final = """
SELECT array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us, {columns}
FROM asset_15m WHERE asset_id = $1 AND bucket >= $2 AND bucket < $3
"""


async def write_asset_quarters(
    connection: Session, asset_id: int, buckets_us: NDArray[np.int64], inputs: Mapping[str, Parts]
) -> int:
    """Replace the rows of one asset in some quarter hours, int64[k]; return how many stand there now.

    A quarter hour in which no input is known has no row.
    """
    known = np.zeros(buckets_us.size, dtype=np.bool_)
    for parts in inputs.values():
        known |= np.isfinite(parts.value)
    gone = [to_datetime(each) for each in buckets_us[~known].tolist()]
    if gone:
        await connection.execute(_DELETE, asset_id, gone)
    if known.any():
        unknown = Parts(np.full(buckets_us.size, np.nan), np.zeros(buckets_us.size))
        arrays: list[list[float | None]] = []
        for name in STORED_INPUTS:
            value, coverage = (column[known] for column in inputs.get(name, unknown))
            absent = ~np.isfinite(value)
            arrays.append([None if gap else each for each, gap in zip(value.tolist(), absent.tolist(), strict=True)])
            arrays.append([None if gap else each for each, gap in zip(coverage.tolist(), absent.tolist(), strict=True)])
        await connection.execute(_WRITE, asset_id, [to_datetime(each) for each in buckets_us[known].tolist()], *arrays)
    return int(known.sum())


async def read_asset_quarters(
    connection: Session, asset_id: int, names: Sequence[str], edges_us: NDArray[np.int64]
) -> dict[str, Parts]:
    """Return stored inputs of one asset in the quarter hours between k + 1 edges [us]."""
    wanted = [name for name in names if name in STORED_INPUTS]
    found = {name: Parts(np.full(edges_us.size - 1, np.nan), np.zeros(edges_us.size - 1)) for name in wanted}
    if not wanted:
        return found
    columns = ", ".join(
        f"array_agg({name}) AS {name}, array_agg({name}_coverage::float8) AS {name}_coverage" for name in wanted
    )
    row = await connection.fetchrow(
        _READ.format(columns=columns), asset_id, to_datetime(int(edges_us[0])), to_datetime(int(edges_us[-1]))
    )
    if row is None or row["bucket_us"] is None:
        return found
    places = np.searchsorted(edges_us, np.array(row["bucket_us"], dtype=np.int64))
    for name, parts in found.items():
        parts.value[places] = np.array(row[name], dtype=np.float64)
        parts.coverage[places] = np.nan_to_num(np.array(row[f"{name}_coverage"], dtype=np.float64))
    return found
