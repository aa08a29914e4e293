"""Estimates of long gaps: which are due, and their rows.

Every function takes a connection: accounting does all of it in the transaction that writes the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import numpy as np

from emsd.energy.estimation import EstimatedQuarters
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = [
    "DIRECTIONS",
    "ChangedMinutes",
    "Direction",
    "Metered",
    "delete_estimates",
    "delete_whole",
    "mark_due",
    "mark_open",
    "mark_unsettled",
    "take_due",
    "write_estimates",
]

Direction: TypeAlias = Literal["import", "export"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("import", "export")

_EPOCH: Final = to_datetime(0)


@dataclass(frozen=True, slots=True)
class Metered:
    """A meter, and the directions that it measures."""

    meter_id: int
    import_: bool
    export: bool


@dataclass(frozen=True, slots=True)
class ChangedMinutes:
    """Minutes [from_us, to_us) of one meter whose rows were written or deleted."""

    metered: Metered
    from_us: int
    to_us: int


# --- which estimates are due --------------------------------------------------------------------------------------

# A gap longer than an hour fills at least one whole quarter hour beside each of its ends, so a quarter hour concerns
# one only when it is hollow itself, or one of its neighbours is. The minutes are asked first: of a meter that is read
# all the time the changed ones and those beside them are all measured, and that is all that needs to be known.
_MARK_HOLLOW: Final = """
WITH changed AS (
    SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::boolean[], $5::boolean[])
        AS changed (meter_id, first_time, to_time, import, export)
), doubtful AS (
    SELECT * FROM changed WHERE (
        SELECT count(*) FROM interval_1m AS minute
        WHERE minute.meter_id = changed.meter_id AND minute.bucket >= first_time AND minute.bucket < to_time
            AND coverage > 0.001 AND estimated_import_kwh = 0 AND estimated_export_kwh = 0
            AND (energy_import_kwh IS NOT NULL OR NOT import) AND (energy_export_kwh IS NOT NULL OR NOT export)
    ) < extract(epoch FROM to_time - first_time) / 60
), quarter AS (
    SELECT doubtful.meter_id, bucket, first_time, to_time, part.meter_id IS NULL OR coverage < 0.001
            OR (import AND energy_import_kwh IS NULL) OR (export AND energy_export_kwh IS NULL)
            OR estimated_import_kwh > 0.999 * energy_import_kwh OR estimated_export_kwh > 0.999 * energy_export_kwh
        AS is_hollow
    FROM doubtful CROSS JOIN LATERAL generate_series(
        time_bucket('15 minutes', first_time) - interval '15 minutes', to_time + interval '15 minutes',
        interval '15 minutes') AS bucket
    LEFT JOIN interval_15m AS part USING (meter_id, bucket)
), beside AS (
    SELECT *, lag(is_hollow) OVER near OR is_hollow OR (lead(is_hollow) OVER near AND bucket < $6) AS is_near_a_gap
    FROM quarter WINDOW near AS (PARTITION BY meter_id, first_time ORDER BY bucket)
)
INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT meter_id, bucket FROM beside
WHERE is_near_a_gap AND bucket >= time_bucket('15 minutes', first_time) AND bucket < to_time
ON CONFLICT DO NOTHING
"""
_MARK_RESTING: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT meter_id, bucket
FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[]) AS changed (meter_id, from_time, to_time)
JOIN estimate_15m AS estimate USING (meter_id)
WHERE estimate.bucket >= changed.from_time AND estimate.bucket < changed.to_time
ON CONFLICT DO NOTHING
"""
_MARK_UNSETTLED: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT meter_id, bucket FROM estimate_15m
WHERE bucket >= $1 AND cardinality(basis_days) < $2 AND meter_id = ANY($3::integer[])
ON CONFLICT DO NOTHING
"""
_MARK_OPEN: Final = """
INSERT INTO estimate_due (meter_id, bucket)
SELECT wanted.meter_id, last.bucket + interval '15 minutes' FROM unnest($1::integer[]) AS wanted (meter_id)
CROSS JOIN LATERAL (
    SELECT bucket FROM interval_15m AS part
    WHERE part.meter_id = wanted.meter_id AND part.{energy} IS NOT NULL AND part.bucket >= $2
    ORDER BY bucket DESC LIMIT 1
) AS last
WHERE last.bucket < $3
ON CONFLICT DO NOTHING
"""
_TAKE_DUE: Final = """
SELECT meter_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint ORDER BY bucket) AS buckets_us
FROM estimate_due GROUP BY meter_id ORDER BY meter_id LIMIT $1
"""


async def mark_due(
    connection: Session, changed: Sequence[ChangedMinutes], *, now: datetime, open_after: timedelta, reach: timedelta
) -> None:
    """Mark the estimates that changed minutes may concern: at gaps in or beside them, and those that rest on them.

    An estimate may rest on any like day within `reach` before it; on later ones too where there were not enough, and
    of these only what is older than `open_after` is asked here: for the rest there is `mark_unsettled`.
    """
    minute, quarter = timedelta(minutes=1), timedelta(minutes=15)
    running = now - (now - _EPOCH) % quarter
    live_from = now - timedelta(hours=1)
    meters = [each.metered.meter_id for each in changed]
    from_times = [to_datetime(each.from_us) for each in changed]
    to_times = [to_datetime(each.to_us) for each in changed]
    await connection.execute(
        _MARK_HOLLOW,
        meters,
        [from_time - minute for from_time in from_times],
        # What lies ahead of the newest minute is no gap yet.
        [to_time if to_time > live_from else to_time + minute for to_time in to_times],
        [each.metered.import_ for each in changed],
        [each.metered.export for each in changed],
        live_from,
    )
    first_resting = []
    for from_time in from_times:
        if from_time < now - open_after:
            first_resting.append(from_time - reach)
        else:
            # Minutes of the running quarter hour change at every pass; a gap before them was marked above.
            first_resting.append(from_time - quarter if from_time < running else running + quarter)
    await connection.execute(_MARK_RESTING, meters, first_resting, [to_time + reach for to_time in to_times])


async def mark_unsettled(connection: Session, meter_ids: Sequence[int], since: datetime, *, enough_days: int) -> None:
    """Mark estimates since an instant that rest on fewer than `enough_days` like days: later days may help."""
    await connection.execute(_MARK_UNSETTLED, since, enough_days, meter_ids)


async def mark_open(connection: Session, meters: Sequence[Metered], *, since: datetime, until: datetime) -> None:
    """Mark what follows the last known quarter hour of each direction, where that lies between the two instants."""
    for energy, meter_ids in (
        ("energy_import_kwh", [each.meter_id for each in meters if each.import_]),
        ("energy_export_kwh", [each.meter_id for each in meters if each.export]),
    ):
        if meter_ids:
            await connection.execute(_MARK_OPEN.format(energy=energy), meter_ids, since, until)


async def take_due(connection: Session, *, most_meters: int) -> dict[int, list[int]]:
    """Return and unmark what is due of up to `most_meters` meters: beginnings of quarter hours [us], ascending."""
    rows = await connection.fetch(_TAKE_DUE, most_meters)
    taken = {row["meter_id"]: row["buckets_us"] for row in rows}
    if taken:
        await connection.execute("DELETE FROM estimate_due WHERE meter_id = ANY($1::integer[])", list(taken))
    return taken


# --- writing them -------------------------------------------------------------------------------------------------

_DELETE_WHOLE: Final = """
WITH whole AS (
    SELECT bucket FROM interval_15m
    WHERE meter_id = $1 AND bucket = ANY($2::timestamptz[]) AND coverage > 0.9999
        AND estimated_import_kwh = 0 AND estimated_export_kwh = 0
        AND (energy_import_kwh IS NOT NULL OR NOT $3) AND (energy_export_kwh IS NOT NULL OR NOT $4)
), gone AS (
    DELETE FROM estimate_15m USING whole WHERE meter_id = $1 AND estimate_15m.bucket = whole.bucket
)
SELECT (extract(epoch FROM bucket) * 1000000)::bigint FROM whole
"""
_WRITE: Final = """
INSERT INTO estimate_15m (meter_id, direction, bucket, energy_kwh, replaced_kwh, method, total_known, basis_days)
SELECT $1, $2, part.bucket, part.energy_kwh, part.replaced_kwh, part.method, part.total_known,
    coalesce((SELECT array_agg(day::date ORDER BY day)
        FROM regexp_split_to_table(nullif(part.days, ''), ' ') AS day), '{}')
FROM unnest($3::timestamptz[], $4::float8[], $5::float8[], $6::text[], $7::boolean[], $8::text[])
    AS part (bucket, energy_kwh, replaced_kwh, method, total_known, days)
"""


async def delete_whole(connection: Session, metered: Metered, buckets_us: Sequence[int]) -> set[int]:
    """Delete the estimates of those quarter hours that were measured as a whole, and return these."""
    rows = await connection.fetch(
        _DELETE_WHOLE,
        metered.meter_id,
        [to_datetime(bucket) for bucket in buckets_us],
        metered.import_,
        metered.export,
    )
    return {row[0] for row in rows}


async def delete_estimates(connection: Session, meter_id: int, direction: Direction, from_us: int, to_us: int) -> None:
    """Delete the estimates of one direction in [from_us, to_us)."""
    await connection.execute(
        "DELETE FROM estimate_15m WHERE meter_id = $1 AND direction = $2 AND bucket >= $3 AND bucket < $4",
        meter_id,
        direction,
        to_datetime(from_us),
        to_datetime(to_us),
    )


async def write_estimates(connection: Session, meter_id: int, direction: Direction, quarters: EstimatedQuarters) -> int:
    """Insert estimates, where none may stand yet; return how many."""
    energy_kwh = [None if np.isnan(each) else each for each in quarters.energy_kwh.tolist()]
    methods = [
        "like_days" if shaped else "even" if known else "none"
        for shaped, known in zip(quarters.shaped.tolist(), quarters.total_known.tolist(), strict=True)
    ]
    await connection.execute(
        _WRITE,
        meter_id,
        direction,
        [to_datetime(bucket) for bucket in quarters.bucket_us.tolist()],
        energy_kwh,
        quarters.replaced_kwh.tolist(),
        methods,
        quarters.total_known.tolist(),
        # An array of arrays must be a rectangle; days differ in number.
        [" ".join(day.isoformat() for day in days) for days in quarters.basis_days],
    )
    return len(methods)
