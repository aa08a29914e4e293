"""Latency of rolling energy over HTTP with 1,000 meters and a month of intervals, against the SQL of the same sums.

Each request asks for all six windows and goes over a kept-alive connection to uvicorn in a process of its own. It is
measured twice: as in production, where sums of what ended over half an hour ago are kept for 30 s, and with nothing
kept, so that each request reads all of its sums. The bare side runs plain SQL for the same segments of time and the
same meters over one asyncpg connection, and does nothing with the rows; requests of all three take turns.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import httpx

from bench.child import helper
from bench.energy_plant import fill, flatten
from bench.result import Report, Row, Spread
from bench.world import Size, World
from emsd.energy.rollup import plan_rollup
from emsd.energy.windows import WINDOW_NAMES, Tier, settled_minute
from emsd.store.plant_view import PlantView, read_plant_view
from emsd.store.pool import Session, open_pool
from emsd.store.scopes import ScopeKind, meters_of_scope

__all__ = ["run"]

_LONGEST_P99_MS: Final = 50.0
_WARM_UP_REQUESTS: Final = 3
"""Of each kind, not measured: they open the sessions of the pools."""


@dataclass(frozen=True, slots=True)
class _Size:
    meters: int
    days: int
    rounds: int
    requests: int
    """Of each kind, in a round."""


_SIZES: Final = {
    Size.FULL: _Size(meters=1000, days=30, rounds=6, requests=100),
    Size.QUICK: _Size(meters=1000, days=8, rounds=2, requests=50),
    Size.SMOKE: _Size(meters=24, days=2, rounds=1, requests=2),
}
_Scope = tuple[str, ScopeKind, str | None]
"""What it is called, and what is asked for."""
_TABLES: Final[Mapping[Tier, str]] = {"15m": "interval_15m", "1m": "interval_1m"}
_SPANS: Final = """
SELECT span.n, sum(energy_import_kwh), sum(energy_export_kwh),
       sum(estimated_import_kwh + estimated_export_kwh), sum(coverage)
FROM unnest($1::timestamptz[], $2::timestamptz[]) WITH ORDINALITY AS span (from_time, to_time, n)
JOIN {table} ON bucket >= span.from_time AND bucket < span.to_time AND meter_id = ANY($3::integer[])
GROUP BY span.n
"""
_DAYS: Final = """
SELECT day, sum(energy_import_kwh), sum(energy_export_kwh),
       sum(estimated_import_kwh + estimated_export_kwh), sum(coverage)
FROM interval_1d WHERE day = ANY($1::date[]) AND meter_id = ANY($2::integer[]) GROUP BY day
"""
_Ask = Callable[[], Awaitable[None]]


async def run(world: World) -> Report:
    """Fill a database, then ask in turns."""
    size = _SIZES[world.size]
    rows: list[Row] = []
    async with world.database() as url:
        async with open_pool(url, command_timeout_s=600) as pool:
            world.say("api", f"writing {size.days} days of intervals of {size.meters:,} meters")
            keys = await fill(pool, size.meters, size.days, datetime.now(UTC))
        scopes: list[_Scope] = [
            ("site", "site", None),
            ("area with a feeder meter", "area", keys.fed_area),
            ("area without one", "area", keys.flat_area),
            ("meter", "meter", keys.one_meter),
        ]
        rows += await _measure(world, url, size, scopes)
        await flatten(url)
        rows += await _measure(world, url, size, [("site without an incomer's meter", "site", None)])
    return Report(rows)


async def _measure(world: World, url: str, size: _Size, scopes: Sequence[_Scope]) -> list[Row]:
    rows: list[Row] = []
    async with (
        open_pool(url) as pool,
        pool.acquire() as connection,
        _client(url, sums_age_s=30.0) as keeping,
        _client(url, sums_age_s=0.0) as reading,
    ):
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        view = await read_plant_view(pool, 1)
        for name, scope, key in scopes:
            meters = meters_of_scope(view, scope, key)
            ids = sorted({*meters.top, *meters.generation})
            query = {"scope": scope} | ({"key": key} if key else {})
            asks = (_http(keeping, query), _http(reading, query), _bare(connection, view, ids))
            await _in_turns(_WARM_UP_REQUESTS, asks)
            rounds = []
            for number in range(size.rounds):
                world.say("api", f"{name}: round {number + 1} of {size.rounds}")
                rounds.append(await _in_turns(size.requests, asks))
            rows += _rows(f"{name}, {len(ids)} meters added up", rounds, is_target=name == "site")
    return rows


def _rows(name: str, rounds: Sequence[Sequence[Sequence[float]]], *, is_target: bool) -> Iterable[Row]:
    """Return the rows of one scope from [round][kind][request] latencies [ms]."""
    for what, kind in (("", 0), ("; nothing kept", 1)):
        for percent in (50, 99):
            ours, bare = (_spread(rounds, each, percent) for each in (kind, 2))
            ratio = Spread.of(_percentile(each[2], percent) / _percentile(each[kind], percent) for each in rounds)
            row = Row("api", f"{name}{what}: p{percent}", "ms", ours, bare, ratio)
            if is_target and percent == 99:
                row = replace(row, target=f"< {_LONGEST_P99_MS:g} ms", met=ours.median < _LONGEST_P99_MS)
            yield row


def _spread(rounds: Sequence[Sequence[Sequence[float]]], kind: int, percent: int) -> Spread:
    """Return the percentile of all requests, and the least and the greatest of a round."""
    by_round = [_percentile(each[kind], percent) for each in rounds]
    return Spread(_percentile([ms for each in rounds for ms in each[kind]], percent), min(by_round), max(by_round))


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


async def _in_turns(requests: int, asks: Sequence[_Ask]) -> list[list[float]]:
    """Return the latencies of each kind [ms]; kinds alternate request by request."""
    taken: list[list[float]] = [[] for _ in asks]
    for _ in range(requests):
        for kind, ask in enumerate(asks):
            began = time.perf_counter()
            await ask()
            taken[kind].append((time.perf_counter() - began) * 1e3)
    return taken


@asynccontextmanager
async def _client(url: str, *, sums_age_s: float) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        helper("bench.api_server", str(sums_age_s), environment={"EMSD_DATABASE_URL": url}) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.said['port']}", trust_env=False, timeout=30) as client,
    ):
        yield client


def _http(client: httpx.AsyncClient, query: Mapping[str, str]) -> _Ask:
    async def ask() -> None:
        answer = await client.get("/api/v1/energy/rolling", params=query)
        windows = answer.raise_for_status().json()["windows"]
        assert len(windows) == len(WINDOW_NAMES)

    return ask


def _bare(connection: Session, view: PlantView, meter_ids: Sequence[int]) -> _Ask:
    async def ask() -> None:
        atoms = plan_rollup(WINDOW_NAMES, settled_minute(datetime.now(UTC), 15.0), view.zone, ()).atoms
        if days := atoms["1d"]:
            await connection.fetch(_DAYS, [day.local_day for day in days], meter_ids)
        for tier, table in _TABLES.items():
            if spans := atoms[tier]:
                query = _SPANS.format(table=table)
                await connection.fetch(query, [span.from_ for span in spans], [span.to for span in spans], meter_ids)

    return ask
