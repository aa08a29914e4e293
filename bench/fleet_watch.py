"""What is seen of the service while it runs, from outside, and what the database has of it afterwards."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from bench.fleet_service import Process
from bench.processes import resident_mb, usage_of, usage_of_tree
from bench.world import World

__all__ = ["PART_S", "SCRAPE_EVERY_S", "Scrape", "Watch", "counted", "watched"]

SCRAPE_EVERY_S: Final = 60.0
"""As Prometheus does unless told otherwise."""
PART_S: Final = 10.0
"""The age of rows at their commit is told for stretches of so long [s]."""
_MISSED: Final = ("partial", "failed", "skipped")

_ROWS: Final = """
SELECT count(*) AS rows, max(gap_s) AS longest_gap_s,
       count(*) FILTER (WHERE gap_s >= 1.9) AS holes
FROM (
    SELECT meter_id, extract(epoch FROM time - lag(time) OVER (PARTITION BY meter_id ORDER BY time))::float8 AS gap_s
    FROM reading WHERE time >= $1 AND time < $2
) AS followed
"""
_PER_METER: Final = """
SELECT min(rows) AS least, max(rows) AS most
FROM (SELECT count(*) AS rows FROM reading WHERE time >= $1 AND time < $2 GROUP BY meter_id) AS each
"""
# The database's own clock at each row's commit, taken as the commit begins; the clock is the machine's for both.
_AGES: Final = """
SELECT grouping(part) AS is_total, part, percentile_disc(0.5) WITHIN GROUP (ORDER BY age_s) AS p50_s,
       percentile_disc(0.99) WITHIN GROUP (ORDER BY age_s) AS p99_s, max(age_s) AS most_s
FROM (
    SELECT floor(extract(epoch FROM time - $1) / $3::float8)::integer AS part,
           extract(epoch FROM pg_xact_commit_timestamp(xmin) - time)::float8 AS age_s
    FROM reading WHERE time >= $1 AND time < $2
) AS committed
GROUP BY ROLLUP (part) ORDER BY is_total, part
"""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the service says of itself at one moment."""

    at_s: float
    """Since the watch began [s]."""
    polls: Mapping[str, float]
    """By result, over all meters."""
    values: Mapping[str, float]
    """Samples without labels, by name; of several processes the last that has one."""
    ages: Mapping[float, float]
    """How many readings were committed at an age up to so many seconds."""
    round_trips_s: list[float]
    took_s: float

    @property
    def missed(self) -> float:
        """Ticks that were not answered in full."""
        return sum(self.polls[result] for result in _MISSED)


@dataclass(slots=True)
class Watch:
    """What was seen while it ran."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    """(time [s], resident memory of the service [MB])"""
    scrapes: list[Scrape] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0

    @property
    def counted_s(self) -> int:
        """Whole seconds over which rows are counted, beginning one after the scrape."""
        return max(1, int(self.seconds) - 2)

    def missed(self) -> list[tuple[float, float]]:
        """Return (time [s], ticks missed since the scrape before)."""
        pairs = zip(self.scrapes, self.scrapes[1:], strict=False)
        return [(after.at_s, after.missed - before.missed) for before, after in pairs]

    def commit_age_s(self, share: float) -> float:
        """Return the upper bound of the bucket that this share of what was committed meanwhile does not exceed [s]."""
        first, last = self.scrapes[0].ages, self.scrapes[-1].ages
        within = {bound: last[bound] - first.get(bound, 0.0) for bound in sorted(last)}
        wanted = share * max(within.values())
        return next(bound for bound, count in within.items() if count >= wanted)


async def watched(world: World, service: Sequence[Process], simulator: int, database: int, seconds: float) -> Watch:
    """Look at the processes of the service for so long [s]: memory every second, metrics every minute.

    `simulator` and `database` are the numbers of their processes.
    """
    watch = Watch()
    watch.scrapes.append(await _scrape(service, 0.0))

    def cpu_s() -> dict[str, float]:
        return {
            "service": sum(usage_of(each.pid).own_s for each in service),
            "simulator": usage_of(simulator).own_s,
            "database": usage_of_tree(database),
        }

    cpu_before = cpu_s()
    began, watch.began = time.monotonic(), datetime.now(UTC)
    next_scrape = began + SCRAPE_EVERY_S
    while (now := time.monotonic()) < began + seconds:
        watch.memory.append((now - began, sum(resident_mb(each.pid) for each in service)))
        progress = f"{now - began:.0f} s of {seconds:.0f} s, service {watch.memory[-1][1]:.0f} MB"
        world.status.update(f"fleet: {progress}")
        if now >= next_scrape:
            world.say("fleet", progress)
            watch.scrapes.append(await _scrape(service, now - began))
            next_scrape += SCRAPE_EVERY_S
        await asyncio.sleep(max(0.0, min(now + 1.0, began + seconds) - time.monotonic()))
    watch.seconds = time.monotonic() - began
    watch.cpu_s = {name: after - cpu_before[name] for name, after in cpu_s().items()}
    watch.scrapes.append(await _scrape(service, watch.seconds))
    return watch


async def _scrape(service: Sequence[Process], at_s: float) -> Scrape:
    texts: list[str] = []
    took_s = 0.0
    for each in service:
        began = time.perf_counter()
        texts.append((await each.client.get("/metrics")).raise_for_status().text)
        took_s = max(took_s, time.perf_counter() - began)
    return await asyncio.to_thread(_read, "".join(texts), at_s, took_s)


def _read(text: str, at_s: float, took_s: float) -> Scrape:
    polls: defaultdict[str, float] = defaultdict(float)
    values: dict[str, float] = {}
    ages: defaultdict[float, float] = defaultdict(float)
    round_trips: list[float] = []
    # By hand: prometheus_client's parser would take seconds from the processes that are measured.
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("emsd_meter_polls_total{"):
            polls[name.rpartition('result="')[2][:-2]] += float(value)
        elif name.startswith("emsd_meter_round_trip_seconds{"):
            round_trips.append(float(value))
        elif name.startswith("emsd_ingest_commit_age_seconds_bucket{"):
            ages[float(name.rpartition('le="')[2][:-2])] += float(value)
        elif "{" not in name and not name.startswith("#"):
            values[name] = float(value)
    return Scrape(at_s, polls, values, ages, round_trips, took_s)


async def counted(url: str, watch: Watch) -> dict[str, Any]:
    """Count rows, look for holes between a meter's readings, and take the age of each row at its commit.

    `parts` are (seconds since the watch began, 99th percentile of the age [s]) of each PART_S.
    """
    begin = watch.began + timedelta(seconds=1)
    end = begin + timedelta(seconds=watch.counted_s)
    connection = await asyncpg.connect(url)
    try:
        found: dict[str, Any] = {}
        for query in (_ROWS, _PER_METER):
            row = await connection.fetchrow(query, begin, end, timeout=300)
            assert row is not None
            found |= dict(row)
        *parts, total = await connection.fetch(_AGES, begin, end, PART_S, timeout=300)
        found |= {name: total[name] for name in ("p50_s", "p99_s", "most_s")}
        found["parts"] = [(PART_S * (each["part"] + 1), each["p99_s"]) for each in parts]
        found["lost"] = await connection.fetchval("SELECT coalesce(sum(readings), 0)::bigint FROM reading_loss")
        return found
    finally:
        await connection.close()
