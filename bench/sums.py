"""Sums of long times over HTTP, with 1,000 meters: a year by area and month, against plain SQL of the same sums.

The year is there as local days; the last month of it as quarter hours too, because a year of those takes over 3 GB.
Requests go to the application in this process, without a socket, and nothing is kept between them. The bare side is one
statement over one asyncpg connection that does nothing with the rows: over the same days, and as one would write it
without tiers, `time_bucket` and `sum` over the quarter hours. The latter is measured over the month that there is, and
multiplied where it stands for a year; the measure says so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from prometheus_client import CollectorRegistry

from bench.energy_plant import fill
from bench.result import Report, Row, Spread
from bench.world import Size, World
from emsd.api import ApiDependencies, create_app
from emsd.energy.windows import local_day_bounds
from emsd.store.plant_view import PlantView, read_plant_view
from emsd.store.pool import Pool, Session, open_pool
from emsd.store.scopes import keys_of_scope, meters_of_scope

__all__ = ["run"]

_LONGEST_YEAR_MS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class _Size:
    meters: int
    days: int
    quarter_days: int
    rounds: int


_SIZES: Final = {
    Size.FULL: _Size(meters=1000, days=365, quarter_days=31, rounds=7),
    Size.QUICK: _Size(meters=1000, days=365, quarter_days=8, rounds=3),
    Size.SMOKE: _Size(meters=24, days=40, quarter_days=4, rounds=1),
}
_Ask = Callable[[], Awaitable[float]]
"""Asks once, and returns how long it took [ms]."""

_OLDER_DAYS: Final = """
INSERT INTO interval_1d (day, bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)
SELECT day, from_time, meter_id, meter_id % 100 * 24, 0, 1, 86400
FROM unnest($2::date[], $3::timestamptz[]) AS local (day, from_time), unnest($1::integer[]) AS meter_id
ON CONFLICT DO NOTHING
"""
_BY_AREA: Final = """
SELECT member.area, {period} AS period, sum(energy_import_kwh), sum(energy_export_kwh),
       sum(estimated_import_kwh + estimated_export_kwh), sum(coverage)
FROM {table} JOIN unnest($3::integer[], $4::text[]) AS member (meter_id, area) USING (meter_id)
WHERE {time} >= $1 AND {time} < $2 GROUP BY 1, 2
"""
_MONTHS_OF_DAYS: Final = _BY_AREA.format(table="interval_1d", time="day", period="date_trunc('month', day)")
_MONTHS_OF_QUARTERS: Final = _BY_AREA.format(
    table="interval_15m", time="bucket", period="time_bucket('1 month', bucket, 'Asia/Shanghai')"
)
_QUARTERS: Final = _BY_AREA.format(table="interval_15m", time="bucket", period="time_bucket('15 minutes', bucket)")


async def run(world: World) -> Report:
    """Fill a database, then ask in turns."""
    size = _SIZES[world.size]
    now = datetime.now(UTC)
    async with world.database() as url, open_pool(url, command_timeout_s=600) as pool:
        world.say(
            "sums", f"writing {size.days} days of {size.meters:,} meters, {size.quarter_days} of them by quarter hour"
        )
        await fill(pool, size.meters, size.quarter_days, now)
        plant = await read_plant_view(pool, 1)
        today = now.astimezone(plant.zone).date()
        first, end = today - timedelta(days=size.days), today
        await _older_days(pool, plant, first_day_ago=size.days)
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry()))
        async with (
            pool.acquire() as connection,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emsd", timeout=120) as client,
        ):
            await connection.execute("SET plan_cache_mode = force_custom_plan; SET max_parallel_workers_per_gather = 0")
            of_areas = _members(plant)
            year = tuple(local_day_bounds(day, plant.zone)[0] for day in (first, end))
            begin = local_day_bounds(today - timedelta(days=size.quarter_days - 1), plant.zone)[0]
            month = begin, year[1]
            week = max(begin, year[1] - timedelta(days=7)), year[1]
            scale = (year[1] - year[0]) / (month[1] - month[0])
            off = year[0] + timedelta(minutes=127), year[1] + timedelta(minutes=97)
            asks: list[tuple[str, _Ask, _Ask | None, float]] = [
                (
                    f"{size.days} days by area and month; bare: the same days",
                    _http(client, *year, by="area", per="month", carbon="true"),
                    _sql(connection, _MONTHS_OF_DAYS, first, end, *of_areas),
                    1.0,
                ),
                (
                    f"the same; bare: {size.quarter_days - 1} days of quarter hours, times {scale:.2f}",
                    _http(client, *year, by="area", per="month"),
                    _sql(connection, _MONTHS_OF_QUARTERS, *month, *of_areas),
                    scale,
                ),
                (
                    f"{size.quarter_days - 1} days by area and month; bare: their quarter hours",
                    _http(client, *month, by="area", per="month"),
                    _sql(connection, _MONTHS_OF_QUARTERS, *month, *of_areas),
                    1.0,
                ),
                (
                    f"{(week[1] - week[0]).days} days by area and quarter hour; bare: the same quarter hours",
                    _http(client, *week, by="area", per="15m", format="csv"),
                    _sql(connection, _QUARTERS, *week, *of_areas),
                    1.0,
                ),
                (
                    f"{size.days} days from 02:07 to 01:37 by area and month",
                    _http(client, *off, by="area", per="month"),
                    None,
                    1.0,
                ),
                (
                    f"{size.days} days by meter and month as CSV",
                    _http(client, *year, by="meter", per="month", format="csv"),
                    None,
                    1.0,
                ),
            ]
            rounds: list[list[tuple[float, float | None]]] = []
            for number in range(size.rounds + 1):
                world.say("sums", f"round {number} of {size.rounds}")
                rounds.append([(await ours(), None if bare is None else await bare()) for _, ours, bare, _ in asks])
        counted = f"{size.meters * size.days:,} days, which stand for {size.meters * size.days * 96:,} quarter hours"
    rows = [_row(name, [each[place] for each in rounds[1:]], scale) for place, (name, _, _, scale) in enumerate(asks)]
    rows[0] = replace(rows[0], target=f"< {_LONGEST_YEAR_MS:g} ms", met=rows[0].emsd.most < _LONGEST_YEAR_MS)
    return Report(rows, [f"sums: the first figure adds up {counted}; round 0 warms up and is not in the figures"])


def _row(name: str, rounds: Sequence[tuple[float, float | None]], scale: float) -> Row:
    ours = [mine for mine, _ in rounds]
    bare = [theirs * scale for _, theirs in rounds if theirs is not None]
    if not bare:
        return Row("sums", name, "ms", Spread.of(ours))
    ratio = Spread.of(theirs / mine for mine, theirs in zip(ours, bare, strict=True))
    return Row("sums", name, "ms", Spread.of(ours), Spread.of(bare), ratio)


async def _older_days(pool: Pool, plant: PlantView, *, first_day_ago: int) -> None:
    today = datetime.now(plant.zone).date()
    days = [today - timedelta(days=number) for number in range(first_day_ago, 0, -1)]
    begins = [local_day_bounds(day, plant.zone)[0] for day in days]
    await pool.execute(_OLDER_DAYS, list(plant.meters), days, begins, timeout=600)
    await pool.execute("VACUUM (ANALYZE) interval_1d", timeout=600)


def _members(plant: PlantView) -> tuple[list[int], list[str]]:
    """Return the meters that count each kilowatt-hour of an area once, and the area of each."""
    pairs = [
        (meter_id, key) for key in keys_of_scope(plant, "area") for meter_id in meters_of_scope(plant, "area", key).top
    ]
    return [meter_id for meter_id, _ in pairs], [key for _, key in pairs]


def _http(client: httpx.AsyncClient, from_: datetime, to: datetime, **asked: str) -> _Ask:
    async def ask() -> float:
        began = time.perf_counter()
        answer = await client.get(
            "/api/v1/energy/sums", params={"from": from_.isoformat(), "to": to.isoformat()} | asked
        )
        taken_ms = (time.perf_counter() - began) * 1e3
        assert answer.raise_for_status().content
        return taken_ms

    return ask


def _sql(connection: Session, query: str, *arguments: Any) -> _Ask:
    async def ask() -> float:
        began = time.perf_counter()
        rows = await connection.fetch(query, *arguments)
        taken_ms = (time.perf_counter() - began) * 1e3
        assert rows
        return taken_ms

    return ask
