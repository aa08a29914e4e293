"""Interval tables are a function of the raw readings, whatever the way and order in which those came."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from emsd.accounting import Accounting, MeterAccount, loop
from emsd.accounting.runs import take
from emsd.energy.counters import CounterRules
from emsd.errors import StoreError
from emsd.readings import Reading, reading_of
from emsd.store.intervals import DirtyMark
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)  # 23:00 in Berlin; the 29th has 23 hours
FAST, SLOW, POWER_ONLY = 1_000_001, 1_000_002, 1_000_003
RULES = CounterRules(max_gap_s=300.0, max_power_kw=1000.0, count_kwh=0.001)
ACCOUNTS = {
    FAST: MeterAccount(FAST, RULES, has_import=True, has_export=True, poll_interval_s=1.0),
    SLOW: MeterAccount(SLOW, RULES, has_import=True, has_export=False, poll_interval_s=60.0),
    POWER_ONLY: MeterAccount(POWER_ONLY, RULES, has_import=False, has_export=False, poll_interval_s=10.0),
}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


def history(minutes: int, *, seed: int) -> list[Reading]:
    """Three meters with every fault that moves energy across minutes: gaps, a glitch, a restart, missing counters."""
    chance = random.Random(seed)
    readings: list[Reading] = []
    energy = {FAST: 100.0, SLOW: 5000.0}
    for second in range(0, minutes * 60, 1):
        when = START + timedelta(seconds=second, milliseconds=chance.randrange(900))
        power = 300.0 + 100.0 * chance.random()
        for meter in energy:
            energy[meter] += power / 3600
        if second == minutes * 30:
            energy[FAST] = 0.0  # the meter restarted
        in_gap = minutes * 20 < second < minutes * 20 + 700
        if second % 7 == 0 and not in_gap:
            shown = 0.0 if second == 7 * 40 else energy[FAST]
            counter = None if chance.random() < 0.3 else shown
            readings.append(
                reading_of(
                    FAST, when, {"energy_import_kwh": counter, "energy_export_kwh": 3.0, "active_power_kw": power}
                )
            )
        if second % 60 == 11:
            readings.append(reading_of(SLOW, when, {"energy_import_kwh": round(energy[SLOW], 1)}))
        if second % 10 == 3:
            readings.append(reading_of(POWER_ONLY, when, {"active_power_kw": -power}))
    return readings


def accounting(pool: Pool, now: datetime) -> Accounting:
    return Accounting(pool, ACCOUNTS, BERLIN, now=lambda: now)


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
    """The same tables made anew from what is in `reading`, by one pass of an accounting that remembers nothing."""
    await pool.execute("TRUNCATE interval_1m, interval_15m, interval_1d, dirty_interval, dirty_day")
    await pool.execute(
        "INSERT INTO dirty_interval (bucket, meter_ids)"
        " SELECT time_bucket('1 minute', time), array_agg(DISTINCT meter_id) FROM reading GROUP BY 1"
    )
    await accounting(pool, now).run_until_clean()
    return await tables(pool)


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_batching_and_repetition_of_readings_ends_in_the_same_tables(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    readings = history(90, seed=seed)
    now = START + timedelta(hours=2)
    live = accounting(pool, now)
    pending = sorted(readings, key=lambda each: each.time_us)
    # Most come in order, some late, some twice.
    for _ in range(len(pending) // 20):
        place = chance.randrange(len(pending))
        late = pending.pop(place)
        pending.insert(chance.randrange(place, len(pending) + 1), late)
    pending += chance.sample(pending, 30)
    async with ReadingWriter(pool) as writer:
        while pending:
            size = chance.choice((1, 7, 60, 400))
            batch, pending = pending[:size], pending[size:]
            await writer.write(batch)
            if chance.random() < 0.6:
                await live.run_once()
    await live.run_until_clean()
    kept = await tables(pool)
    assert kept["interval_1m"], "the history must reach the tables at all"
    assert kept == await recomputed(pool, now)


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


async def test_energy_between_two_samples_is_spread_over_the_minutes_between_them(pool: Pool) -> None:
    begin = START + timedelta(minutes=14)
    await store(
        pool,
        [
            reading_of(SLOW, begin, {"energy_import_kwh": 500.0}),
            reading_of(SLOW, begin + timedelta(seconds=120), {"energy_import_kwh": 512.0}),
        ],
    )
    await accounting(pool, START + timedelta(hours=1)).run_until_clean()
    quarters = await pool.fetch(
        "SELECT energy_import_kwh, coverage, estimated_import_kwh FROM interval_15m ORDER BY bucket"
    )
    assert [row["energy_import_kwh"] for row in quarters] == pytest.approx([6.0, 6.0])
    assert [row["coverage"] for row in quarters] == pytest.approx([1 / 15, 1 / 15])
    assert [row["estimated_import_kwh"] for row in quarters] == [0.0, 0.0]


async def test_a_gap_keeps_its_total_and_says_that_it_is_estimated(pool: Pool) -> None:
    await store(
        pool,
        [
            reading_of(SLOW, START, {"energy_import_kwh": 1000.0}),
            reading_of(SLOW, START + timedelta(hours=6), {"energy_import_kwh": 1700.0}),
        ],
    )
    await accounting(pool, START + timedelta(hours=7)).run_until_clean()
    total = await pool.fetchrow(
        "SELECT sum(energy_import_kwh) AS kwh, sum(estimated_import_kwh) AS estimated, max(coverage) AS coverage,"
        " count(*) AS minutes FROM interval_1m"
    )
    assert total is not None
    assert total["kwh"] == pytest.approx(700.0)
    assert total["estimated"] == pytest.approx(700.0)
    assert total["coverage"] == 0.0
    assert total["minutes"] == 361


async def test_a_reading_of_last_week_changes_last_weeks_intervals(pool: Pool) -> None:
    live = accounting(pool, START + timedelta(days=8))
    await store(
        pool,
        [
            reading_of(SLOW, START, {"energy_import_kwh": 0.0}),
            reading_of(SLOW, START + timedelta(minutes=60), {"energy_import_kwh": 60.0}),
            reading_of(SLOW, START + timedelta(days=7), {"energy_import_kwh": 70.0}),
        ],
    )
    await live.run_until_clean()
    await store(pool, [reading_of(SLOW, START + timedelta(minutes=30), {"energy_import_kwh": 50.0})])
    await live.run_until_clean()
    halves = await pool.fetch(
        "SELECT time_bucket('30 minutes', bucket) AS half, sum(energy_import_kwh) AS kwh FROM interval_15m"
        " WHERE bucket < $1 GROUP BY 1 ORDER BY 1",
        START + timedelta(minutes=60),
    )
    assert [row["kwh"] for row in halves] == pytest.approx([50.0, 10.0])


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
async def test_a_local_day_that_loses_or_gains_an_hour_has_23_or_25_hours_of_energy(
    pool: Pool, day: date, hours: int
) -> None:
    """100 kW from 23:00 before until 01:00 after the day after, in quarter hours and local days of Berlin."""
    begin = datetime.combine(day, time(), BERLIN).astimezone(UTC) - timedelta(hours=1)
    await store(
        pool,
        [
            reading_of(SLOW, begin + timedelta(minutes=5 * step), {"energy_import_kwh": 100.0 * step / 12})
            for step in range((1 + hours + 24) * 12 + 1)
        ],
    )
    await accounting(pool, begin + timedelta(days=4)).run_until_clean()
    days = await pool.fetch(
        "SELECT day, bucket, energy_import_kwh, coverage, sample_count FROM interval_1d ORDER BY day"
    )
    assert [row["day"] - day for row in days] == [timedelta(days=n) for n in (-1, 0, 1, 2)]
    assert [row["energy_import_kwh"] for row in days[:3]] == pytest.approx([100.0, 100.0 * hours, 2400.0])
    assert days[3]["energy_import_kwh"] is None, "one sample at its first instant is not a kWh, and not 0 kWh"
    assert [row["coverage"] for row in days[:3]] == pytest.approx([1 / 24, 1.0, 1.0])
    assert [row["sample_count"] for row in days] == [12, 12 * hours, 288, 1]
    assert [row["bucket"] for row in days[1:3]] == [begin + timedelta(hours=1), begin + timedelta(hours=1 + hours)]
    quarters = await pool.fetch(
        "SELECT energy_import_kwh AS kwh, coverage FROM interval_15m WHERE bucket >= $1 AND bucket < $2",
        begin + timedelta(hours=1),
        begin + timedelta(hours=1 + hours),
    )
    assert len(quarters) == 4 * hours
    assert {(round(row["kwh"], 6), round(row["coverage"], 6)) for row in quarters} == {(25.0, 1.0)}


async def test_a_meter_without_a_counter_integrates_its_power_as_generation_when_negative(pool: Pool) -> None:
    await store(
        pool,
        [
            reading_of(POWER_ONLY, START + timedelta(seconds=10 * step), {"active_power_kw": -360.0})
            for step in range(31)
        ],
    )
    await accounting(pool, START + timedelta(hours=1)).run_until_clean()
    row = await pool.fetchrow(
        "SELECT sum(energy_export_kwh) AS export, sum(energy_import_kwh) AS import, min(power_min_kw) AS low"
        " FROM interval_1m"
    )
    assert row is not None
    assert row["export"] == pytest.approx(30.0)
    assert row["import"] == pytest.approx(0.0)
    assert row["low"] == pytest.approx(-360.0)


async def test_a_pass_that_fails_leaves_its_marks_for_the_next(pool: Pool) -> None:
    live = accounting(pool, START + timedelta(hours=1))
    await store(
        pool, [reading_of(SLOW, START + timedelta(seconds=s), {"energy_import_kwh": s / 10}) for s in (0, 60, 120)]
    )
    await pool.execute("ALTER TABLE interval_15m RENAME TO interval_15m_away")
    with pytest.raises(StoreError):
        await live.run_once()
    assert await pool.fetchval("SELECT count(*) FROM interval_1m") == 0
    await pool.execute("ALTER TABLE interval_15m_away RENAME TO interval_15m")
    await live.run_until_clean()
    assert await pool.fetchval("SELECT sum(energy_import_kwh) FROM interval_15m") == pytest.approx(12.0)


async def test_the_running_day_of_many_meters_is_built_once_and_then_the_pass_is_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_DAYS_PER_PASS", 2)
    await store(pool, history(30, seed=8))
    await store(pool, [reading_of(SLOW, START - timedelta(days=day), {"energy_import_kwh": 1.0}) for day in (2, 3, 4)])
    keeper = accounting(pool, START + timedelta(minutes=30))
    assert await keeper.run_once(), "three past days are left over"
    days = await pool.fetch("SELECT DISTINCT meter_id FROM interval_1d WHERE day = '2026-03-28'")
    assert [row["meter_id"] for row in days] == list(ACCOUNTS)
    while await keeper.run_once():
        pass
    # Each further reading makes the running day dirty again, and that is no reason for another pass at once.
    await store(
        pool, [reading_of(meter, START + timedelta(minutes=29), {"energy_import_kwh": 1.0}) for meter in ACCOUNTS]
    )
    assert not await keeper.run_once()


def test_a_minute_that_many_batches_wrote_into_is_one_minute_of_a_pass() -> None:
    minute_us = 60_000_000
    marks = [DirtyMark(mark, minute_us * (100 - mark // 50), [1, 2, 3]) for mark in range(500)]
    taken, minutes = take(marks, most_minutes=12)
    assert len(taken) == 200
    assert {meter: len(buckets) for meter, buckets in minutes.items()} == {1: 4, 2: 4, 3: 4}


async def test_two_accountings_of_one_database_never_work_at_once(pool: Pool) -> None:
    await store(pool, [reading_of(SLOW, START, {"energy_import_kwh": 1.0})])
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('emsd.accounting'))")
        assert await accounting(pool, START + timedelta(hours=1)).run_once() is False
        assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 1
