"""The queue of what is to be computed anew, in pieces, and who computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from emsd.store.intervals import lead_accounting
from emsd.store.pool import Session

__all__ = [
    "EnergyTotals",
    "Piece",
    "Waiting",
    "accounting_seen",
    "delete_piece",
    "energy_totals",
    "mark_asset_quarters",
    "next_piece",
    "note_pass",
    "queue_pieces",
    "waiting_pieces",
    "withdraw_pieces",
]


@dataclass(frozen=True, slots=True)
class Piece:
    """Meters whose intervals, or gauges, or both, are to be computed anew in [from_, to), whole quarter hours.

    `meter_ids` None means all.
    """

    from_: datetime
    to: datetime
    meter_ids: Sequence[int] | None
    intervals: bool
    gauges: bool
    recomputation_id: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much of a request is left: pieces, and the begin of the next one."""

    pieces: int
    next_from: datetime | None


@dataclass(frozen=True, slots=True)
class EnergyTotals:
    """Energy of one meter over a range [kWh]; None where nothing is known."""

    import_kwh: float | None
    export_kwh: float | None


async def queue_pieces(connection: Session, request: UUID, pieces: Sequence[Piece], requested_by: str) -> None:
    """Append the pieces of a request; they are done in this order."""
    await connection.executemany(
        "INSERT INTO recomputation (request, from_time, to_time, meter_ids, intervals, gauges, requested_by)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(request, each.from_, each.to, each.meter_ids, each.intervals, each.gauges, requested_by) for each in pieces],
    )


async def next_piece(connection: Session, *, gauges_too: bool = True) -> Piece | None:
    """Return the piece to be done next; without `gauges_too` of those that are not about gauges."""
    row = await connection.fetchrow(
        "SELECT recomputation_id, from_time, to_time, meter_ids, intervals, gauges FROM recomputation"
        " WHERE $1 OR NOT gauges ORDER BY recomputation_id LIMIT 1 FOR UPDATE SKIP LOCKED",
        gauges_too,
    )
    if row is None:
        return None
    return Piece(
        row["from_time"], row["to_time"], row["meter_ids"], row["intervals"], row["gauges"], row["recomputation_id"]
    )


async def delete_piece(connection: Session, piece: Piece) -> None:
    """Take a piece that is done from the queue."""
    await connection.execute("DELETE FROM recomputation WHERE recomputation_id = $1", piece.recomputation_id)


# A reading counts as far as its neighbours may be, and a counter is judged by eight readings more (migration 0017).
_MARK_ASSETS: Final = """
INSERT INTO dirty_asset_quarter AS mark (asset_id, bucket)
SELECT DISTINCT source.asset_id, quarter
FROM kpi_source AS source JOIN meter USING (meter_id)
CROSS JOIN LATERAL generate_series(
    time_bucket('15 minutes', $2::timestamptz - make_interval(secs => meter.max_gap_s + 8 * meter.poll_interval_s)),
    $3::timestamptz + make_interval(secs => meter.max_gap_s + 8 * meter.poll_interval_s),
    INTERVAL '15 minutes') AS quarter
WHERE source.stored AND ($1::integer[] IS NULL OR source.meter_id = ANY($1))
ORDER BY 1, 2
ON CONFLICT (asset_id, bucket) DO UPDATE SET version = mark.version + 1
"""


async def mark_asset_quarters(
    connection: Session, meter_ids: Sequence[int] | None, from_: datetime, to: datetime
) -> None:
    """Mark the inputs of key figures that are made of some meters, None: of all, in quarter hours [from_, to)."""
    await connection.execute(_MARK_ASSETS, meter_ids, from_, to)


async def waiting_pieces(connection: Session, request: UUID) -> Waiting:
    """Return what is left of a request."""
    row = await connection.fetchrow(
        "SELECT count(*) AS pieces, (array_agg(from_time ORDER BY recomputation_id))[1] AS next_from"
        " FROM recomputation WHERE request = $1",
        request,
    )
    return Waiting(0, None) if row is None else Waiting(row["pieces"], row["next_from"])


async def withdraw_pieces(connection: Session, request: UUID) -> int:
    """Take what is left of a request from the queue; return how many pieces that were."""
    tag = await connection.execute("DELETE FROM recomputation WHERE request = $1", request)
    return int(tag.rpartition(" ")[2])


async def note_pass(connection: Session, led_by: str) -> None:
    """Record that a pass is made now."""
    await connection.execute(
        "INSERT INTO accounting_state (last_pass_at, led_by) VALUES (now(), $1)"
        " ON CONFLICT (only_row) DO UPDATE SET last_pass_at = excluded.last_pass_at, led_by = excluded.led_by",
        led_by,
    )


async def accounting_seen(connection: Session, within_s: float) -> str | None:
    """Return who accounts, if a pass was made in the last `within_s` [s] or is being made now; None otherwise."""
    led_by: str | None = await connection.fetchval(
        "SELECT led_by FROM accounting_state WHERE last_pass_at > now() - $1 * INTERVAL '1 second'", float(within_s)
    )
    # Outside a transaction the lock is given back at once: it only tells whether somebody has it.
    return led_by if led_by is not None or await lead_accounting(connection) else "another process"


async def energy_totals(
    connection: Session, meter_ids: Sequence[int], from_: datetime, to: datetime
) -> dict[int, EnergyTotals]:
    """Return the energy of each meter in [from_, to), whole quarter hours."""
    rows = await connection.fetch(
        "SELECT meter_id, sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh FROM interval_15m"
        " WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 GROUP BY meter_id",
        meter_ids,
        from_,
        to,
    )
    return {row["meter_id"]: EnergyTotals(row["import_kwh"], row["export_kwh"]) for row in rows}
