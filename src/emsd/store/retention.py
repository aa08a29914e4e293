"""What is kept of each tier: dropping whole chunks, the oldest first, and the horizon that this leaves behind.

What lies before the horizon of a tier is gone, so nothing may be computed from what is left there: a single late
reading would replace the energy of a whole day. `sealed_before` is where computing may begin. The last samples before
the horizon of the raw readings stay in `reading_tail`, so that the first intervals after it come out as if all were
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from emsd.energy.counters import CONTEXT_SAMPLES
from emsd.energy.windows import local_day_bounds
from emsd.store.pool import Session

__all__ = ["Chunk", "Horizons", "KeptTier", "drop_chunk", "oldest_chunk", "read_horizons", "reason_to_hold"]

KeptTier: TypeAlias = Literal["raw", "1m", "15m"]
"""Tiers that may be dropped; local days are kept for ever."""

_TABLES: Final[Mapping[KeptTier, tuple[str, ...]]] = {
    "raw": ("reading",),
    "1m": ("interval_1m",),
    "15m": ("interval_15m", "gauge_15m", "asset_15m"),
}
_TAIL_SAMPLES: Final = 2 * CONTEXT_SAMPLES


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a hypertable: [begin, end) of its time."""

    name: str
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Horizons:
    """From when on each tier is kept; None: nothing of it was ever dropped."""

    raw: datetime | None = None
    minutes: datetime | None = None
    quarters: datetime | None = None

    def sealed_before(self, zone: ZoneInfo) -> datetime | None:
        """Return before when no interval is computed any more; None when there is no such time.

        A local day of which some quarter hours are gone is sealed as a whole.
        """
        sealed = [each for each in (self.raw, self.minutes) if each is not None]
        if self.quarters is not None:
            day = self.quarters.astimezone(zone).date()
            begin, end = local_day_bounds(day, zone)
            sealed.append(begin if begin == self.quarters else end)
        return max(sealed, default=None)


async def read_horizons(connection: Session) -> Horizons:
    """Return what retention has left."""
    rows = await connection.fetch("SELECT tier, kept_from FROM retention_horizon")
    kept = {row["tier"]: row["kept_from"] for row in rows}
    return Horizons(kept.get("raw"), kept.get("1m"), kept.get("15m"))


async def oldest_chunk(connection: Session, tier: KeptTier, ended_by: datetime) -> Chunk | None:
    """Return the oldest chunk of a tier if it lies before `ended_by` as a whole."""
    row = await connection.fetchrow(
        "SELECT format('%I.%I', chunk_schema, chunk_name) AS name, range_start, range_end"
        " FROM timescaledb_information.chunks"
        " WHERE hypertable_schema = current_schema AND hypertable_name = ANY($1::text[])"
        " ORDER BY range_start LIMIT 1",
        list(_TABLES[tier]),
    )
    if row is None or row["range_end"] > ended_by:
        return None
    return Chunk(row["name"], row["range_start"], row["range_end"])


# What is marked near the end of the chunk may still need its samples, or rewrite its intervals. Marks of an asset that
# has no inputs any more are never worked off.
_HOLDS: Final = {
    "minutes wait to be computed": "dirty_interval WHERE bucket < $1::timestamptz + INTERVAL '1 day'",
    "gauges wait to be computed": "dirty_gauge WHERE bucket < $1::timestamptz",
    "a recomputation waits": "recomputation WHERE from_time < $1::timestamptz + INTERVAL '1 day'",
    # East of Greenwich it is a later date for up to 14 hours of the day.
    "local days wait to be computed": "dirty_day WHERE day <= ($1::timestamptz + INTERVAL '14 hours')::date",
    "local days of gauges wait to be computed": (
        "dirty_gauge_day WHERE day <= ($1::timestamptz + INTERVAL '14 hours')::date"
    ),
    "inputs of key figures wait to be computed": (
        "dirty_asset_quarter JOIN kpi_source USING (asset_id)"
        " WHERE stored AND bucket < $1::timestamptz + INTERVAL '1 day'"
    ),
    "estimates wait to be made": "estimate_due WHERE bucket < $1::timestamptz + INTERVAL '1 day'",
    "the past of a virtual meter waits to be computed": (
        "virtual_meter JOIN meter USING (meter_id)"
        " WHERE pending_before IS NOT NULL AND kind = 'virtual' AND removed_at IS NULL AND $1::timestamptz IS NOT NULL"
    ),
}


async def reason_to_hold(connection: Session, chunk: Chunk) -> str | None:
    """Return what still needs the chunk, None when nothing does.

    The chunk is locked first: a reading that is being written into it has its mark when the lock is given.
    """
    await connection.execute("SET LOCAL lock_timeout = '3s'")
    await connection.execute(f"LOCK TABLE {chunk.name} IN ACCESS EXCLUSIVE MODE")
    for reason, marked in _HOLDS.items():
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {marked})", chunk.end):  # noqa: S608 - from above
            return reason
    return None


_READ_TAIL: Final = """
    (SELECT time, energy_import_kwh, energy_export_kwh, active_power_kw FROM reading
      WHERE meter_id = meter.meter_id AND time >= $1 AND time < $2 AND {usable} ORDER BY time DESC LIMIT $3)"""
_SERIES: Final = ("energy_import_kwh", "energy_export_kwh", "active_power_kw")
_KEEP_TAIL: Final = f"""
INSERT INTO reading_tail (meter_id, time, energy_import_kwh, energy_export_kwh, active_power_kw)
SELECT meter.meter_id, sample.*
FROM meter CROSS JOIN LATERAL ({" UNION ".join(_READ_TAIL.format(usable=f"{name} IS NOT NULL") for name in _SERIES)})
    AS sample
ON CONFLICT DO NOTHING
"""  # noqa: S608 - only constants of this module are put together
_CUT_TAIL: Final = f"""
DELETE FROM reading_tail USING (
    SELECT meter_id, time,
        {" OR ".join(f"({name} IS NOT NULL AND count({name}) OVER newest <= $1)" for name in _SERIES)} AS is_needed
    FROM reading_tail WINDOW newest AS (PARTITION BY meter_id ORDER BY time DESC)
) AS judged
WHERE judged.meter_id = reading_tail.meter_id AND judged.time = reading_tail.time AND NOT judged.is_needed
"""  # noqa: S608 - only constants of this module are put together


async def drop_chunk(
    connection: Session, tier: KeptTier, chunk: Chunk, kept_from: datetime | None, *, timeout_s: float
) -> None:
    """Drop a chunk, the oldest of its tier, and move the tier's horizon to its end, in at most `timeout_s` [s] each.

    `kept_from` is the horizon so far. What came into an older chunk since then was too late and counts for nothing.
    """
    is_new = kept_from is None or chunk.end > kept_from
    if tier == "raw" and is_new:
        await connection.execute(_KEEP_TAIL, kept_from or chunk.begin, chunk.end, _TAIL_SAMPLES, timeout=timeout_s)
        await connection.execute(_CUT_TAIL, _TAIL_SAMPLES)
    for table in _TABLES[tier]:
        await connection.execute(
            "SELECT drop_chunks($1::regclass, older_than => $2::timestamptz)", table, chunk.end, timeout=timeout_s
        )
    if is_new:
        await connection.execute(
            "INSERT INTO retention_horizon (tier, kept_from) VALUES ($1, $2)"
            " ON CONFLICT (tier) DO UPDATE SET kept_from = excluded.kept_from, changed_at = now()",
            tier,
            chunk.end,
        )
