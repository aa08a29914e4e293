"""When minutes are computed: as soon as they are over, and again within a minute of a reading that comes late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from emsd.accounting import Accounting, MeterAccount
from emsd.energy.counters import CounterRules
from emsd.readings import Reading, reading_of
from emsd.settings import Settings
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter

ZONE = ZoneInfo("Europe/Berlin")
METER = 1_000_001
ACCOUNTS = {
    METER: MeterAccount(METER, CounterRules(max_gap_s=300.0, max_power_kw=1000.0), True, False, poll_interval_s=10.0)
}
GAUGES = {METER: ("voltage_l1_n_v",)}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as opened:
        yield opened


async def store(pool: Pool, readings: Sequence[Reading]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write(readings)


@asynccontextmanager
async def running(accounting: Accounting) -> AsyncIterator[None]:
    task = asyncio.create_task(accounting.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_reading_of_last_week_is_in_every_tier_within_a_minute(pool: Pool) -> None:
    midnight = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    noon = midnight - timedelta(days=7) + timedelta(hours=12)
    at = [noon + timedelta(minutes=5 * step) for step in range(-2, 3)]
    voltages = (230.0, 231.0, 250.0, 229.0, 230.0)
    readings = [
        reading_of(METER, when, {"energy_import_kwh": 100.0 + 10 * n, "voltage_l1_n_v": voltages[n]})
        for n, when in enumerate(at)
    ]
    late = readings.pop(2)
    minutes, quarters = "interval_1m WHERE bucket = $1", "interval_15m WHERE bucket = $1"
    asked = {
        f"SELECT sample_count FROM {minutes}": 1,
        f"SELECT sample_count FROM {quarters}": 3,
        "SELECT sample_count FROM interval_1d WHERE bucket <= $1 AND bucket > $1 - INTERVAL '1 day'": 5,
        "SELECT max_value FROM gauge_15m WHERE bucket = $1": 250.0,
        "SELECT max_value FROM gauge_1d WHERE bucket <= $1 AND bucket > $1 - INTERVAL '1 day'": 250.0,
    }
    interval_s = Settings.model_fields["accounting_interval_s"].default
    accounting = Accounting(pool, ACCOUNTS, ZONE, gauges=GAUGES, interval_s=interval_s)
    async with running(accounting):
        await store(pool, readings)
        async with asyncio.timeout(60):
            while not await pool.fetchval("SELECT count(*) FROM gauge_1d"):  # noqa: ASYNC110 - the database knows
                await asyncio.sleep(0.05)
        for query, figure in asked.items():
            assert await pool.fetchval(query, noon) != figure, query
        await store(pool, [late])
        async with asyncio.timeout(60):
            for query, figure in asked.items():
                while await pool.fetchval(query, noon) != figure:  # noqa: ASYNC110 - the database knows
                    await asyncio.sleep(0.05)


async def test_a_minute_is_computed_when_it_is_over_and_the_running_one_only_when_asked_for(pool: Pool) -> None:
    start = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
    now = start
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=lambda: now)
    await store(
        pool,
        [
            reading_of(METER, start + timedelta(seconds=10 * step), {"energy_import_kwh": 100.0 + step})
            for step in range(10)
        ],
    )

    async def minutes() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM interval_1m"))

    now = start + timedelta(seconds=61)
    assert not await accounting.run_once(running_too=False)
    assert (await minutes(), accounting.stats.lag_s) == (0, 0.0), "its last readings may still be under way"
    now = start + timedelta(seconds=63)
    await accounting.run_once(running_too=False)
    assert await minutes() == 2, "the energy up to the first reading of the next minute shows there"
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 1
    await accounting.run_once()
    assert await pool.fetchval("SELECT count(*) FROM dirty_interval") == 0


async def test_lag_is_how_long_the_oldest_minute_that_waits_has_been_over(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emsd.accounting import loop

    monkeypatch.setattr(loop, "_MARKS_PER_PASS", 1)
    start = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
    now = start + timedelta(minutes=12)
    accounting = Accounting(pool, ACCOUNTS, ZONE, now=lambda: now)
    for step in (0, 3, 9):
        await store(pool, [reading_of(METER, start + timedelta(minutes=step), {"energy_import_kwh": 100.0 + step})])
    lags = []
    while await accounting.run_once(running_too=False):
        lags.append(accounting.stats.lag_s)
    assert lags == [11 * 60, 11 * 60, 0], "the newest are computed first"
