"""Readings to intervals, against plain SQL that adds up the same rows by `time_bucket`.

Meters are polled once a second, 16 values a row. The bare side knows no faults, gaps, coverage or late data: it takes
the difference of greatest and least counter and the extremes of power, minute by minute, into an identical table.

    live        minute after minute: its readings and marks are written as ingest does, then accounting carries them
                over; with the quarter hours, one quarter hour of gauges, and passes every 2 s that find nothing
    recomputed  `emsd recompute` of time whose intervals are there already, quarter hours and days included
    gauges      minimum, mean and maximum of 13 gauges, a quarter hour of all meters
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4
from zoneinfo import ZoneInfo

from bench.result import Report, Row, compared, single
from bench.world import Size, World
from emsd.accounting import Accounting, MeterAccount
from emsd.accounting.recomputing import pieces_of
from emsd.energy.counters import CounterRules
from emsd.store.pool import Pool, open_pool, session
from emsd.store.recomputations import queue_pieces

__all__ = ["run"]

_GAUGES: Final = (
    "active_power_kw", "reactive_power_kvar", "apparent_power_kva", "power_factor", "frequency_hz",
    "voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v", "voltage_l1_l2_v", "voltage_l2_l3_v",
    "current_l1_a", "current_l2_a", "current_l3_a", "current_n_a",
)  # fmt: skip
_BEGIN: Final = datetime(2025, 6, 2, tzinfo=UTC)
_ZONE: Final = ZoneInfo("UTC")
_MINUTE: Final = timedelta(minutes=1)
_DAY_S: Final = 86_400
_METERS: Final = 1_000
_IDLE_PASSES: Final = 29
"""Passes of a minute that find nothing to do, one every 2 s."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    live_meters: int
    live_minutes: int
    few_meters: int
    few_hours: float
    all_meters: int
    all_hours: float
    rounds: int


_SIZES: Final = {
    Size.FULL: _Sizes(_METERS, 16, 100, 24.0, _METERS, 4.0, 3),
    Size.QUICK: _Sizes(_METERS, 3, 50, 4.0, _METERS, 0.25, 1),
    Size.SMOKE: _Sizes(3, 2, 2, 0.25, 3, 0.25, 1),
}

_FILL: Final = f"""
INSERT INTO reading (time, meter_id, energy_import_kwh, energy_export_kwh, {", ".join(_GAUGES)})
SELECT second, meter_id, extract(epoch FROM second - $4) * (50 + meter_id % 100) / 3600, meter_id,
    {", ".join(f"50 + meter_id % 100 + {place}" for place in range(len(_GAUGES)))}
FROM generate_series($2::timestamptz, $3::timestamptz - INTERVAL '1 second', INTERVAL '1 second') AS second,
    generate_series(1, $1::integer) AS meter_id
ORDER BY second, meter_id
"""
# A batch every quarter of a second, as the pipeline writes them.
_MARK: Final = """
INSERT INTO dirty_interval (bucket, meter_ids)
SELECT $2::timestamptz, array_agg(meter_id) FROM generate_series(1, $1::integer) AS meter_id, generate_series(1, 60)
GROUP BY meter_id % 4, generate_series
"""
_IDENTICAL: Final = """
CREATE TABLE bare_1m (LIKE interval_1m INCLUDING ALL);
SELECT create_hypertable('bare_1m', 'bucket', chunk_time_interval => INTERVAL '7 days',
                         create_default_indexes => false);
"""
_BARE: Final = """
INSERT INTO bare_1m (bucket, meter_id, energy_import_kwh, energy_export_kwh, power_min_kw, power_avg_kw, power_max_kw,
                     coverage, sample_count)
SELECT time_bucket('1 minute', time) AS minute, meter_id, max(energy_import_kwh) - min(energy_import_kwh),
    max(energy_export_kwh) - min(energy_export_kwh), min(active_power_kw), avg(active_power_kw), max(active_power_kw),
    1, count(*)
FROM reading WHERE time >= $1 AND time < $2 GROUP BY minute, meter_id
"""


async def run(world: World) -> Report:
    """Measure live minutes, then time computed anew, each in a database of its own."""
    if world.whole_day:
        return await _whole_day(world)
    sizes = _SIZES[world.size]
    rows = await _live(world, sizes)
    few, few_s = await _recomputed(world, sizes.few_meters, sizes.few_hours, sizes.rounds)
    many, many_s = await _recomputed(world, sizes.all_meters, sizes.all_hours, sizes.rounds)
    rows += [few, many]
    for meters, hours, took_s in (
        (sizes.few_meters, sizes.few_hours, few_s),
        (sizes.all_meters, sizes.all_hours, many_s),
    ):
        scaled_s = took_s * (_METERS / meters) * (24 / hours)
        name = f"a day of {_METERS:,} meters, scaled from {meters:,} meters and {hours:g} h"
        rows.append(single("accounting", name, "s", scaled_s, target="< 60 s", met=scaled_s < 60))
    remark = (
        "accounting: a day of 1,000 meters at 1 Hz, 86.4 million rows, is not measured but scaled: many meters for a "
        "short time show what each meter costs, few meters for a day what each row costs; --day measures it."
    )
    return Report(rows, (remark,))


async def _whole_day(world: World) -> Report:
    row, took_s = await _recomputed(world, _METERS, 24.0, 1)
    name = f"a day of {_METERS:,} meters, {_METERS * _DAY_S:,} readings"
    return Report([row, single("accounting", name, "s", took_s, target="< 60 s", met=took_s < 60)])


def _accounts(meters: int) -> dict[int, MeterAccount]:
    rules = CounterRules(max_gap_s=300.0, max_power_kw=1000.0, count_kwh=0.01)
    meter_ids = range(1, meters + 1)
    return {
        each: MeterAccount(each, rules, has_import=True, has_export=True, poll_interval_s=1.0) for each in meter_ids
    }


async def _live(world: World, sizes: _Sizes) -> list[Row]:
    meters = sizes.live_meters
    gauges = dict.fromkeys(range(1, meters + 1), _GAUGES[1:])
    now = _BEGIN
    async with world.database() as url, open_pool(url, command_timeout_s=600) as pool:
        await pool.execute(_IDENTICAL)
        accounting = Accounting(pool, _accounts(meters), _ZONE, gauges=gauges, now=lambda: now)
        await _fill(pool, meters, _BEGIN - _MINUTE, _BEGIN)
        minutes: list[tuple[float, float]] = []
        gauges_s = idle_s = 0.0
        for number in range(sizes.live_minutes):
            world.say("accounting", f"live minute {number + 1} of {sizes.live_minutes}, {meters:,} meters")
            begin = _BEGIN + number * _MINUTE
            now = begin + _MINUTE + timedelta(seconds=2.5)
            await _fill(pool, meters, begin, begin + _MINUTE)
            await pool.execute(_MARK, meters, begin)
            built, began_s = accounting.stats.gauge_quarters_built, time.perf_counter()
            more = await accounting.run_once(running_too=False)
            took_s = time.perf_counter() - began_s
            while more:
                more = await accounting.run_once(running_too=False)
            if accounting.stats.gauge_quarters_built > built:
                gauges_s += time.perf_counter() - began_s
            else:
                minutes.append((took_s, await _bare(pool, begin, begin + _MINUTE)))
            began_s = time.perf_counter()
            await accounting.run_once(running_too=False)
            idle_s += time.perf_counter() - began_s
    per_minute_s = sorted(each for each, _ in minutes)[len(minutes) // 2] + _IDLE_PASSES * idle_s / sizes.live_minutes
    share = per_minute_s / 60 + gauges_s / 900
    name = f"a minute of {meters:,} meters, when it is over"
    rows = [compared("accounting", name, "s", minutes, less_is_faster=True)]
    if gauges_s:
        rows.append(
            single("accounting", f"the minute that ends a quarter hour, with {len(_GAUGES) - 1} gauges", "s", gauges_s)
        )
    whole = f"share of a core for {meters:,} meters, database included"
    return [*rows, single("accounting", whole, "%", 100 * share, target="< 10 %", met=share < 0.1)]


async def _recomputed(world: World, meters: int, hours: float, rounds: int) -> tuple[Row, float]:
    """Return the row of a recomputation, and its median [s]."""
    end = _BEGIN + timedelta(hours=hours)
    accounts = _accounts(meters)
    measured: list[tuple[float, float]] = []
    async with world.database() as url, open_pool(url, command_timeout_s=600) as pool:
        await pool.execute(_IDENTICAL)
        world.say("accounting", f"writing {hours:g} h of {meters:,} meters, {meters * hours * 3600:,.0f} rows")
        # In the midst of other readings, as time is that is computed anew.
        at, last = _BEGIN - 2 * _MINUTE, end + 2 * _MINUTE
        while at < last:
            step = min(last, at + timedelta(hours=1))
            await _fill(pool, meters, at, step)
            at = step
        async with pool.acquire() as connection:
            await connection.execute("VACUUM (ANALYZE) reading", timeout=600)
        accounting = Accounting(pool, accounts, _ZONE, now=lambda: end + timedelta(days=2))
        await _recompute(pool, accounting, accounts, end)  # the first time there are no rows to replace
        for number in range(rounds):
            world.say("accounting", f"computing {hours:g} h of {meters:,} meters anew, {number + 1} of {rounds}")
            ours_s = await _recompute(pool, accounting, accounts, end)
            await pool.execute("TRUNCATE bare_1m")
            measured.append((ours_s, await _bare(pool, _BEGIN, end)))
    name = f"{hours:g} h of {meters:,} meters computed anew"
    row = compared("accounting", name, "s", measured, less_is_faster=True)
    return row, row.emsd.median


async def _recompute(pool: Pool, accounting: Accounting, accounts: Mapping[int, MeterAccount], end: datetime) -> float:
    pieces = pieces_of(list(accounts), accounts, _BEGIN, end, intervals=True, gauges=False)
    began_s = time.perf_counter()
    async with session(pool, "queue") as connection:
        await queue_pieces(connection, uuid4(), pieces, "bench")
    await accounting.run_until_clean()
    return time.perf_counter() - began_s


async def _bare(pool: Pool, from_: datetime, to: datetime) -> float:
    began_s = time.perf_counter()
    await pool.execute(_BARE, from_, to)
    return time.perf_counter() - began_s


async def _fill(pool: Pool, meters: int, from_: datetime, to: datetime) -> None:
    await pool.execute(_FILL, meters, from_, to, _BEGIN - timedelta(hours=1))
