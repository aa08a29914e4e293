"""The whole service with 1,000 meters of 14 quantities every second, for two minutes.

`python -m emsd run` polls the simulator's Modbus servers, 50 meters behind each of 20 endpoints, and writes into a
private TimescaleDB that waits for the disk; accounting, alarms, collector health and the API run as in production, and
/metrics is scraped every 10 s. Service, simulator and database are processes of their own on this machine; what each of
them uses is read from /proc. Nothing counts before the warm-up of 10 s is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.child import REPOSITORY, helper
from bench.processes import growth_mb_per_min, resident_mb, sparkline, usage_of, usage_of_tree
from bench.result import Report, Row, Spread, single
from bench.world import Size, World
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from simulator.fleet import fleet

__all__ = ["run"]

_SCRAPE_EVERY_S: Final = 10.0
_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 15.0
_FLAT_SHARE: Final = 0.05
_SIZES: Final = {
    Size.FULL: (1000, 20, 10.0, 120.0),
    Size.QUICK: (1000, 20, 10.0, 30.0),
    Size.SMOKE: (20, 2, 1.0, 4.0),
}
"""Meters, endpoints, how long it warms up [s], and how long it measures [s]."""

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


@dataclass(frozen=True, slots=True)
class _Scrape:
    """What the service says of itself at one moment."""

    polls: Mapping[str, float]
    """By result, over all meters."""
    values: Mapping[str, float]
    """Samples without labels, by name."""
    round_trips_s: list[float]
    took_s: float


@dataclass(slots=True)
class _Watch:
    """What was seen while it ran."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    """(time [s], resident memory of the service [MB])"""
    scrapes: list[_Scrape] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0

    @property
    def counted_s(self) -> int:
        """Whole seconds over which rows are counted, beginning one after the scrape."""
        return max(1, int(self.seconds) - 2)


async def run(world: World) -> Report:
    """Start everything, warm up, measure, stop everything, and count what is in the database."""
    meters, endpoints, warm_up_s, seconds = _SIZES[world.size]
    seconds = world.fleet_seconds or seconds
    server = await world.postgres()
    async with world.database() as url:
        async with helper("bench.device_server", str(meters), str(endpoints)) as devices:
            plant, profiles = fleet(meters, endpoints)
            path = _write_plant(world.folder, _at(plant, devices.said["ports"]), profiles)
            async with _service(path, url, world.folder / "service.log") as (pid, client):
                world.say("fleet", f"warming up with {meters:,} meters")
                await asyncio.sleep(warm_up_s)
                assert server.pid is not None
                pids = {"service": pid, "simulator": devices.pid, "database": server.pid}
                watch = await _watch(world, client, pids, seconds)
        counted = await _count(url, watch)
    return _report(watch, counted, meters)


def _at(plant: Plant, ports: Mapping[str, int]) -> Plant:
    connections = tuple(each.model_copy(update={"port": ports[each.key]}) for each in plant.connections)
    return plant.model_copy(update={"connections": connections})


def _write_plant(folder: Path, plant: Plant, profiles: Mapping[str, Profile]) -> Path:
    """Write the plant and its profile as files, as a person would have them."""
    (folder / "profiles").mkdir(exist_ok=True)
    for name, profile in profiles.items():
        text = profile.model_dump_json(exclude_none=True, exclude_defaults=True, indent=1)
        (folder / "profiles" / f"{name}.yaml").write_text(text, encoding="utf-8")
    document = plant.model_dump(mode="json", exclude_none=True)
    document["profile_folders"] = ["profiles"]
    path = folder / "plant.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


@asynccontextmanager
async def _service(plant: Path, url: str, log_file: Path) -> AsyncIterator[tuple[int, httpx.AsyncClient]]:
    """Run the service until the block ends; yield its process number and a client of its API once it collects."""
    environment = {**os.environ, "EMSD_DATABASE_URL": url, "EMSD_LOG_FORMAT": "json", "EMSD_LOG_LEVEL": "info"}
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "emsd", "run", "--plant", str(plant), "--port", "0",
            cwd=REPOSITORY, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            address = await _address(process, log_file)
            async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
                await _until_collecting(client)
                yield process.pid, client
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _address(process: asyncio.subprocess.Process, log_file: Path) -> str:
    """Return where the API listens, as the service's log says."""
    async with asyncio.timeout(_READY_WITHIN_S):
        while process.returncode is None:
            for line in _log(log_file).splitlines():
                if '"api_listening"' in line:
                    return str(json.loads(line)["url"])
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the service ended before it listened: {_log(log_file)[-2000:]}")


def _log(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


async def _until_collecting(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(_READY_WITHIN_S):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.5)


async def _watch(world: World, client: httpx.AsyncClient, pids: Mapping[str, int], seconds: float) -> _Watch:
    watch = _Watch()
    watch.scrapes.append(await _scrape(client))
    cpu_before = _cpu_s(pids)
    began, watch.began = time.monotonic(), datetime.now(UTC)
    next_scrape = began + _SCRAPE_EVERY_S
    while (now := time.monotonic()) < began + seconds:
        watch.memory.append((now - began, resident_mb(pids["service"])))
        progress = f"{now - began:.0f} s of {seconds:.0f} s, service {watch.memory[-1][1]:.0f} MB"
        world.status.update(f"fleet: {progress}")
        if now >= next_scrape:
            world.say("fleet", progress)
            watch.scrapes.append(await _scrape(client))
            next_scrape += _SCRAPE_EVERY_S
        await asyncio.sleep(max(0.0, min(now + 1.0, began + seconds) - time.monotonic()))
    watch.seconds = time.monotonic() - began
    watch.cpu_s = {name: after - cpu_before[name] for name, after in _cpu_s(pids).items()}
    watch.scrapes.append(await _scrape(client))
    return watch


def _cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    return {
        "service": usage_of(pids["service"]).own_s,
        "simulator": usage_of(pids["simulator"]).own_s,
        "database": usage_of_tree(pids["database"]),
    }


async def _scrape(client: httpx.AsyncClient) -> _Scrape:
    began = time.perf_counter()
    answer = (await client.get("/metrics")).raise_for_status()
    took_s = time.perf_counter() - began
    polls: defaultdict[str, float] = defaultdict(float)
    values: dict[str, float] = {}
    round_trips: list[float] = []
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == "emsd_meter_polls_total":
                polls[sample.labels["result"]] += sample.value
            elif sample.name == "emsd_meter_round_trip_seconds":
                round_trips.append(sample.value)
            elif not sample.labels:
                values[sample.name] = sample.value
    return _Scrape(polls, values, round_trips, took_s)


async def _count(url: str, watch: _Watch) -> dict[str, Any]:
    """Count rows, and look for holes between a meter's readings."""
    begin = watch.began + timedelta(seconds=1)
    end = begin + timedelta(seconds=watch.counted_s)
    connection = await asyncpg.connect(url)
    try:
        found: dict[str, Any] = {}
        for query in (_ROWS, _PER_METER):
            row = await connection.fetchrow(query, begin, end, timeout=120)
            assert row is not None
            found |= dict(row)
        found["lost"] = await connection.fetchval("SELECT coalesce(sum(readings), 0)::bigint FROM reading_loss")
        return found
    finally:
        await connection.close()


def _report(watch: _Watch, counted: Mapping[str, Any], meters: int) -> Report:
    if not counted["rows"]:
        raise RuntimeError("no reading reached the database while it was measured")
    first, last = watch.scrapes[0], watch.scrapes[-1]
    polls = {result: last.polls[result] - first.polls[result] for result in last.polls}
    missed = sum(polls[result] for result in ("partial", "failed", "skipped"))
    expected_rows = watch.counted_s * meters
    later = [each for each in watch.memory if each[0] >= watch.seconds / 2]
    slope = growth_mb_per_min(later)
    growth = slope * (watch.seconds / 2) / 60 / later[0][1]
    lags = [each.values["emsd_ingest_lag_seconds"] for each in watch.scrapes]
    behind = [each.values["emsd_accounting_lag_seconds"] for each in watch.scrapes]
    cpu = {name: used / watch.seconds for name, used in watch.cpu_s.items()}
    per_meter = Spread(counted["rows"] / meters, counted["least"], counted["most"])
    name = "fleet"
    rows: list[Row] = [
        single(name, f"ticks expected in {watch.seconds:.0f} s", "polls", polls["expected"]),
        single(name, "ticks answered in full", "polls", polls["ok"]),
        single(name, "ticks partial, failed or skipped", "polls", missed, target="0", met=missed == 0),
        single(name, "rows in the database", "% of expected", 100 * counted["rows"] / expected_rows),
        Row(name, f"rows of a meter in {watch.counted_s} s", "rows", per_meter),
        single(name, "holes of a second or more", "holes", counted["holes"], target="0", met=counted["holes"] == 0),
        single(name, "longest time between two readings of a meter", "s", counted["longest_gap_s"]),
        single(name, "readings lost", "readings", counted["lost"], target="0", met=counted["lost"] == 0),
        Row(name, "duration of a poll, over meters", "ms", Spread.of(1e3 * each for each in last.round_trips_s)),
        Row(name, "age of the oldest reading not committed", "s", Spread.of(lags)),
        Row(name, "age of the oldest minute not in intervals", "s", Spread.of(behind)),
        Row(name, "one scrape of /metrics", "ms", Spread.of(1e3 * each.took_s for each in watch.scrapes)),
        *(single(name, f"processor time of the {part}", "cores", used) for part, used in cpu.items()),
        single(name, "memory of the service", "MB", median(mb for _, mb in later)),
        single(name, "its slope in the second half", "MB/min", slope),
        single(
            name, "its growth in the second half", "%", 100 * growth,
            target=f"< {_FLAT_SHARE:.0%}", met=growth < _FLAT_SHARE,
        ),
    ]  # fmt: skip
    values = [mb for _, mb in watch.memory]
    return Report(
        rows, [f"fleet: memory of the service, {min(values):.0f} to {max(values):.0f} MB: {sparkline(values)}"]
    )
