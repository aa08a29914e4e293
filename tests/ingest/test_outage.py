"""The database goes away: collecting goes on within the bound, what is lost is known exactly, the rest is stored."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from emsd.errors import NotDurable
from emsd.ingest.pipeline import Pipeline
from emsd.readings import Reading, columns
from emsd.servers import PrivatePostgres
from emsd.store.migrations import migrate
from emsd.store.pool import open_pool

NOON = 1_774_785_600_000_000
POWER = columns("active_power_kw")
CAPACITY = 1000


def power(number: int, meter_id: int = 1) -> Reading:
    return Reading(NOON + number * 1000, meter_id, POWER, (float(number),))


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the pipeline has no event for what a test waits for
            await asyncio.sleep(0.01)


@pytest.fixture
def own_postgres(servers_folder: Path) -> Iterator[PrivatePostgres]:
    with PrivatePostgres(servers_folder / f"outage-{uuid.uuid4().hex[:8]}", fsync=False) as private:
        yield private


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(pipeline.run(), name="pipeline")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_outage_loses_only_what_exceeds_the_bound_and_says_exactly_what(own_postgres: PrivatePostgres) -> None:
    await migrate(own_postgres.url)
    async with open_pool(own_postgres.url) as pool:
        pipeline = Pipeline(pool, capacity_rows=CAPACITY, batch_rows=100)
        async with running(pipeline):
            await asyncio.wait_for(pipeline.store(power(0)), 60)

            await asyncio.to_thread(own_postgres.stop)
            for number in range(1, 401):
                pipeline.offer(power(number))
            await until(lambda: pipeline.stats().failures > 0)
            assert not pipeline.stats().database_up
            acknowledged = asyncio.create_task(pipeline.store(power(401)))
            for number in range(402, 2402):
                pipeline.offer(power(number, meter_id=1 + number % 2))
            stats = pipeline.stats()
            assert stats.depth == CAPACITY
            assert stats.accepted == 2401
            assert stats.lost == stats.accepted - stats.stored - CAPACITY
            assert not acknowledged.done()

            await asyncio.to_thread(own_postgres.start)
            await asyncio.wait_for(acknowledged, 60)
            await until(lambda: pipeline.stats().depth == 0 and pipeline.losses() == ())
            await asyncio.wait_for(pipeline.store(power(5000)), 60)
            stats = pipeline.stats()
            assert stats.database_up
            assert stats.accepted == stats.stored + stats.lost

            stored = {row["number"] for row in await pool.fetch("SELECT active_power_kw::int AS number FROM reading")}
            lost = await pool.fetch(
                "SELECT meter_id, sum(readings)::int AS readings, min(first_time) AS first, max(last_time) AS last "
                "FROM reading_loss GROUP BY meter_id"
            )
    accepted = {*range(2402), 5000}
    assert len(stored) == stats.stored
    missing = {1: set[int](), 2: set[int]()}
    for number in accepted - stored:
        missing[1 if number <= 401 else 1 + number % 2].add(number)
    for row in lost:
        numbers = missing.pop(row["meter_id"])
        times = [round(row[edge].timestamp() * 1e6) - NOON for edge in ("first", "last")]
        assert row["readings"] == len(numbers)
        assert times == [min(numbers) * 1000, max(numbers) * 1000]
    assert not any(missing.values())


async def test_a_service_that_stops_without_database_ends_in_time_and_promises_nothing(
    own_postgres: PrivatePostgres,
) -> None:
    await migrate(own_postgres.url)
    async with open_pool(own_postgres.url) as pool:
        pipeline = Pipeline(pool)
        async with running(pipeline) as task:
            await asyncio.wait_for(pipeline.store(power(0)), 60)
            await asyncio.to_thread(own_postgres.stop)
            for number in range(1, 11):
                pipeline.offer(power(number))
            acknowledged = asyncio.create_task(pipeline.store(power(11)))
            await until(lambda: pipeline.stats().failures > 0)
            failures = pipeline.stats().failures
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 30)
            with pytest.raises(NotDurable):
                await asyncio.wait_for(acknowledged, 60)
    stats = pipeline.stats()
    assert stats.failures <= failures + 2, "one more attempt for the readings, one for the losses"
    assert (stats.lost, stats.refused, stats.depth) == (10, 1, 0)
    assert [(loss.readings, loss.first_us - NOON, loss.last_us - NOON) for loss in pipeline.losses()] == [
        (10, 1000, 10_000)
    ]


async def test_a_database_that_hangs_is_given_up_at_the_time_out_and_the_batch_is_stored_later(
    database_url: str,
) -> None:
    async with open_pool(database_url) as pool:
        pipeline = Pipeline(pool, write_timeout_s=0.5)
        blocker = await asyncpg.connect(database_url)
        try:
            async with running(pipeline):
                await asyncio.wait_for(pipeline.store(power(0)), 60)
                await blocker.execute("BEGIN; LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
                acknowledged = asyncio.create_task(pipeline.store(power(1)))
                await until(lambda: pipeline.stats().failures > 0)
                await blocker.execute("ROLLBACK")
                await asyncio.wait_for(acknowledged, 60)
        finally:
            await blocker.close()
        assert await pool.fetchval("SELECT count(*) FROM reading") == 2


async def test_a_service_that_stops_while_the_database_hangs_cuts_its_session_and_hands_back(database_url: str) -> None:
    async with open_pool(database_url) as pool:
        pipeline = Pipeline(pool, write_timeout_s=600, drain_timeout_s=0.3)
        blocker = await asyncpg.connect(database_url)
        try:
            async with running(pipeline) as task:
                await asyncio.wait_for(pipeline.store(power(0)), 60)
                await blocker.execute("BEGIN; LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
                acknowledged = asyncio.create_task(pipeline.store(power(1)))
                await until(lambda: pipeline.stats().depth == 1)
                task.cancel()
                await asyncio.wait({task}, timeout=30)
                assert task.cancelled()
                with pytest.raises(NotDurable):
                    await asyncio.wait_for(acknowledged, 60)
        finally:
            await blocker.close()
    assert pipeline.stats().refused == 1
