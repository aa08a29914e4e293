"""Sums of the interval tables for rolling windows: one query a tier, whatever the number of windows and meters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from emsd.energy.carbon import CarbonFactor
from emsd.energy.rollup import NOTHING, EnergySums, ScopeSums
from emsd.energy.windows import Segment, Tier
from emsd.store.pool import Pool, session
from emsd.store.reads import READ_TIMEOUT_S, snapshot

__all__ = ["read_carbon_factors", "read_rolling_sums"]

# Spans side by side are read in one stretch, and the number of a bucket's span is found by bisection in their
# beginnings: with factors by the hour a month has hundreds of spans. A subselect a role, so that a meter may stand in
# both; the one of generation is skipped when nobody generates.
#
# {meter_id} is written in one of two ways. As it is, the primary key finds the rows of each meter: right for a few.
# With "+ 0" no index on it applies, so the block range index on time finds the rows of all meters, which lie side by
# side, and those of others are filtered out: several times faster for many. The planner does not see the difference.
_SUM_SPANS: Final = """
SELECT sums.*
FROM unnest($1::timestamptz[], $2::timestamptz[]) AS stretch (from_time, to_time)
CROSS JOIN LATERAL (
    SELECT span, import_kwh, export_kwh, estimated_kwh, coverage,
           generated_kwh, generation_coverage
    FROM (
        SELECT width_bucket(bucket, $3::timestamptz[]) AS span,
               sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh,
               sum(estimated_import_kwh + estimated_export_kwh) AS estimated_kwh, sum(coverage::float8) AS coverage
          FROM {table}
         WHERE bucket >= stretch.from_time AND bucket < stretch.to_time AND {meter_id} = ANY($4::integer[])
         GROUP BY 1
    ) AS top FULL JOIN (
        SELECT width_bucket(bucket, $3::timestamptz[]) AS span,
               sum(energy_export_kwh) AS generated_kwh, sum(coverage::float8) AS generation_coverage
          FROM {table}
         WHERE bucket >= stretch.from_time AND bucket < stretch.to_time AND meter_id = ANY($5::integer[])
         GROUP BY 1
    ) AS generation USING (span)
) AS sums
"""
_SUM_DAYS: Final = """
SELECT wanted.n, top.import_kwh, top.export_kwh, top.estimated_kwh, top.coverage,
       generation.generated_kwh, generation.generation_coverage
FROM unnest($1::date[]) WITH ORDINALITY AS wanted (day, n)
LEFT JOIN (
    SELECT day, sum(energy_import_kwh) AS import_kwh, sum(energy_export_kwh) AS export_kwh,
           sum(estimated_import_kwh + estimated_export_kwh) AS estimated_kwh, sum(coverage::float8) AS coverage
      FROM interval_1d WHERE {meter_id} = ANY($2::integer[]) AND day = ANY($1::date[]) GROUP BY day
) AS top USING (day)
LEFT JOIN (
    SELECT day, sum(energy_export_kwh) AS generated_kwh, sum(coverage::float8) AS generation_coverage
      FROM interval_1d WHERE meter_id = ANY($3::integer[]) AND day = ANY($1::date[]) GROUP BY day
) AS generation USING (day)
"""
_SPANS: Final[Mapping[Tier, tuple[str, float]]] = {"15m": ("interval_15m", 900.0), "1m": ("interval_1m", 60.0)}
_BY_KEY, _BY_TIME = "meter_id", "meter_id + 0"
_MANY_SHARE: Final = 0.25


async def read_rolling_sums(
    pool: Pool,
    atoms: Mapping[Tier, Sequence[Segment]],
    *,
    top_meter_ids: Sequence[int],
    generation_meter_ids: Sequence[int],
    energy_meter_count: int,
) -> dict[Segment, ScopeSums]:
    """Return the sums of every atom over the top meters and over the generating meters, all of one instant.

    `energy_meter_count` is how many meters have intervals; it decides how the rows are found, never what comes out.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    sums: dict[Segment, ScopeSums] = {}
    if not (top_meter_ids or generation_meter_ids) or not any(atoms.values()):
        return sums
    meter_id = _BY_TIME if len(top_meter_ids) > _MANY_SHARE * energy_meter_count else _BY_KEY
    async with snapshot(pool, "add up the intervals") as connection:
        if days := atoms["1d"]:
            rows = await connection.fetch(
                _SUM_DAYS.format(meter_id=meter_id),
                [day.local_day for day in days],
                top_meter_ids,
                generation_meter_ids,
            )
            for row in rows:
                day = days[row["n"] - 1]
                # A local day has 23, 24 or 25 hours.
                sums[day] = _sums(row, (day.to - day.from_).total_seconds())
        for tier, (table, bucket_s) in _SPANS.items():
            if spans := atoms[tier]:
                stretches = _stretches(spans)
                rows = await connection.fetch(
                    _SUM_SPANS.format(table=table, meter_id=meter_id),
                    [from_ for from_, _ in stretches],
                    [to for _, to in stretches],
                    [span.from_ for span in spans],
                    top_meter_ids,
                    generation_meter_ids,
                )
                sums |= dict.fromkeys(spans, NOTHING)
                sums |= {spans[row["span"] - 1]: _sums(row, bucket_s) for row in rows}
    return sums


def _stretches(spans: Sequence[Segment]) -> list[tuple[datetime, datetime]]:
    """Put spans together that lie side by side; they are in order of time and disjoint."""
    stretches = [(spans[0].from_, spans[0].to)]
    for span in spans[1:]:
        from_, to = stretches[-1]
        if span.from_ == to:
            stretches[-1] = (from_, span.to)
        else:
            stretches.append((span.from_, span.to))
    return stretches


def _sums(row: asyncpg.Record, bucket_s: float) -> ScopeSums:
    return ScopeSums(
        EnergySums(
            row["import_kwh"], row["export_kwh"], row["estimated_kwh"] or 0.0, (row["coverage"] or 0.0) * bucket_s
        ),
        EnergySums(export_kwh=row["generated_kwh"], covered_s=(row["generation_coverage"] or 0.0) * bucket_s),
    )


async def read_carbon_factors(pool: Pool, region: str) -> list[CarbonFactor]:
    """Return the factors of a region that are in force, every version and method, in order of validity.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the carbon factors", timeout_s=READ_TIMEOUT_S) as connection:
        rows = await connection.fetch(
            "SELECT region, method, valid_from, valid_to, kg_per_kwh, source, version FROM carbon_factor"
            " WHERE region = $1 AND withdrawn_at IS NULL ORDER BY method, valid_from, version",
            region,
        )
    return [CarbonFactor(**dict(row)) for row in rows]
