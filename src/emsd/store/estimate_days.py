"""Which kind of day each local day was when estimates of long gaps were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

from emsd.store.pool import Session

__all__ = ["first_estimate", "mark_estimates", "read_day_classes", "write_day_classes"]

_FIRST: Final = """
SELECT min(first.bucket) FROM unnest($1::integer[]) AS wanted (meter_id)
CROSS JOIN LATERAL (
    SELECT bucket FROM estimate_15m WHERE meter_id = wanted.meter_id ORDER BY bucket LIMIT 1
) AS first
"""
_MARK: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT meter_id, bucket
FROM unnest($2::timestamptz[], $3::timestamptz[]) AS stretch (from_time, to_time)
JOIN estimate_15m ON bucket >= stretch.from_time AND bucket < stretch.to_time
WHERE meter_id = ANY($1::integer[])
ON CONFLICT DO NOTHING
"""


async def first_estimate(connection: Session, meter_ids: Sequence[int]) -> datetime | None:
    """Return the first quarter hour of which any of these meters has an estimate; None when there is none."""
    first: datetime | None = await connection.fetchval(_FIRST, meter_ids)
    return first


async def read_day_classes(connection: Session) -> dict[date, int]:
    """Return the kind of each local day that is recorded, as DayClass numbers it."""
    rows = await connection.fetch("SELECT day, day_class FROM estimate_day")
    return {row["day"]: row["day_class"] for row in rows}


async def write_day_classes(connection: Session, classes: Mapping[date, int]) -> None:
    """Record the kind of some local days in the place of what was recorded of them."""
    await connection.execute(
        "INSERT INTO estimate_day (day, day_class) SELECT * FROM unnest($1::date[], $2::smallint[])"
        " ON CONFLICT (day) DO UPDATE SET day_class = excluded.day_class",
        list(classes),
        list(classes.values()),
    )


async def mark_estimates(
    connection: Session, meter_ids: Sequence[int], stretches: Sequence[tuple[datetime, datetime]]
) -> int:
    """Mark the estimates of meters in stretches [from, to); return how many were not marked yet."""
    tag = await connection.execute(_MARK, meter_ids, [from_ for from_, _ in stretches], [to for _, to in stretches])
    return int(tag.rpartition(" ")[2])
