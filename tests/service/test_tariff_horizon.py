"""A service that runs on for years has prices ahead of it all the time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from emsd.service.tariff_horizon import keep_tariffs
from emsd.store.pool import open_pool
from tests.store.test_tariff import OLD, plant, sync

REACH = "SELECT max(to_time) FROM tariff_price"


async def test_prices_are_laid_out_further_while_the_service_runs_and_a_changed_plant_counts(database_url: str) -> None:
    described = [plant(OLD)]
    times = [datetime(2026, 6, 1, tzinfo=UTC)]
    async with open_pool(database_url) as pool:
        async with pool.acquire() as connection:
            await sync(connection, described[-1], now=times[-1])

        async def reaches(year: int) -> None:
            async with asyncio.timeout(60):
                while (await pool.fetchval(REACH)).year != year:  # noqa: ASYNC110 - the table is the only sign
                    await asyncio.sleep(0.01)

        task = asyncio.create_task(
            keep_tariffs(pool, lambda: described[-1], now=lambda: times[-1], every_s=0.01), name="tariffs"
        )
        try:
            times.append(datetime(2027, 3, 1, tzinfo=UTC))
            await reaches(2029)
            # The plant changes, as a reload has it, and the years go on.
            described.append(plant(OLD | {"levy_per_kwh": 0.5}))
            async with pool.acquire() as connection:
                await sync(connection, described[-1], now=times[-1])
            times.append(datetime(2031, 3, 1, tzinfo=UTC))
            await reaches(2033)
            assert await pool.fetchval("SELECT DISTINCT levy_per_kwh FROM tariff_price") == 0.5
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
