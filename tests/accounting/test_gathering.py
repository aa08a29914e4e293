"""However little a pass reads, the tables say what a computation from all readings says."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.accounting import Accounting, MeterAccount
from emsd.energy.counters import CounterRules
from emsd.energy.meters import MeterSamples, meter_buckets
from emsd.energy.series import BUCKET_1M_US, bucket_edges
from emsd.readings import Reading, instant_us, reading_of, to_datetime
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

ZONE = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
METER, OTHER, BY_POWER = 1_000_001, 1_000_002, 1_000_003
RULES = CounterRules(max_gap_s=300.0, max_power_kw=1000.0, count_kwh=0.001)
ACCOUNTS = {
    METER: MeterAccount(METER, RULES, has_import=True, has_export=True, poll_interval_s=1.0),
    OTHER: MeterAccount(OTHER, RULES, has_import=True, has_export=True, poll_interval_s=600.0),
    BY_POWER: MeterAccount(BY_POWER, RULES, has_import=False, has_export=False, poll_interval_s=10.0),
}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


class Clock:
    """A wall clock that stands where a test puts it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


async def tables(pool: Pool) -> dict[str, list[tuple[object, ...]]]:
    """All tiers without the instant of computation, rounded to where the order of additions shows no more."""
    found = {}
    for table, key in (("interval_1m", "bucket"), ("interval_15m", "bucket"), ("interval_1d", "day")):
        rows = await pool.fetch(f"SELECT * FROM {table} ORDER BY meter_id, {key}")
        found[table] = [
            tuple(
                round(value, 6) if isinstance(value, float) else value
                for name, value in row.items()
                if name != "computed_at"
            )
            for row in rows
        ]
    return found


async def recomputed(pool: Pool, now: datetime) -> dict[str, list[tuple[object, ...]]]:
    """The same tables made anew from what is in `reading`, by an accounting that remembers nothing."""
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d, dirty_interval, dirty_day")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT time_bucket('1 minute', time), array_agg(DISTINCT meter_id) FROM reading GROUP BY 1"
    )
    await Accounting(pool, ACCOUNTS, ZONE, now=lambda: now).run_until_clean()
    return await tables(pool)


async def total_kwh(pool: Pool, column: str = "energy_import_kwh") -> float:
    return float(await pool.fetchval(f"SELECT sum({column}) FROM interval_1m WHERE meter_id = $1", METER))


async def live(pool: Pool, readings: Sequence[Reading], *, every_s: float) -> Accounting:
    """Store the readings in their order, with a pass of accounting whenever `every_s` [s] of their time have passed."""
    clock = Clock()
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=clock)
    waiting: list[Reading] = []
    async with ReadingWriter(pool) as writer:
        for reading in readings:
            if waiting and (reading.time - clock.now).total_seconds() >= every_s:
                await writer.write(waiting)
                waiting.clear()
                await accounting.run_once()
                clock.now = reading.time
            clock.now = max(clock.now, waiting[0].time if waiting else reading.time)
            waiting.append(reading)
        await writer.write(waiting)
    clock.now = readings[-1].time
    await accounting.run_until_clean()
    return accounting


async def test_energy_over_an_outage_of_hours_stays_whole_while_the_meter_is_polled_on(pool: Pool) -> None:
    readings = []
    for second in (*range(-60, 0), *range(3 * 3600 + 50, 3 * 3600 + 200)):
        when = START + timedelta(seconds=second)
        readings.append(reading_of(METER, when, {"energy_import_kwh": 1000.0 + second / 36}))
    await live(pool, readings, every_s=2.0)
    assert await total_kwh(pool) == pytest.approx((3 * 3600 + 199 + 60) / 36)


async def test_a_counter_that_speaks_less_often_than_its_sister_keeps_its_energy(pool: Pool) -> None:
    readings = []
    for second in range(1800):
        values = {"energy_import_kwh": 1000.0 + second / 36}
        if second % 400 == 30:
            values["energy_export_kwh"] = 500.0 + second / 36
        readings.append(reading_of(METER, START + timedelta(seconds=second), values))
    await live(pool, readings, every_s=5.0)
    assert await total_kwh(pool) == pytest.approx(1799 / 36)
    assert await total_kwh(pool, "energy_export_kwh") == pytest.approx(1600 / 36)


async def test_minutes_of_which_a_late_reading_leaves_nothing_known_lose_their_energy(pool: Pool) -> None:
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=lambda: START + timedelta(hours=4))
    await store(
        pool,
        [
            reading_of(METER, START, {"energy_import_kwh": 1000.0}),
            reading_of(METER, START + timedelta(hours=3), {"energy_import_kwh": 1010.0}),
        ],
    )
    await accounting.run_until_clean()
    assert await total_kwh(pool) == pytest.approx(10.0)
    # The counter was above where it is now: whether it dipped or restarted, only the next readings can tell.
    await store(pool, [reading_of(METER, START + timedelta(minutes=10), {"energy_import_kwh": 1012.0})])
    await accounting.run_until_clean()
    assert await total_kwh(pool) == pytest.approx(12.0)
    assert await tables(pool) == await recomputed(pool, START + timedelta(hours=4))


def scenario(chance: random.Random) -> list[Reading]:
    """Hours of three meters that speak in turns often, seldom and not at all, each counter by a habit of its own."""
    readings = []
    for meter in ACCOUNTS:
        counters = {"energy_import_kwh": 1000.0, "energy_export_kwh": 50.0}
        second = 0.0
        for _ in range(chance.randrange(3, 9)):
            pause_s = chance.choice((0.5, 7.0, 61.0, 600.0))
            share = {name: chance.choice((0.0, 0.03, 0.5, 1.0)) for name in counters}
            for _ in range(chance.randrange(1, 60)):
                second += pause_s * chance.uniform(0.5, 1.5)
                power_kw = chance.uniform(-200.0, 400.0)
                values: dict[str, float | None] = {"active_power_kw": power_kw}
                for name, before in counters.items():
                    fault = chance.random()
                    counters[name] = after = 0.0 if fault < 0.01 else before + chance.random() * pause_s / 36
                    shown = 0.0 if 0.01 < fault < 0.02 else after * (0.999 if 0.02 < fault < 0.03 else 1.0)
                    values[name] = shown if chance.random() < share[name] else None
                if meter == BY_POWER:
                    values = {"active_power_kw": power_kw if chance.random() < 0.8 else None}
                readings.append(reading_of(meter, START + timedelta(seconds=second), values))
            second += chance.choice((0.0, 240.0, 900.0, 2.5 * 3600, 9 * 3600))
    return sorted(readings, key=lambda each: each.time_us)


def arrivals(readings: Sequence[Reading], chance: random.Random) -> list[Reading]:
    """The readings as they may come: some late, some in two parts of one instant, some of a clock that runs ahead."""
    coming = list(readings)
    for _ in range(len(coming) // 15):
        late = coming.pop(chance.randrange(len(coming)))
        coming.insert(chance.randrange(len(coming) + 1), late)
    for _ in range(len(coming) // 15):
        place = chance.randrange(len(coming))
        whole = coming[place]
        if len(whole.columns) > 1:
            half = {name: value if chance.random() < 0.5 else None for name, value in whole.items()}
            coming[place] = reading_of(whole.meter_id, whole.time_us, half)
            coming.insert(chance.randrange(place, len(coming) + 1), whole)
    return coming


async def minutes_from_all_samples(pool: Pool) -> dict[tuple[int, int], tuple[float, ...]]:
    """Energy, its estimated part and coverage of each known minute, computed from every sample in one piece."""
    expected = {}
    for meter, account in ACCOUNTS.items():
        rows = await pool.fetch("SELECT * FROM reading WHERE meter_id = $1 ORDER BY time", meter)
        time_us = np.array([instant_us(row["time"]) for row in rows], dtype=np.int64)
        columns = {
            name: np.array([row[name] for row in rows], dtype=np.float64)
            for name in ("energy_import_kwh", "energy_export_kwh", "active_power_kw")
        }
        samples = MeterSamples(
            time_us,
            import_kwh=columns["energy_import_kwh"] if account.has_import else None,
            export_kwh=columns["energy_export_kwh"] if account.has_export else None,
            power_kw=columns["active_power_kw"],
        )
        edges_us = bucket_edges(int(time_us[0]), int(time_us[-1]) + 1, BUCKET_1M_US)
        found = meter_buckets(samples, account.rules, edges_us, power_method=account.power_method)
        parts = (
            found.energy_import_kwh,
            found.energy_export_kwh,
            np.nan_to_num(found.estimated_import_kwh),
            np.nan_to_num(found.estimated_export_kwh),
            found.coverage,
        )
        for place, bucket_us in enumerate(edges_us[:-1].tolist()):
            energy = np.isfinite([found.energy_import_kwh[place], found.energy_export_kwh[place]])
            if energy.any() or found.sample_count[place] or found.flags[place]:
                expected[meter, bucket_us] = tuple(float(part[place]) for part in parts)
    return expected


@pytest.mark.parametrize("seed", range(8))
async def test_what_a_pass_does_not_read_again_would_have_changed_nothing(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    clock = Clock()
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=clock)
    waiting = arrivals(scenario(chance), chance)
    async with ReadingWriter(pool) as writer:
        while waiting:
            size = chance.choice((1, 1, 3, 10, 50))
            batch, waiting = waiting[:size], waiting[size:]
            await writer.write(batch)
            clock.now = max(clock.now, to_datetime(batch[-1].time_us - chance.choice((0, 1_000_000, 1_800_000_000))))
            if chance.random() < 0.8:
                await accounting.run_once()
    await accounting.run_until_clean()
    rows = await pool.fetch("SELECT * FROM interval_1m")
    names = ("energy_import_kwh", "energy_export_kwh", "estimated_import_kwh", "estimated_export_kwh", "coverage")
    kept = {
        (row["meter_id"], instant_us(row["bucket"])): tuple(
            np.nan if row[name] is None else row[name] for name in names
        )
        for row in rows
    }
    expected = await minutes_from_all_samples(pool)
    assert kept.keys() == expected.keys()
    # Coverage is stored as float4.
    np.testing.assert_allclose(list(kept.values()), [expected[key] for key in kept], rtol=1e-6, atol=1e-6)
