"""The database goes away under full load and comes back: nothing is lost, and live readings wait for no backlog.

The same plant, service and simulator as `fleet`, but a database server of its own, which is stopped and started again
while everything else runs. Readings go to the spool meanwhile, and are carried over afterwards.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx

from bench.child import helper
from bench.fleet_service import at_ports, running_service, write_plant
from bench.processes import resident_mb
from bench.result import Report, Row, single
from bench.world import Size, World
from emsd.servers import PrivatePostgres
from emsd.store.migrations import migrate
from simulator.fleet import fleet

__all__ = ["run"]

_SIZES: Final = {
    Size.FULL: (5000, 100, 15.0, 180.0),
    Size.QUICK: (2000, 40, 10.0, 30.0),
    Size.SMOKE: (40, 2, 1.0, 3.0),
}
"""Meters, endpoints, how long it warms up [s], and how long the database is away [s]."""
_LOOK_EVERY_S: Final = 5.0
"""A look reads all of /metrics, which takes the service half a second with 5,000 meters."""
_LIVE_FROM_S: Final = 10.0
"""After the database is back; until then the service may not have noticed [s]."""
_LIVE_FOR_S: Final = 5.0
_DRAINED_WITHIN_S: Final = 900.0
_LARGEST_LAG_S: Final = 2.0
_REST_MS: Final = "1"

_FOUND: Final = """
SELECT count(*) AS rows, count(*) FILTER (WHERE gap_s >= 1.9) AS holes
FROM (SELECT extract(epoch FROM time - lag(time) OVER (PARTITION BY meter_id ORDER BY time)) AS gap_s
      FROM reading WHERE time >= $1 AND time < $2) AS followed"""
_AGES: Final = """
SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY age_s) AS p99_s, max(age_s) AS most_s
FROM (SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - time)::float8 AS age_s
      FROM reading WHERE time >= $1 AND time < $2) AS committed"""
_LOST: Final = "SELECT coalesce(sum(readings), 0)::bigint FROM reading_loss"


async def run(world: World) -> Report:
    """Warm up, take the database away, bring it back, wait until the backlog is carried over, and count."""
    meters, endpoints, warm_up_s, away_s = _SIZES[world.size]
    folder = world.folder / "outage"
    folder.mkdir()
    server = PrivatePostgres(folder / "postgres", settings={"track_commit_timestamp": "on"})
    await asyncio.to_thread(server.start)
    try:
        await migrate(server.url)
        async with helper("bench.device_server", str(meters), str(endpoints), _REST_MS) as devices:
            plant, profiles = fleet(meters, endpoints)
            path = write_plant(folder, at_ports(plant, devices.said["ports"]), profiles)
            async with running_service(path, server.url) as (pid, client):
                world.say("outage", f"warming up with {meters:,} meters")
                await asyncio.sleep(warm_up_s)
                seen = await _outage(world, server, client, pid, away_s)
        world.say("outage", "counting rows")
        found = await _count(server.url, seen)
    finally:
        await asyncio.to_thread(server.stop)
    return Report(_rows(meters, away_s, seen, found), [])


async def _outage(
    world: World, server: PrivatePostgres, client: httpx.AsyncClient, pid: int, away_s: float
) -> dict[str, Any]:
    """Carry it out and return what was seen: times, and the largest sizes of spool and process."""
    seen: dict[str, Any] = {"began": datetime.now(UTC), "spooled": 0.0, "bytes": 0.0, "mb": resident_mb(pid)}
    await asyncio.to_thread(server.stop)
    down = asyncio.get_running_loop().time()
    while (passed := asyncio.get_running_loop().time() - down) < away_s:
        await _look(client, pid, seen)
        world.say("outage", f"away for {passed:.0f} s of {away_s:.0f} s, {seen['spooled']:,.0f} readings in the spool")
        await asyncio.sleep(min(_LOOK_EVERY_S, max(0.0, away_s - passed)))
    await asyncio.to_thread(server.start)
    seen["back"] = datetime.now(UTC)
    async with asyncio.timeout(_DRAINED_WITHIN_S):
        while await _look(client, pid, seen):  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(_LOOK_EVERY_S)
    seen["drained"] = datetime.now(UTC)
    rest_s = _LIVE_FROM_S + _LIVE_FOR_S - (seen["drained"] - seen["back"]).total_seconds()
    await asyncio.sleep(max(_LIVE_FOR_S, rest_s))
    seen["ended"] = datetime.now(UTC) - timedelta(seconds=3)
    return seen


async def _look(client: httpx.AsyncClient, pid: int, seen: dict[str, Any]) -> float:
    """Take note of the sizes now and return how many readings are in the spool."""
    values: dict[str, float] = {}
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith("emsd_spool_"):
            name, _, value = line.partition(" ")
            values[name] = float(value)
    spooled = values["emsd_spool_readings"]
    if spooled > seen["spooled"]:
        seen["spooled"], seen["bytes"] = spooled, values["emsd_spool_bytes"]
    seen["mb"] = max(seen["mb"], resident_mb(pid))
    return spooled


async def _count(url: str, seen: dict[str, Any]) -> dict[str, Any]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetchrow(_FOUND, seen["began"], seen["ended"], timeout=120)
        live_from = seen["back"] + timedelta(seconds=_LIVE_FROM_S)
        live_until = max(seen["drained"], live_from + timedelta(seconds=_LIVE_FOR_S))
        ages = await connection.fetchrow(_AGES, live_from, min(live_until, seen["ended"]), timeout=120)
        lost = await connection.fetchval(_LOST)
        return {**dict(rows or {}), **dict(ages or {}), "lost": lost}
    finally:
        await connection.close()


def _rows(meters: int, away_s: float, seen: dict[str, Any], found: dict[str, Any]) -> list[Row]:
    expected = meters * (seen["ended"] - seen["began"]).total_seconds()
    drain_s = (seen["drained"] - seen["back"]).total_seconds()
    name = "outage"
    return [
        single(name, f"readings in the spool after {away_s:.0f} s", "readings", seen["spooled"]),
        single(name, "its size for each of them", "bytes", seen["bytes"] / max(1.0, seen["spooled"])),
        single(name, "rows in the database afterwards", "% of expected", 100 * found["rows"] / expected),
        single(name, "holes of a second or more", "holes", found["holes"], target="0", met=found["holes"] == 0),
        single(name, "readings lost", "readings", found["lost"], target="0", met=found["lost"] == 0),
        single(name, "until all were carried over, the service's noticing included", "s", drain_s),
        single(name, "carried over beside live readings", "readings/s", seen["spooled"] / max(drain_s, 1e-3)),
        single(
            name, "live readings meanwhile, from response to commit, 99 of 100", "s", found["p99_s"],
            target=f"< {_LARGEST_LAG_S:g} s", met=found["p99_s"] < _LARGEST_LAG_S,
        ),
        single(name, "the longest of them", "s", found["most_s"]),
        single(name, "most memory of the service", "MB", seen["mb"]),
    ]  # fmt: skip
