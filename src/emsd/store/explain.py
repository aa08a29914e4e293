"""What an explanation of a figure needs beside the samples: intervals, estimates, events, versions, and what waits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from emsd.energy.rollup import EnergySums
from emsd.energy.windows import Segment, Tier
from emsd.readings import to_datetime
from emsd.store.pool import Session

__all__ = [
    "AppliedEvent",
    "GapEstimate",
    "StoredEnergy",
    "UsedVersion",
    "read_applied_events",
    "read_gap_estimates",
    "read_qualities",
    "read_stored",
    "read_used_versions",
    "read_virtual_inputs",
    "read_waiting",
]


@dataclass(frozen=True, slots=True)
class AppliedEvent:
    """One entry of the ledger of a meter that counts."""

    event_id: int
    kind: str
    occurred_at: datetime
    detail: Mapping[str, Any]
    author: str
    note: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class GapEstimate:
    """How quarter hours of a gap were estimated, summed up.

    energy_kwh     the estimate [kWh]; None where nothing is known
    replaced_kwh   what the even spread put there that the estimate takes the place of [kWh]
    quarter_hours  how many there are, and how many of them got their shape from like days
    total_known    whether a counter said what the gap holds in all
    basis_days     all like days behind them
    """

    energy_kwh: float | None
    replaced_kwh: float
    quarter_hours: int
    shaped_quarter_hours: int
    total_known: bool
    basis_days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class StoredEnergy:
    """What the interval tables hold of one meter: of each segment, and when the latest of it was computed."""

    segments: Mapping[Segment, EnergySums]
    computed_at: datetime | None


@dataclass(frozen=True, slots=True)
class UsedVersion:
    """A version of the rules that intervals were made by; None of what was made before versions were recorded."""

    version_id: int | None
    code_version: int | None
    since: datetime | None
    quarter_hours: int
    rules: Mapping[str, Any] | None


# Events that cut the series or give a reading concern the time that they lie in; a changed ratio all that is later.
_EVENTS: Final = """
SELECT event_id, kind, occurred_at, detail, author, note, recorded_at FROM meter_event AS event
WHERE meter_id = $1 AND kind <> 'withdrawal' AND occurred_at <= $3
    AND (occurred_at >= $2 OR kind = 'ct_ratio' OR (kind = 'hold_out' AND (detail->>'until')::timestamptz > $2))
    AND NOT EXISTS (SELECT FROM meter_event AS later WHERE later.supersedes = event.event_id)
ORDER BY occurred_at, event_id
"""
_GAP: Final = """
SELECT sum(energy_kwh) AS energy_kwh,
    coalesce(sum(replaced_kwh) FILTER (WHERE energy_kwh IS NOT NULL), 0) AS replaced_kwh, count(*) AS quarter_hours,
    count(*) FILTER (WHERE method = 'like_days') AS shaped, bool_and(total_known) AS total_known,
    (SELECT array_agg(DISTINCT day ORDER BY day) FROM estimate_15m AS each, unnest(each.basis_days) AS day
      WHERE each.meter_id = $1 AND each.direction = $2 AND each.bucket >= $3 AND each.bucket < $4
          AND each.method = 'like_days') AS basis_days
FROM estimate_15m WHERE meter_id = $1 AND direction = $2 AND bucket >= $3 AND bucket < $4
"""
_STORED_SPANS: Final = """
SELECT span.n, part.meter_id, sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh,
    sum(estimated_import_kwh + estimated_export_kwh) AS estimated_kwh, sum(coverage::float8) AS coverage,
    max(computed_at) AS computed_at
FROM unnest($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS span (from_time, to_time, n)
JOIN {table} AS part ON part.bucket >= span.from_time AND part.bucket < span.to_time
WHERE part.meter_id = ANY($1::integer[])
GROUP BY span.n, part.meter_id
"""
_STORED_DAYS: Final = """
SELECT span.n, part.meter_id, energy_import_kwh AS import_kwh, energy_export_kwh AS export_kwh,
    estimated_import_kwh + estimated_export_kwh AS estimated_kwh, coverage::float8 AS coverage, computed_at
FROM unnest($2::date[]) WITH ORDINALITY AS span (day, n)
JOIN interval_1d AS part ON part.day = span.day
WHERE part.meter_id = ANY($1::integer[])
"""
_SPANS: Final[Mapping[Tier, tuple[str, float]]] = {"15m": ("interval_15m", 900.0), "1m": ("interval_1m", 60.0)}
_WAITING: Final = """
SELECT (SELECT count(DISTINCT bucket) FROM dirty_interval
         WHERE bucket >= $2 AND bucket < $3 AND $1 = ANY(meter_ids)) AS minutes,
    (SELECT count(*) FROM dirty_day WHERE meter_id = $1 AND day BETWEEN $4 AND $5) AS days
"""
_VERSIONS: Final = """
SELECT used.version AS version_id, code_version, since, quarter_hours, rules FROM (
    SELECT version, count(*) AS quarter_hours FROM interval_15m
    WHERE meter_id = $1 AND bucket >= $2 AND bucket < $3 GROUP BY version
) AS used LEFT JOIN accounting_version ON accounting_version.version_id = used.version
ORDER BY used.version NULLS FIRST
"""


async def read_applied_events(connection: Session, meter_id: int, from_us: int, to_us: int) -> list[AppliedEvent]:
    """Return the events that count for energy in [from_us, to_us], in order of time."""
    rows = await connection.fetch(_EVENTS, meter_id, to_datetime(from_us), to_datetime(to_us))
    return [AppliedEvent(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows]


async def read_gap_estimates(
    connection: Session, meter_id: int, direction: str, from_us: int, to_us: int
) -> GapEstimate | None:
    """Return how the quarter hours that begin in [from_us, to_us) were estimated; None where none was."""
    row = await connection.fetchrow(_GAP, meter_id, direction, to_datetime(from_us), to_datetime(to_us))
    if row is None or not row["quarter_hours"]:
        return None
    return GapEstimate(
        row["energy_kwh"],
        row["replaced_kwh"],
        row["quarter_hours"],
        row["shaped"],
        row["total_known"],
        tuple(row["basis_days"] or ()),
    )


async def read_stored(
    connection: Session, meter_ids: Sequence[int], segments: Sequence[Segment]
) -> dict[int, StoredEnergy]:
    """Return what the interval tables hold of each meter in each segment; a segment without rows is absent."""
    found: dict[int, dict[Segment, EnergySums]] = {meter_id: {} for meter_id in meter_ids}
    computed_at: dict[int, datetime] = {}
    for tier in ("1d", "15m", "1m"):
        of_tier = [each for each in segments if each.tier == tier]
        if not of_tier:
            continue
        if tier == "1d":
            rows = await connection.fetch(_STORED_DAYS, meter_ids, [each.local_day for each in of_tier])
        else:
            spans = ([each.from_ for each in of_tier], [each.to for each in of_tier])
            rows = await connection.fetch(_STORED_SPANS.format(table=_SPANS[tier][0]), meter_ids, *spans)
        for row in rows:
            segment, meter_id = of_tier[row["n"] - 1], row["meter_id"]
            bucket_s = (segment.to - segment.from_).total_seconds() if tier == "1d" else _SPANS[tier][1]
            found[meter_id][segment] = EnergySums(
                row["import_kwh"], row["export_kwh"], row["estimated_kwh"] or 0.0, row["coverage"] * bucket_s
            )
            computed_at[meter_id] = max(computed_at.get(meter_id, row["computed_at"]), row["computed_at"])
    return {meter_id: StoredEnergy(sums, computed_at.get(meter_id)) for meter_id, sums in found.items()}


async def read_waiting(
    connection: Session, meter_id: int, from_: datetime, to: datetime, days: tuple[date, date]
) -> tuple[int, int]:
    """Return how many minutes of [from_, to) and local days of a meter the intervals do not reflect yet."""
    row = await connection.fetchrow(_WAITING, meter_id, from_, to, *days)
    return (0, 0) if row is None else (row["minutes"], row["days"])


async def read_used_versions(connection: Session, meter_id: int, from_: datetime, to: datetime) -> list[UsedVersion]:
    """Return by which versions of the rules the quarter hours that touch [from_, to) were made."""
    rows = await connection.fetch(_VERSIONS, meter_id, from_.replace(minute=from_.minute // 15 * 15), to)
    return [
        UsedVersion(**{**dict(row), "rules": None if row["rules"] is None else json.loads(row["rules"])})
        for row in rows
    ]


async def read_qualities(connection: Session, meter_id: int, times_us: Sequence[int]) -> dict[int, int]:
    """Return the quality of the readings of these instants [us]; where no reading is there is none."""
    rows = await connection.fetch(
        "SELECT (extract(epoch FROM time) * 1000000)::bigint, quality FROM reading"
        " WHERE meter_id = $1 AND time = ANY($2::timestamptz[])",
        meter_id,
        [to_datetime(time_us) for time_us in times_us],
    )
    return dict(map(tuple, rows))


async def read_virtual_inputs(connection: Session, meter_id: int) -> tuple[str, list[int]] | None:
    """Return the expression of a virtual meter and the meters that it is made of; None when it is none."""
    row = await connection.fetchrow(
        "SELECT expression, array_agg(input_meter_id ORDER BY input_meter_id) AS inputs"
        " FROM virtual_meter JOIN virtual_meter_input USING (meter_id)"
        " WHERE meter_id = $1 GROUP BY meter_id, expression",
        meter_id,
    )
    return None if row is None else (row["expression"], row["inputs"])
