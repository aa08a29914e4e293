"""Figures that hold what arrived against what was stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from emsd.store.pool import Pool, session

__all__ = ["PollTotals", "lost_readings", "poll_totals", "quarantined", "stored_readings"]


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
    """Return how many readings were recorded as lost since `from_`."""
    async with session(pool, "count losses") as connection:
        return int(
            await connection.fetchval(
                "SELECT coalesce(sum(readings), 0) FROM reading_loss WHERE recorded_at >= $1", from_
            )
        )


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
