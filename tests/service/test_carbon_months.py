"""The months of the carbon ledger are kept while the service runs, those of the year before too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from emsd.service.carbon_months import keep_months
from emsd.store.pool import Pool, open_pool
from tests.api.conftest import METER_ID, REGION, insert_plant

NOW = datetime(2026, 1, 1, 3, 20, tzinfo=UTC)


async def months(pool: Pool) -> dict[str, float | None]:
    rows = await pool.fetch("SELECT to_char(month, 'YYYY-MM') AS month, location_kg FROM carbon_month ORDER BY 1")
    return {row["month"]: row["location_kg"] for row in rows}


async def test_both_years_are_computed_at_first_and_what_changes_is_followed(database_url: str) -> None:
    async with open_pool(database_url, max_size=4) as pool:
        async with pool.acquire() as connection:
            await insert_plant(connection)
        await pool.execute(
            "INSERT INTO carbon_factor (region, method, valid_from, kg_per_kwh, source)"
            " VALUES ($1, 'location', '2020-01-01Z', 0.5, 'a test')",
            REGION,
        )
        insert = (
            "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, coverage, sample_count)"
            " VALUES ($1, $2, 100, 1, 900)"
        )
        await pool.execute(insert, datetime(2025, 12, 31, 12, tzinfo=UTC), METER_ID["incomer"])
        await pool.execute(insert, datetime(2025, 12, 31, 23, tzinfo=UTC), METER_ID["incomer"])  # 2026 in Berlin
        task = asyncio.create_task(
            keep_months(pool, 1, now=lambda: NOW, first_after_s=0, every_s=0.02), name="carbon months"
        )
        try:
            async with asyncio.timeout(60):
                while len(await months(pool)) < 13:  # noqa: ASYNC110 - the table is the only sign
                    await asyncio.sleep(0.02)
                kept = await months(pool)
                assert (kept["2025-11"], kept["2025-12"], kept["2026-01"]) == (None, 50, 50)
                await pool.execute(insert, datetime(2026, 1, 1, 2, tzinfo=UTC), METER_ID["incomer"])
                while (await months(pool))["2026-01"] != 100:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
