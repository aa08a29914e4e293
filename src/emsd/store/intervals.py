"""Interval tables: what is dirty, and the upserts of every tier.

Every function takes a connection, because accounting does all of it in one transaction: the marks it deletes and the
intervals it writes commit together, so a crash in between loses neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US
from emsd.readings import instant_us, to_datetime
from emsd.store.pool import Session

__all__ = [
    "DirtyMark",
    "MinuteRows",
    "build_days",
    "build_quarters",
    "delete_empty_quarters",
    "delete_marks",
    "delete_unknown_minutes",
    "lead_accounting",
    "mark_days",
    "oldest_mark_wait_s",
    "read_dirty_days",
    "read_marks",
    "write_minutes",
]


@dataclass(frozen=True, slots=True)
class DirtyMark:
    """Some meters have raw readings in the minute that begins at `bucket_us` which no interval reflects yet."""

    mark_id: int
    bucket_us: int
    meter_ids: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class MinuteRows:
    """Rows of interval_1m of one meter, column by column, each [k]; NaN becomes NULL.

    `unknown_us` are stretches [from, to) of which nothing is known: no row may stand there.
    """

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
    flags: NDArray[np.uint8]
    unknown_us: Sequence[tuple[int, int]] = ()


async def read_marks(connection: Session, *, most: int, before: datetime | None = None) -> list[DirtyMark]:
    """Return up to `most` marks, the newest first, so that a backlog never delays what is live.

    Only those of minutes that begin before `before`; None: of all.
    """
    rows = await connection.fetch(
        "SELECT mark_id, bucket, meter_ids FROM dirty_interval WHERE bucket < coalesce($2, 'infinity'::timestamptz)"
        " ORDER BY mark_id DESC LIMIT $1",
        most,
        before,
    )
    return [DirtyMark(row["mark_id"], instant_us(row["bucket"]), row["meter_ids"]) for row in rows]


async def delete_marks(connection: Session, mark_ids: Iterable[int]) -> None:
    """Delete exactly these marks; one that a concurrent batch adds stays."""
    await connection.execute("DELETE FROM dirty_interval WHERE mark_id = ANY($1::bigint[])", list(mark_ids))


async def lead_accounting(connection: Session, *, wait: bool = False) -> bool:
    """Try to be the only accounting of this database until the transaction ends; False when another one is.

    With `wait` it is waited for, as long as for any lock.
    """
    if wait:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('emsd.accounting'))")
        return True
    return bool(await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('emsd.accounting'))"))


async def oldest_mark_wait_s(connection: Session, now: datetime, before: datetime) -> float:
    """Return how long the oldest marked minute that begins before `before` has been over [s]; 0 when there is none."""
    oldest = await connection.fetchval("SELECT min(bucket) FROM dirty_interval WHERE bucket < $1", before)
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds() - 60.0)


_UPDATE_ALL: Final = """
    energy_import_kwh = excluded.energy_import_kwh, energy_export_kwh = excluded.energy_export_kwh,
    estimated_import_kwh = excluded.estimated_import_kwh, estimated_export_kwh = excluded.estimated_export_kwh,
    power_min_kw = excluded.power_min_kw, power_avg_kw = excluded.power_avg_kw, power_max_kw = excluded.power_max_kw,
    coverage = excluded.coverage, sample_count = excluded.sample_count, flags = excluded.flags,
    computed_at = excluded.computed_at, version = excluded.version
"""

# A bucket goes in as a number of its own width since 1970, which a double holds exactly; an object of Python for each
# would take longer than all else.
_WRITE_MINUTES: Final = f"""
INSERT INTO interval_1m (meter_id, bucket, energy_import_kwh, energy_export_kwh, estimated_import_kwh,
    estimated_export_kwh, power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, version)
SELECT meter_id, to_timestamp(minute * 60), energy_import_kwh, energy_export_kwh, estimated_import_kwh,
    estimated_export_kwh, power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, version
FROM unnest($1::integer[], $2::bigint[], $3::float8[], $4::float8[], $5::float8[], $6::float8[],
    $7::float4[], $8::float4[], $9::float4[], $10::float4[], $11::integer[], $12::smallint[], $13::integer[])
    AS computed (meter_id, minute, energy_import_kwh, energy_export_kwh, estimated_import_kwh, estimated_export_kwh,
        power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, version)
ON CONFLICT (meter_id, bucket) DO UPDATE SET {_UPDATE_ALL}
"""  # noqa: S608 - only constants of this module are put together


# Looking first spares the locks on every chunk that a DELETE takes.
_ROWS_IN_STRETCHES: Final = """
SELECT minute.meter_id, minute.bucket
FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS unknown (meter_id, from_time, to_time)
CROSS JOIN LATERAL (
    SELECT meter_id, bucket FROM interval_1m
    WHERE meter_id = unknown.meter_id AND bucket >= unknown.from_time AND bucket < unknown.to_time
) AS minute
"""
_DELETE_MINUTES: Final = """
DELETE FROM interval_1m USING unnest($1::integer[], $2::timestamptz[]) AS gone (meter_id, bucket)
WHERE interval_1m.meter_id = gone.meter_id AND interval_1m.bucket = gone.bucket
"""


def _nullable(parts: list[NDArray[np.float64]]) -> list[float | None]:
    whole = np.concatenate(parts)
    values: list[float | None] = whole.tolist()
    for position in np.flatnonzero(np.isnan(whole)).tolist():
        values[position] = None
    return values


async def write_minutes(
    connection: Session, meters: Sequence[MinuteRows], versions: Mapping[int, int] | None = None
) -> int:
    """Insert or replace rows of interval_1m; return how many. No (meter, bucket) may stand twice.

    `versions` says by which accounting version the rows of each meter were computed.
    """
    sizes = [each.bucket_us.size for each in meters]
    if not sum(sizes):
        return 0
    known: Mapping[int, int | None] = versions or {}
    await connection.execute(
        _WRITE_MINUTES,
        np.repeat([each.meter_id for each in meters], sizes).tolist(),
        (np.concatenate([each.bucket_us for each in meters]) // BUCKET_1M_US).tolist(),
        _nullable([each.energy_import_kwh for each in meters]),
        _nullable([each.energy_export_kwh for each in meters]),
        np.nan_to_num(np.concatenate([each.estimated_import_kwh for each in meters])).tolist(),
        np.nan_to_num(np.concatenate([each.estimated_export_kwh for each in meters])).tolist(),
        _nullable([each.power_min_kw for each in meters]),
        _nullable([each.power_avg_kw for each in meters]),
        _nullable([each.power_max_kw for each in meters]),
        np.concatenate([each.coverage for each in meters]).tolist(),
        np.concatenate([each.sample_count for each in meters]).tolist(),
        np.concatenate([each.flags for each in meters]).tolist(),
        [known.get(each.meter_id) for each, size in zip(meters, sizes, strict=True) for _ in range(size)],
    )
    return sum(sizes)


async def delete_unknown_minutes(connection: Session, meters: Sequence[MinuteRows]) -> set[tuple[int, int]]:
    """Delete rows of interval_1m in the stretches of which nothing is known any more; return (meter_id, bucket_us).

    That is rare: a late reading has put what follows it in doubt.
    """
    stretches = [(each.meter_id, *stretch) for each in meters for stretch in each.unknown_us]
    if not stretches:
        return set()
    found = await connection.fetch(
        _ROWS_IN_STRETCHES,
        [meter_id for meter_id, _, _ in stretches],
        [to_datetime(from_us) for _, from_us, _ in stretches],
        [to_datetime(to_us) for _, _, to_us in stretches],
    )
    if not found:
        return set()
    await connection.execute(_DELETE_MINUTES, [row["meter_id"] for row in found], [row["bucket"] for row in found])
    return {(row["meter_id"], instant_us(row["bucket"])) for row in found}


# A tier sums the energy of the one below, weights its mean power by samples, and counts as covered what was covered.
_SUMS: Final = """
    sum(part.energy_import_kwh), sum(part.energy_export_kwh),
    sum(part.estimated_import_kwh), sum(part.estimated_export_kwh),
    min(part.power_min_kw),
    (sum(part.power_avg_kw * part.sample_count)
        / nullif(sum(part.sample_count) FILTER (WHERE part.power_avg_kw IS NOT NULL), 0))::float4,
    max(part.power_max_kw)
"""
_OLDEST_VERSION: Final = "min(part.version)"
"""A figure is only as new as the oldest of what it is made of."""

_BUILD_QUARTERS: Final = f"""
INSERT INTO interval_15m (meter_id, bucket, energy_import_kwh, energy_export_kwh, estimated_import_kwh,
    estimated_export_kwh, power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, version)
SELECT wanted.meter_id, wanted.bucket, {_SUMS}, sum(part.coverage) / 15, sum(part.sample_count), bit_or(part.flags),
    {_OLDEST_VERSION}
FROM (SELECT meter_id, to_timestamp(quarter * 900) AS bucket
      FROM unnest($1::integer[], $2::bigint[]) AS each (meter_id, quarter)) AS wanted
JOIN LATERAL (
    SELECT * FROM interval_1m
    WHERE meter_id = wanted.meter_id AND bucket >= wanted.bucket AND bucket < wanted.bucket + INTERVAL '15 minutes'
) AS part ON true
GROUP BY wanted.meter_id, wanted.bucket
ON CONFLICT (meter_id, bucket) DO UPDATE SET {_UPDATE_ALL}
"""  # noqa: S608 - only constants of this module are put together

_BUILD_DAYS: Final = f"""
INSERT INTO interval_1d (meter_id, day, bucket, energy_import_kwh, energy_export_kwh, estimated_import_kwh,
    estimated_export_kwh, power_min_kw, power_avg_kw, power_max_kw, coverage, sample_count, flags, version)
SELECT wanted.meter_id, wanted.day, wanted.from_time, {_SUMS},
    sum(part.coverage) * 900 / extract(epoch FROM wanted.to_time - wanted.from_time),
    sum(part.sample_count), bit_or(part.flags), {_OLDEST_VERSION}
FROM unnest($1::integer[], $2::date[], $3::timestamptz[], $4::timestamptz[])
    AS wanted (meter_id, day, from_time, to_time)
JOIN LATERAL (
    SELECT * FROM interval_15m
    WHERE meter_id = wanted.meter_id AND bucket >= wanted.from_time AND bucket < wanted.to_time
) AS part ON true
GROUP BY wanted.meter_id, wanted.day, wanted.from_time, wanted.to_time
ON CONFLICT (meter_id, day) DO UPDATE SET bucket = excluded.bucket, {_UPDATE_ALL}
"""  # noqa: S608 - only constants of this module are put together


_DELETE_EMPTY_QUARTERS: Final = """
DELETE FROM interval_15m AS quarter USING unnest($1::integer[], $2::timestamptz[]) AS touched (meter_id, bucket)
WHERE quarter.meter_id = touched.meter_id AND quarter.bucket = touched.bucket AND NOT EXISTS (
    SELECT FROM interval_1m AS minute
    WHERE minute.meter_id = quarter.meter_id
        AND minute.bucket >= quarter.bucket AND minute.bucket < quarter.bucket + INTERVAL '15 minutes'
)
"""
_DELETE_EMPTY_DAYS: Final = """
DELETE FROM interval_1d AS kept USING unnest($1::integer[], $2::date[], $3::timestamptz[], $4::timestamptz[])
    AS wanted (meter_id, day, from_time, to_time)
WHERE kept.meter_id = wanted.meter_id AND kept.day = wanted.day AND NOT EXISTS (
    SELECT FROM interval_15m AS part
    WHERE part.meter_id = wanted.meter_id AND part.bucket >= wanted.from_time AND part.bucket < wanted.to_time
)
"""


async def build_quarters(connection: Session, wanted: Sequence[tuple[int, int]]) -> None:
    """Build rows of interval_15m for (meter_id, bucket_us) pairs from interval_1m."""
    if wanted:
        await connection.execute(
            _BUILD_QUARTERS, [meter for meter, _ in wanted], [bucket // BUCKET_15M_US for _, bucket in wanted]
        )


async def delete_empty_quarters(connection: Session, wanted: Sequence[tuple[int, int]]) -> None:
    """Delete those rows of interval_15m, given as (meter_id, bucket_us) pairs, that have no minute left."""
    if wanted:
        await connection.execute(
            _DELETE_EMPTY_QUARTERS, [meter for meter, _ in wanted], [to_datetime(bucket) for _, bucket in wanted]
        )


async def mark_days(connection: Session, wanted: Iterable[tuple[int, date]]) -> None:
    """Mark local days whose row in interval_1d no longer reflects interval_15m."""
    pairs = list(wanted)
    if pairs:
        await connection.execute(
            "INSERT INTO dirty_day (meter_id, day) SELECT * FROM unnest($1::integer[], $2::date[])"
            " ON CONFLICT DO NOTHING",
            [meter for meter, _ in pairs],
            [day for _, day in pairs],
        )


async def read_dirty_days(
    connection: Session, *, last: date, first: date = date.min, most: int
) -> list[tuple[int, date]]:
    """Return up to `most` marked (meter_id, day) pairs of the days `first` to `last`, the latest day first."""
    rows = await connection.fetch(
        "SELECT meter_id, day FROM dirty_day WHERE day BETWEEN $1 AND $2 ORDER BY day DESC, meter_id LIMIT $3",
        first,
        last,
        most,
    )
    return [(row["meter_id"], row["day"]) for row in rows]


async def build_days(connection: Session, wanted: Sequence[tuple[int, date, datetime, datetime]]) -> None:
    """Build rows of interval_1d for (meter_id, local day, its begin, its end) from interval_15m; clear their marks."""
    if not wanted:
        return
    meters = [each[0] for each in wanted]
    days = [each[1] for each in wanted]
    begins, ends = [each[2] for each in wanted], [each[3] for each in wanted]
    await connection.execute(_BUILD_DAYS, meters, days, begins, ends)
    await connection.execute(_DELETE_EMPTY_DAYS, meters, days, begins, ends)
    await connection.execute(
        "DELETE FROM dirty_day USING unnest($1::integer[], $2::date[]) AS done (meter_id, day)"
        " WHERE dirty_day.meter_id = done.meter_id AND dirty_day.day = done.day",
        meters,
        days,
    )
