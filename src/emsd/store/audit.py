"""Figures that hold what was true or arrived against what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emsd.readings import instant_us
from emsd.store.pool import Pool, Session, session

__all__ = [
    "MeasuredEnergy",
    "PollTotals",
    "lost_readings",
    "measured_since",
    "poll_totals",
    "quarantined",
    "stored_readings",
]


@dataclass(frozen=True, slots=True)
class PollTotals:
    """Polls of all meters by result."""

    expected: int
    ok: int
    partial: int
    failed: int
    skipped: int


async def stored_readings(
    pool: Pool, meter_ids: Sequence[int], *, from_: datetime, without_quality: int
) -> dict[int, int]:
    """Return how many readings from `from_` on each meter has that carry no bit of `without_quality`."""
    async with session(pool, "count readings") as connection:
        rows = await connection.fetch(
            "SELECT meter_id, count(*) AS readings FROM reading"
            " WHERE meter_id = ANY($1::integer[]) AND time >= $2 AND quality & $3 = 0 GROUP BY meter_id",
            list(meter_ids),
            from_,
            without_quality,
        )
    return {row["meter_id"]: row["readings"] for row in rows}


async def lost_readings(pool: Pool, *, from_: datetime) -> int:
    """Return how many readings that had been taken were recorded as lost since `from_`."""
    return await _losses(pool, from_, taken=True)


async def unpolled_readings(pool: Pool, *, from_: datetime) -> int:
    """Return how many readings were recorded since `from_` as never taken, because nobody polled."""
    return await _losses(pool, from_, taken=False)


async def _losses(pool: Pool, from_: datetime, *, taken: bool) -> int:
    async with session(pool, "count losses") as connection:
        total = await connection.fetchval(
            "SELECT coalesce(sum(readings), 0) FROM reading_loss WHERE recorded_at >= $1 AND taken = $2", from_, taken
        )
    return int(total)


async def quarantined(pool: Pool, *, from_: datetime) -> int:
    """Return how many messages and rows were quarantined since `from_`."""
    async with session(pool, "count quarantined messages") as connection:
        return int(await connection.fetchval("SELECT count(*) FROM quarantine WHERE received_at >= $1", from_))


async def poll_totals(pool: Pool, *, from_: datetime) -> PollTotals:
    """Return the polls of all meters since the minute of `from_`, as far as they have been written down."""
    async with session(pool, "add up polls") as connection:
        row = await connection.fetchrow(
            "SELECT coalesce(sum(polls_expected), 0), coalesce(sum(polls_ok), 0), coalesce(sum(polls_partial), 0),"
            " coalesce(sum(polls_failed), 0), coalesce(sum(polls_skipped), 0)"
            " FROM collector_health_1m WHERE time >= date_trunc('minute', $1::timestamptz)",
            from_,
        )
    return PollTotals(*row) if row is not None else PollTotals(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class MeasuredEnergy:
    """Energy of one meter from some bucket on, up to its last sample."""

    import_kwh: float
    export_kwh: float
    estimated_kwh: float
    last_sample_us: int


_MEASURED_SINCE: Final = """
SELECT minute.meter_id, coalesce(sum(energy_import_kwh), 0) AS import, coalesce(sum(energy_export_kwh), 0) AS export,
    sum(estimated_import_kwh) + sum(estimated_export_kwh) AS estimated, last_sample.time AS last_time
FROM interval_1m AS minute
JOIN LATERAL (
    SELECT time FROM reading
    WHERE meter_id = minute.meter_id AND time >= $1
        AND (energy_import_kwh IS NOT NULL OR energy_export_kwh IS NOT NULL)
    ORDER BY time DESC LIMIT 1
) AS last_sample ON true
WHERE minute.bucket >= $1
GROUP BY minute.meter_id, last_sample.time
"""


async def measured_since(connection: Session, from_: datetime) -> dict[int, MeasuredEnergy]:
    """Return what every meter with a counter measured from the minute `from_` up to its last sample, by meter id."""
    rows = await connection.fetch(_MEASURED_SINCE, from_)
    return {
        row["meter_id"]: MeasuredEnergy(row["import"], row["export"], row["estimated"], instant_us(row["last_time"]))
        for row in rows
    }
