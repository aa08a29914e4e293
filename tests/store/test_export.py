"""Long tables read page by page: in order, full pages, and one that is given up ends in the database too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from emsd.errors import StoreUnavailable
from emsd.quantities import BY_NAME
from emsd.store.export import open_intervals, open_readings
from emsd.store.pool import open_pool

BEGIN = datetime(2026, 3, 9, 23, 50, tzinfo=UTC)
END = BEGIN + timedelta(minutes=20)
POWER = [BY_NAME["active_power_kw"]]
METERS = {2: "second", 1: "first"}


async def fill(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO reading (time, meter_id, active_power_kw)"
        " SELECT $1::timestamptz + n * interval '1 s', meter_id, n FROM generate_series(0, 1199) AS n,"
        " generate_series(1, 3) AS meter_id",
        BEGIN,
    )
    await connection.close()


async def test_pages_are_full_and_in_order_and_say_how_far_they_are(database_url: str) -> None:
    await fill(database_url)
    shares: list[float] = []
    async with (
        open_pool(database_url) as pool,
        open_readings(pool, METERS, POWER, BEGIN, END, page_rows=500, tell=shares.append) as pages,
    ):
        read = [page async for page in pages]
    assert [len(page) for page in read] == [500, 500, 500, 500, 400]
    rows = [row for page in read for row in page]
    assert [(time.date(), meter, time) for time, meter, *_ in rows] == sorted(
        (time.date(), meter, time) for time, meter, *_ in rows
    )
    assert {row[1] for row in rows} == {"first", "second"}
    assert rows[0] == (BEGIN, "first", 0, 0.0)
    assert shares == [0.5, 1.0]  # midnight lies in the middle


async def test_nothing_is_sorted_and_no_chunk_beside_the_range_is_touched(database_url: str) -> None:
    # Or an export of a long table would first be written to the server's disk as a whole.
    await fill(database_url)
    async with open_pool(database_url) as pool, open_readings(pool, METERS, POWER, BEGIN, END, page_rows=10) as pages:
        await anext(pages)
        async with asyncio.timeout(10):
            waiting = await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
                " AND pid <> pg_backend_pid()"
            )
        assert waiting == 1
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "SET enable_sort = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_custom_plan"
    )
    plan = await connection.fetch(
        "EXPLAIN SELECT time, meter_id, quality, active_power_kw FROM reading WHERE meter_id = ANY($1::integer[])"
        " AND time >= $2 AND time < $3 AND (quality <> 0 OR active_power_kw IS NOT NULL) ORDER BY meter_id, time",
        [1, 2],
        BEGIN,
        BEGIN + timedelta(minutes=10),
    )
    await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert "Sort" not in text, text
    assert text.count("Index Scan") == 1, text


async def test_a_cursor_that_is_given_up_gives_its_session_back(database_url: str) -> None:
    await fill(database_url)
    async with open_pool(database_url, max_size=1) as pool:
        for _ in range(3):
            async with open_readings(pool, METERS, POWER, BEGIN, END, page_rows=7) as pages:
                await anext(pages)
        assert await pool.fetchval("SELECT count(*) FROM pg_cursors WHERE name <> ''") == 0


async def test_a_database_that_is_lost_on_the_way_is_said_to_be_unavailable(database_url: str) -> None:
    await fill(database_url)
    async with open_pool(database_url) as pool:
        with pytest.raises(StoreUnavailable, match="could not export readings"):  # noqa: PT012 - and who reads it on
            async with open_readings(pool, METERS, POWER, BEGIN, END, page_rows=10) as pages:
                await anext(pages)
                await pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                )
                async for _ in pages:
                    pass


async def test_a_local_day_that_begins_the_day_before_in_utc_is_found(database_url: str) -> None:
    begin = datetime(2026, 3, 9, 16, tzinfo=UTC)  # 10 March in Shanghai
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO interval_1d (day, bucket, meter_id, energy_import_kwh, coverage, sample_count)"
        " VALUES ('2026-03-10', $1, 1, 24, 1, 86400)",
        begin,
    )
    await connection.close()
    async with (
        open_pool(database_url) as pool,
        open_intervals(pool, METERS, "1d", begin, begin + timedelta(seconds=1), page_rows=10) as pages,
    ):
        ((row,),) = [page async for page in pages]
    assert (row[0], row[1], row[2].isoformat(), row[3]) == (begin, "first", "2026-03-10", 24.0)
