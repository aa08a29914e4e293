"""A run is written down as stopped when the service stops, not when the task that writes it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from emsd.collector import wall_clock_us
from emsd.errors import StoreError
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import Pipeline
from emsd.readings import reading_of
from emsd.service.run_ledger import RunLedger
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.runs import begin_run
from tests.store.test_plant import PROFILES, meter, plant

WITHIN_S = 60.0


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, max_size=3) as opened:
        yield opened


async def test_a_failure_of_the_ledger_does_not_end_the_run(pool: Pool) -> None:
    (meter_id,) = (await sync_plant(pool, plant(meter("one")), PROFILES)).values()
    live = LiveValues()
    live.observe(reading_of(meter_id, wall_clock_us(), {"active_power_kw": 1.0}))
    await begin_run(pool, 1, "1/1", wall_clock_us() - 60_000_000)
    ledger = RunLedger(
        pool,
        1,
        "1/1",
        intervals_s=lambda: {meter_id: 1.0},
        collected_by=lambda: lambda _part, _meter_id: False,
        live=live,
        stats=Pipeline(pool).stats,
    )
    await ledger.begin()
    await pool.execute("ALTER TABLE reading_loss RENAME TO away")
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(StoreError):
            await ledger.run()
    assert await pool.fetchval("SELECT count(*) FROM collector_run WHERE stopped_at IS NOT NULL") == 0
