"""Runs of collecting processes, and the readings that nobody took between them.

Ticks stand on the wall clock, so what a stopped or killed process has missed can be counted afterwards: every tick
between a meter's last durable reading before a run and its first one in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from emsd.errors import StoreUnavailable
from emsd.readings import to_datetime
from emsd.store.pool import Pool, Session, deadline, session

__all__ = ["account_interruptions", "begin_run", "end_run", "keep_alive"]

TIMEOUT_S: Final = 60.0

_BEGIN: Final = """
INSERT INTO collector_run (site_id, shard, started_at, alive_at)
SELECT site_id, $2, $3, $3 FROM site WHERE site_id = $1
ON CONFLICT (site_id, shard, started_at) DO UPDATE SET shard = excluded.shard
RETURNING run_id"""
_ALIVE: Final = "UPDATE collector_run SET alive_at = greatest(alive_at, $2) WHERE run_id = $1"
_END: Final = "UPDATE collector_run SET stopped_at = $2, alive_at = greatest(alive_at, $2) WHERE run_id = $1"
# Numbers are given in the order in which runs began; their times are those of a clock that may have been set.
_OPEN: Final = """
SELECT run_id, run.started_at, later.started_at AS next_started_at
FROM collector_run AS run
LEFT JOIN LATERAL (
    SELECT started_at FROM collector_run AS each
    WHERE (each.site_id, each.shard) = (run.site_id, run.shard) AND each.started_at > run.started_at
    ORDER BY each.started_at LIMIT 1
) AS later ON true
WHERE run.site_id = $1 AND run.shard = $2 AND run.accounted_at IS NULL
ORDER BY run_id FOR UPDATE OF run"""
_EARLIER: Final = """
SELECT shard, ended_at, stopped FROM (
    SELECT DISTINCT ON (shard) run_id, shard, coalesce(stopped_at, alive_at) AS ended_at,
        stopped_at IS NOT NULL AS stopped
    FROM collector_run WHERE site_id = $1 AND run_id < $2
    ORDER BY shard, run_id DESC
) AS latest ORDER BY run_id DESC"""
# A reading within one interval and 5 s after the start is the first tick; a later one only says that the device was
# away, and those polls were made and counted.
_GAPS: Final = """
WITH polled AS (
    SELECT meter_id, interval_s, make_interval(secs => interval_s) AS step
    FROM unnest($1::integer[], $2::float8[]) AS meter (meter_id, interval_s)
), seen AS (
    SELECT polled.*, before.time AS last_seen, after.time AS first_seen
    FROM polled
    CROSS JOIN LATERAL (
        SELECT time FROM reading WHERE reading.meter_id = polled.meter_id AND time < $3 ORDER BY time DESC LIMIT 1
    ) AS before
    LEFT JOIN LATERAL (
        SELECT time FROM reading
        WHERE reading.meter_id = polled.meter_id AND time >= $3
          AND time < least($3::timestamptz + step + interval '5 seconds', $5::timestamptz)
        ORDER BY time LIMIT 1
    ) AS after ON true
), gap AS (
    -- Ticks up to the end of the run before were polled, whatever came of it.
    SELECT meter_id, interval_s, step, first_seen,
           last_seen + step * greatest(0, floor(extract(epoch FROM $4::timestamptz - last_seen) / interval_s))
               AS last_seen
    FROM seen
), missed AS (
    SELECT meter_id, step, last_seen, CASE WHEN first_seen IS NOT NULL
        THEN round(extract(epoch FROM first_seen - last_seen) / interval_s) - 1
        ELSE ceil(extract(epoch FROM $3::timestamptz - last_seen) / interval_s) - 1 END AS ticks
    FROM gap
), known AS (
    -- What was taken and then lost in this time is written down already.
    SELECT missed.meter_id, sum(loss.readings) AS readings
    FROM missed JOIN reading_loss AS loss ON loss.meter_id = missed.meter_id
        AND loss.first_time > last_seen AND loss.last_time <= last_seen + step * ticks
    GROUP BY missed.meter_id
)
INSERT INTO reading_loss (meter_id, readings, first_time, last_time, reason, taken)
SELECT meter_id, ticks - coalesce(readings, 0), last_seen + step, last_seen + step * ticks, $6, false
FROM missed LEFT JOIN known USING (meter_id)
WHERE ticks - coalesce(readings, 0) >= 1
RETURNING readings"""
_ACCOUNTED: Final = "UPDATE collector_run SET accounted_at = now() WHERE run_id = $1"

STOPPED: Final = "nobody polled: the service was stopped"
DIED: Final = "nobody polled: the service ended without stopping (killed, crashed, or power lost)"


async def begin_run(pool: Pool, site_id: int, shard: str, started_us: int) -> int:
    """Write down that a process began to collect and return the number of its run; repeating it changes nothing.

    Raises:
        StoreUnavailable: not now; the site is not there yet, or the database is away.
    """
    async with session(pool, "write down the start of the collectors") as connection:
        run_id = await connection.fetchval(_BEGIN, site_id, shard, to_datetime(started_us))
    if run_id is None:
        raise StoreUnavailable(f"the database does not know site {site_id} yet; it is written down at the start")
    return int(run_id)


async def keep_alive(pool: Pool, run_id: int, until_us: int) -> None:
    """Write down that all that was polled until then is durable or counted.

    Raises:
        StoreUnavailable: not now.
    """
    async with session(pool, "write down that the collectors run") as connection:
        await connection.execute(_ALIVE, run_id, to_datetime(until_us))


async def end_run(pool: Pool, run_id: int, stopped_us: int) -> None:
    """Write down that a process stopped collecting in good order.

    Raises:
        StoreUnavailable: not now; the run then counts as ended without stopping.
    """
    async with session(pool, "write down the end of the collectors") as connection:
        await connection.execute(_END, run_id, to_datetime(stopped_us))


async def account_interruptions(
    pool: Pool,
    site_id: int,
    shard: str,
    intervals_s: Mapping[int, float],
    collected_by: Callable[[str, int], bool] | None = None,
) -> int:
    """Write to `reading_loss` what nobody polled before each run that is not accounted for; return how many readings.

    Call it when everything that was polled before is in the database, and the first ticks of this run are.

    Args:
        pool: where to write.
        site_id: number of the site.
        shard: part of the site's connections.
        intervals_s: meter id to time between two polls [s], of the meters that this part polls.
        collected_by: whether a part, by its name, collected a meter; None: only this part has ever collected them.

    Raises:
        StoreUnavailable: nothing has changed; call again.
    """
    total = 0
    async with session(pool, "count what nobody polled") as connection, connection.transaction():
        with deadline(connection, TIMEOUT_S):
            for run in await connection.fetch(_OPEN, site_id, shard):
                earlier = [dict(each) for each in await connection.fetch(_EARLIER, site_id, run["run_id"])]
                for before, meter_ids in _by_run_before(earlier, intervals_s, shard, collected_by):
                    intervals = {meter_id: intervals_s[meter_id] for meter_id in meter_ids}
                    total += await _account(connection, dict(run), before, intervals)
                await connection.execute(_ACCOUNTED, run["run_id"])
    return total


def _by_run_before(
    earlier: Sequence[Mapping[str, Any]],
    meter_ids: Iterable[int],
    shard: str,
    collected_by: Callable[[str, int], bool] | None,
) -> list[tuple[Mapping[str, Any], list[int]]]:
    """Return each earlier run (the latest come first) with the meters that it was the last to collect."""
    found: list[tuple[Mapping[str, Any], list[int]]] = [(run, []) for run in earlier]
    for meter_id in meter_ids:
        for run, meters in found:
            if run["shard"] == shard or (collected_by is not None and collected_by(run["shard"], meter_id)):
                meters.append(meter_id)
                break
    return [(run, meters) for run, meters in found if meters]


async def _account(
    connection: Session, run: Mapping[str, Any], earlier: Mapping[str, Any], intervals_s: Mapping[int, float]
) -> int:
    started_at: datetime = run["started_at"]
    rows = await connection.fetch(
        _GAPS,
        list(intervals_s),
        list(intervals_s.values()),
        started_at,
        earlier["ended_at"],
        run["next_started_at"] or datetime.max.replace(tzinfo=started_at.tzinfo),
        STOPPED if earlier["stopped"] else DIED,
        timeout=TIMEOUT_S,
    )
    return sum(int(row["readings"]) for row in rows)
