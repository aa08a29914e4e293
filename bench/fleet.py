"""The whole service with 5,000 meters of 14 quantities every second, for ten minutes.

Two `emsd collect --shard i/2` poll the simulator's Modbus servers, 50 meters behind each of 100 endpoints, and write
into a private TimescaleDB that waits for the disk; `emsd serve` accounts and answers. Alarms, collector health, spool
and API run as in production, and /metrics is scraped every minute. Services, simulator and database are processes of
their own on this machine; what each of them uses is read from /proc, and the service's figures are sums. `--shards 0`
runs `emsd run` instead. Nothing counts before the warm-up of 20 s is over.

The time from a response to its commit is taken twice: of each row, from the reading's time to the database's commit
time, and by the service's own histogram, which ends when the database has acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from bench.child import helper
from bench.fleet_service import at_ports, running_shards, write_plant
from bench.fleet_watch import PART_S, SCRAPE_EVERY_S, Watch, counted, watched
from bench.plot import Panel, as_svg
from bench.processes import growth_mb_per_min, sparkline
from bench.result import Report, Row, Spread, single
from bench.world import Size, World
from simulator.fleet import fleet

__all__ = ["run"]

_FLAT_SHARE: Final = 0.05
_LARGEST_LAG_S: Final = 2.0
_REST_MS: Final = "1"
_SIZES: Final = {
    Size.FULL: (5000, 100, 20.0, 600.0),
    Size.QUICK: (5000, 100, 15.0, 60.0),
    Size.SMOKE: (40, 2, 1.0, 4.0),
}
"""Meters, endpoints, how long it warms up [s], and how long it measures [s]."""
_SHARDS: Final = {Size.FULL: 2, Size.QUICK: 2, Size.SMOKE: 0}
"""Collecting processes; one process for everything has one core, which 5,000 polls a second and all else fill."""


async def run(world: World) -> Report:
    """Start everything, warm up, measure, stop everything, and count what is in the database."""
    meters, endpoints, warm_up_s, seconds = _SIZES[world.size]
    seconds = world.fleet_seconds or seconds
    server = await world.postgres()
    folder = world.folder / "fleet"
    folder.mkdir()
    async with world.database() as url:
        async with helper("bench.device_server", str(meters), str(endpoints), _REST_MS) as devices:
            plant, profiles = fleet(meters, endpoints)
            path = write_plant(folder, at_ports(plant, devices.said["ports"]), profiles)
            shards = _SHARDS[world.size] if world.shards is None else world.shards
            async with running_shards(path, url, shards) as service:
                world.say("fleet", f"warming up with {meters:,} meters")
                await asyncio.sleep(warm_up_s)
                assert server.pid is not None
                watch = await watched(world, service, devices.pid, server.pid, seconds)
        world.say("fleet", "counting rows")
        found = await counted(url, watch)
    if not found["rows"]:
        raise RuntimeError("no reading reached the database while it was measured")
    if world.plot is not None:
        world.plot.write_text(_plot(watch, found, meters), encoding="utf-8")
    return Report(_rows(watch, found, meters), [_remark(watch)])


def _rows(watch: Watch, found: Mapping[str, Any], meters: int) -> list[Row]:
    first, last = watch.scrapes[0], watch.scrapes[-1]
    polls = {result: last.polls[result] - first.polls[result] for result in last.polls}
    missed = last.missed - first.missed
    per_meter = Spread(found["rows"] / meters, found["least"], found["most"])
    acknowledged_s = watch.commit_age_s(0.99)
    behind = [each.values["emsd_accounting_lag_seconds"] for each in watch.scrapes]
    name, lag = "fleet", f"< {_LARGEST_LAG_S:g} s"
    return [
        single(name, f"ticks expected in {watch.seconds:.0f} s", "polls", polls["expected"]),
        single(name, "ticks answered in full", "polls", polls["ok"]),
        single(name, "ticks partial, failed or skipped", "polls", missed, target="0", met=missed == 0),
        single(name, "rows in the database", "% of expected", 100 * found["rows"] / (watch.counted_s * meters)),
        Row(name, f"rows of a meter in {watch.counted_s} s", "rows", per_meter),
        single(name, "holes of a second or more", "holes", found["holes"], target="0", met=found["holes"] == 0),
        single(name, "longest time between two readings of a meter", "s", found["longest_gap_s"]),
        single(name, "readings lost", "readings", found["lost"], target="0", met=found["lost"] == 0),
        single(name, "from response to commit, median of all rows", "s", found["p50_s"]),
        single(
            name, "from response to commit, 99 of 100", "s", found["p99_s"],
            target=lag, met=found["p99_s"] < _LARGEST_LAG_S,
        ),
        single(name, "from response to commit, longest", "s", found["most_s"]),
        single(
            name, "until the commit is acknowledged, 99 of 100 within", "s", acknowledged_s,
            target=lag, met=acknowledged_s < _LARGEST_LAG_S,
        ),
        Row(name, "duration of a poll, over meters", "ms", Spread.of(1e3 * each for each in last.round_trips_s)),
        Row(name, "age of the oldest minute not in intervals", "s", Spread.of(behind)),
        Row(name, "one scrape of /metrics", "ms", Spread.of(1e3 * each.took_s for each in watch.scrapes)),
        *(single(name, f"processor time of the {part}", "cores", s / watch.seconds) for part, s in watch.cpu_s.items()),
        *_memory_rows(watch),
    ]  # fmt: skip


def _memory_rows(watch: Watch) -> list[Row]:
    later = [each for each in watch.memory if each[0] >= watch.seconds / 2]
    slope = growth_mb_per_min(later)
    growth = slope * (watch.seconds / 2) / 60 / later[0][1]
    return [
        single("fleet", "memory of the service", "MB", median(mb for _, mb in later)),
        single("fleet", "its slope in the second half", "MB/min", slope),
        single(
            "fleet", "its growth in the second half", "%", 100 * growth,
            target=f"< {_FLAT_SHARE:.0%}", met=growth < _FLAT_SHARE,
        ),
    ]  # fmt: skip


def _remark(watch: Watch) -> str:
    values = [mb for _, mb in watch.memory]
    return f"fleet: memory of the service, {min(values):.0f} to {max(values):.0f} MB: {sparkline(values)}"


def _plot(watch: Watch, found: Mapping[str, Any], meters: int) -> str:
    return as_svg(
        f"emsd, {meters:,} meters of 14 quantities every second, {watch.began:%Y-%m-%d}",
        "seconds since the end of the warm-up",
        [
            Panel("resident memory of the service [MB]", watch.memory),
            Panel(f"from response to commit, 99 of 100 in each {PART_S:.0f} s [s]", found["parts"]),
            Panel(f"ticks missed in each {SCRAPE_EVERY_S:.0f} s", watch.missed()),
        ],
    )
