"""Tiers of process gauges: extremes and mean of every quarter hour and local day, set-based from the raw readings.

One statement does all quarter hours of meters with the same gauges: it reads their rows once, aggregates every column,
and turns the columns into narrow rows. The names of columns come from the vocabulary, never from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from emsd.energy.series import BUCKET_15M_US
from emsd.quantities import BY_NAME, QUANTITIES, Kind
from emsd.readings import instant_us
from emsd.store.pool import Session

__all__ = [
    "TIERED_GAUGES",
    "MeterDay",
    "build_gauge_days",
    "build_gauge_quarters",
    "drop_gauge_marks",
    "mark_gauge_days",
    "mark_gauge_range",
    "mark_gauges",
    "quantity_ids",
    "read_gauge_days",
    "read_gauge_marks",
]

TIERED_GAUGES: Final = frozenset(
    each.name
    for each in QUANTITIES
    if each.kind is Kind.GAUGE and each.unit != "code" and each.name != "active_power_kw"
)
"""Gauges with tiers: a mean of codes says nothing, and power stands in the intervals themselves."""

MeterDay: TypeAlias = "tuple[int, date, datetime, datetime]"
"""A meter, a local day, its begin and its end."""

_ANGLE: Final = "deg"


async def quantity_ids(connection: Session) -> dict[str, int]:
    """Return the number of every quantity of the vocabulary, and number those that are new."""
    await connection.execute(
        "INSERT INTO quantity (name, unit, kind) SELECT name, unit, kind"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS known (name, unit, kind)"
        " WHERE NOT EXISTS (SELECT FROM quantity AS kept WHERE kept.name = known.name)",
        [each.name for each in QUANTITIES],
        [each.unit for each in QUANTITIES],
        [each.kind.value for each in QUANTITIES],
    )
    rows = await connection.fetch("SELECT name, quantity_id FROM quantity")
    return {row["name"]: row["quantity_id"] for row in rows}


async def mark_gauges(connection: Session, quarters: Iterable[tuple[int, int]]) -> None:
    """Mark (meter_id, quarter_us) pairs whose gauges have changed."""
    pairs = list(quarters)
    if pairs:
        await connection.execute(
            "INSERT INTO dirty_gauge (meter_id, bucket) SELECT meter_id, to_timestamp(quarter * 900)"
            " FROM unnest($1::integer[], $2::bigint[]) AS touched (meter_id, quarter) ON CONFLICT DO NOTHING",
            [meter_id for meter_id, _ in pairs],
            [quarter_us // BUCKET_15M_US for _, quarter_us in pairs],
        )


async def mark_gauge_range(connection: Session, meter_ids: Sequence[int], from_: datetime, to: datetime) -> None:
    """Mark all quarter hours of meters that begin in [from_, to)."""
    await connection.execute(
        "INSERT INTO dirty_gauge (bucket, meter_id) SELECT bucket, meter_id"
        " FROM generate_series($2::timestamptz, $3::timestamptz - INTERVAL '15 minutes', INTERVAL '15 minutes')"
        " AS bucket, unnest($1::integer[]) AS meter_id ON CONFLICT DO NOTHING",
        meter_ids,
        from_,
        to,
    )


async def read_gauge_marks(connection: Session, *, ended_by: datetime, most: int) -> list[tuple[int, int]]:
    """Return up to `most` marked (meter_id, quarter_us) pairs that were over by `ended_by`, the newest first."""
    rows = await connection.fetch(
        "SELECT meter_id, bucket FROM dirty_gauge WHERE bucket <= $1::timestamptz - INTERVAL '15 minutes'"
        " ORDER BY bucket DESC, meter_id DESC LIMIT $2",
        ended_by,
        most,
    )
    return [(row["meter_id"], instant_us(row["bucket"])) for row in rows]


async def drop_gauge_marks(connection: Session, quarters: Sequence[tuple[int, int]]) -> None:
    """Delete marks, given as (meter_id, quarter_us) pairs."""
    await connection.execute(
        "DELETE FROM dirty_gauge USING unnest($1::integer[], $2::bigint[]) AS done (meter_id, quarter)"
        " WHERE dirty_gauge.meter_id = done.meter_id AND dirty_gauge.bucket = to_timestamp(done.quarter * 900)",
        [meter_id for meter_id, _ in quarters],
        [quarter_us // BUCKET_15M_US for _, quarter_us in quarters],
    )


async def build_gauge_quarters(
    connection: Session, quarters: Sequence[tuple[int, int]], gauges: Sequence[str], ids: Mapping[str, int]
) -> None:
    """Build the rows of gauge_15m for (meter_id, quarter_us) pairs of meters that have these gauges.

    `ids` are the numbers of the quantities. Raw readings never go away one by one, so a row that is there is replaced.
    """
    await connection.execute(
        _build_quarters(tuple(gauges)),
        [meter_id for meter_id, _ in quarters],
        [quarter_us // BUCKET_15M_US for _, quarter_us in quarters],
        [ids[name] for name in gauges],
    )


@lru_cache(maxsize=256)
def _build_quarters(gauges: tuple[str, ...]) -> str:
    aggregates = ", ".join(
        f"min({name}) AS min_{n}, {_mean(name)} AS avg_{n}, max({name}) AS max_{n}, count({name}) AS count_{n}"
        for n, name in enumerate(gauges, start=1)
    )
    narrow = ", ".join(
        f"(($3::smallint[])[{n}], min_{n}, avg_{n}, max_{n}, count_{n})" for n in range(1, len(gauges) + 1)
    )
    return f"""
INSERT INTO gauge_15m (meter_id, bucket, quantity_id, min_value, avg_value, max_value, sample_count)
SELECT wide.meter_id, wide.bucket, narrow.*
FROM (
    SELECT wanted.meter_id, wanted.bucket, {aggregates}
    FROM (SELECT meter_id, to_timestamp(quarter * 900) AS bucket
          FROM unnest($1::integer[], $2::bigint[]) AS each (meter_id, quarter)) AS wanted
    CROSS JOIN LATERAL (
        SELECT {", ".join(gauges)} FROM reading
        WHERE meter_id = wanted.meter_id AND time >= wanted.bucket AND time < wanted.bucket + INTERVAL '15 minutes'
    ) AS sample
    GROUP BY wanted.meter_id, wanted.bucket
) AS wide
CROSS JOIN LATERAL (VALUES {narrow}) AS narrow (quantity_id, min_value, avg_value, max_value, sample_count)
WHERE narrow.sample_count > 0
ON CONFLICT (meter_id, quantity_id, bucket) DO UPDATE SET min_value = excluded.min_value,
    avg_value = excluded.avg_value, max_value = excluded.max_value, sample_count = excluded.sample_count
"""  # noqa: S608 - names of the vocabulary, and numbers


def _mean(name: str) -> str:
    """The mean of a gauge; of directions that of unit vectors, or north-west and north-east would make south."""
    if BY_NAME[name].unit != _ANGLE:
        return f"avg({name})::real"
    degrees = f"degrees(atan2(avg(sin(radians({name}))), avg(cos(radians({name})))))"
    return f"(CASE WHEN {degrees} < 0 THEN 360 + {degrees} ELSE {degrees} END)::real"


async def mark_gauge_days(connection: Session, days: Iterable[tuple[int, date]]) -> None:
    """Mark local days whose rows in gauge_1d no longer reflect gauge_15m."""
    pairs = list(days)
    if pairs:
        await connection.execute(
            "INSERT INTO dirty_gauge_day (meter_id, day) SELECT * FROM unnest($1::integer[], $2::date[])"
            " ON CONFLICT DO NOTHING",
            [meter_id for meter_id, _ in pairs],
            [day for _, day in pairs],
        )


async def read_gauge_days(connection: Session, *, last: date, most: int) -> list[tuple[int, date]]:
    """Return up to `most` marked (meter_id, day) pairs up to the day `last`, the latest day first."""
    rows = await connection.fetch(
        "SELECT meter_id, day FROM dirty_gauge_day WHERE day <= $1 ORDER BY day DESC, meter_id LIMIT $2", last, most
    )
    return [(row["meter_id"], row["day"]) for row in rows]


# The mean of a day weights its quarter hours by their samples: it is that of the samples themselves. Directions are
# added up as vectors; how much those of a quarter hour scatter is not kept, so their mean of the day is nearly that.
_BUILD_DAYS: Final = """
INSERT INTO gauge_1d (meter_id, day, bucket, quantity_id, min_value, avg_value, max_value, sample_count)
SELECT meter_id, day, from_time, quantity_id, min_value,
    CASE WHEN unit <> 'deg' THEN mean WHEN direction < 0 THEN 360 + direction ELSE direction END, max_value, samples
FROM (
    SELECT wanted.meter_id, wanted.day, wanted.from_time, part.quantity_id, quantity.unit,
        min(part.min_value) AS min_value, max(part.max_value) AS max_value, sum(part.sample_count) AS samples,
        sum(part.avg_value::float8 * part.sample_count) / sum(part.sample_count) AS mean,
        degrees(atan2(sum(sin(radians(part.avg_value)) * part.sample_count),
                      sum(cos(radians(part.avg_value)) * part.sample_count))) AS direction
    FROM unnest($1::integer[], $2::date[], $3::timestamptz[], $4::timestamptz[])
        AS wanted (meter_id, day, from_time, to_time)
    CROSS JOIN LATERAL (
        SELECT * FROM gauge_15m
        WHERE meter_id = wanted.meter_id AND bucket >= wanted.from_time AND bucket < wanted.to_time
    ) AS part
    JOIN quantity USING (quantity_id)
    GROUP BY wanted.meter_id, wanted.day, wanted.from_time, part.quantity_id, quantity.unit
) AS summed
ON CONFLICT (meter_id, quantity_id, day) DO UPDATE SET bucket = excluded.bucket, min_value = excluded.min_value,
    avg_value = excluded.avg_value, max_value = excluded.max_value, sample_count = excluded.sample_count
"""


async def build_gauge_days(connection: Session, wanted: Sequence[MeterDay]) -> None:
    """Build rows of gauge_1d from gauge_15m and clear their marks."""
    if not wanted:
        return
    meters, days = [each[0] for each in wanted], [each[1] for each in wanted]
    await connection.execute(_BUILD_DAYS, meters, days, [each[2] for each in wanted], [each[3] for each in wanted])
    await connection.execute(
        "DELETE FROM dirty_gauge_day USING unnest($1::integer[], $2::date[]) AS done (meter_id, day)"
        " WHERE dirty_gauge_day.meter_id = done.meter_id AND dirty_gauge_day.day = done.day",
        meters,
        days,
    )
