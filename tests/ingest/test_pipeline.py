"""Every accepted reading is stored, merged, quarantined, handed back or counted as lost, whatever the database does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from emsd.collector import Poison, Sink
from emsd.errors import NotDurable
from emsd.ingest.live import LiveValues
from emsd.ingest.pipeline import STOPPED, Pipeline, PipelineStats
from emsd.readings import Reading, columns, reading_of
from emsd.store.pool import Pool

NOON = 1_774_785_600_000_000
POWER = columns("active_power_kw")


def power(number: int, meter_id: int = 1) -> Reading:
    return Reading(NOON + number * 1000, meter_id, POWER, (float(number),))


def poison(reason: str = "not JSON") -> Poison:
    return Poison("mqtt://broker/topic", b"{", reason, NOON, 1)


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the pipeline has no event for what a test waits for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[Pipeline]:
    task = asyncio.create_task(pipeline.run(), name="pipeline")
    try:
        yield pipeline
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def balanced(stats: PipelineStats) -> bool:
    outcome = stats.stored + stats.merged + stats.quarantined + stats.lost + stats.refused + stats.depth
    return stats.accepted == outcome


async def count(pool: Pool, table: str = "reading") -> Any:
    return await pool.fetchval(f"SELECT count(*) FROM {table}")


async def test_polled_readings_are_stored_and_seen_by_observers_at_once(pool: Pool) -> None:
    live = LiveValues()
    pipeline = Pipeline(pool, observers=[live.observe])
    sink: Sink = pipeline
    async with running(pipeline):
        for number in range(12_000):
            sink.offer(power(number))
        assert live.latest(1)["active_power_kw"].value == 11_999.0
        assert pipeline.stats().lag_s > 0
        await until(lambda: pipeline.stats().stored == 12_000)
        assert await count(pool) == 12_000
        stats = pipeline.stats()
    assert (stats.lost, stats.depth, stats.lag_s, stats.database_up) == (0, 0, 0.0, True)
    assert stats.batches >= 3
    assert stats.write_seconds > 0
    assert stats.last_commit_us is not None
    assert balanced(stats)


async def test_store_returns_when_the_reading_is_committed_and_seen_by_others(pool: Pool) -> None:
    async with running(Pipeline(pool, batch_age_s=1000)) as pipeline:
        for number in range(3):
            await asyncio.wait_for(pipeline.store(power(number)), 30)
            assert await count(pool) == number + 1
        await asyncio.wait_for(asyncio.gather(*(pipeline.store(power(n)) for n in range(500))), 30)
        assert await count(pool) == 500
        stats = pipeline.stats()
        assert (stats.stored, stats.merged) == (500, 3)


async def test_a_reading_that_can_never_be_stored_is_durable_in_quarantine(pool: Pool) -> None:
    async with running(Pipeline(pool)) as pipeline:
        impossible = Reading(-1, 7, POWER, (1.0,))
        await asyncio.wait_for(asyncio.gather(*(pipeline.store(each) for each in (power(1), impossible, power(2)))), 30)
        stats = pipeline.stats()
    assert (stats.stored, stats.quarantined) == (2, 1)
    assert await pool.fetchval("SELECT meter_id FROM quarantine") == 7


async def test_a_poison_message_is_durable_when_quarantine_returns(pool: Pool) -> None:
    async with running(Pipeline(pool)) as pipeline:
        await asyncio.wait_for(pipeline.quarantine(poison()), 30)
        assert await count(pool, "quarantine") == 1
        await asyncio.wait_for(asyncio.gather(*(pipeline.quarantine(poison()) for _ in range(250))), 30)
        assert await count(pool, "quarantine") == 251
        assert pipeline.stats().poisoned == 251


async def test_a_message_that_even_the_quarantine_refuses_is_not_durable_and_readings_go_on(pool: Pool) -> None:
    await pool.execute("ALTER TABLE quarantine ADD CONSTRAINT short CHECK (length(reason) < 20)")
    async with running(Pipeline(pool)) as pipeline:
        with pytest.raises(NotDurable, match="short"):
            await asyncio.wait_for(pipeline.quarantine(poison("a reason that is too long")), 30)
        await asyncio.wait_for(pipeline.store(power(1)), 30)
        await asyncio.wait_for(pipeline.quarantine(poison()), 30)


async def test_when_full_the_oldest_polled_make_room_and_the_loss_is_written_down(pool: Pool) -> None:
    pipeline = Pipeline(pool, capacity_rows=100, batch_rows=40)
    for number in range(150):
        pipeline.offer(power(number, meter_id=1 + number % 2))
    stats = pipeline.stats()
    assert (stats.accepted, stats.lost, stats.depth, stats.capacity) == (150, 50, 100, 100)
    waiting = asyncio.create_task(pipeline.store(power(1000)))
    await asyncio.sleep(0)
    assert pipeline.stats().accepted == 150, "store waits while the queue is full"
    assert [
        (loss.meter_id, loss.readings, loss.first_us - NOON, loss.last_us - NOON) for loss in pipeline.losses()
    ] == [
        (1, 25, 0, 48_000),
        (2, 25, 1000, 49_000),
    ]
    async with running(pipeline):
        await asyncio.wait_for(waiting, 30)
        await until(lambda: pipeline.losses() == ())
        await until(lambda: pipeline.stats().depth == 0)
        rows = await pool.fetch("SELECT meter_id, readings FROM reading_loss ORDER BY meter_id")
        assert [tuple(row) for row in rows] == [(1, 25), (2, 25)]
        assert await count(pool) == 101
        assert await pool.fetchval("SELECT min(active_power_kw) FROM reading") == 50.0
        assert balanced(pipeline.stats())


async def test_what_waits_is_stored_when_the_service_stops(pool: Pool) -> None:
    pipeline = Pipeline(pool, batch_age_s=1000, awaited_age_s=1000, batch_rows=1000)
    async with running(pipeline):
        for number in range(500):
            pipeline.offer(power(number))
        acknowledged = asyncio.create_task(pipeline.store(power(500)))
        await until(lambda: pipeline.stats().accepted == 501)
        assert pipeline.stats().stored == 0
    await asyncio.wait_for(acknowledged, 60)
    assert await count(pool) == 501
    assert pipeline.stats().lost == 0


async def test_after_the_service_stopped_nothing_is_promised_and_all_is_counted(pool: Pool) -> None:
    pipeline = Pipeline(pool)
    async with running(pipeline):
        await asyncio.wait_for(pipeline.store(power(1)), 30)
    pipeline.offer(power(2))
    with pytest.raises(NotDurable):
        await pipeline.store(power(3))
    with pytest.raises(NotDurable):
        await pipeline.quarantine(poison())
    assert [(loss.readings, loss.reason) for loss in pipeline.losses()] == [(1, STOPPED)]
    assert balanced(pipeline.stats())
    async with running(pipeline):
        await asyncio.wait_for(pipeline.store(power(4)), 30)
        await until(lambda: pipeline.losses() == ())
    assert await pool.fetchval("SELECT sum(readings) FROM reading_loss") == 1


async def test_a_schema_that_is_not_ready_is_waited_for_and_nothing_is_quarantined(pool: Pool) -> None:
    await pool.execute("ALTER TABLE reading RENAME TO elsewhere")
    async with running(Pipeline(pool)) as pipeline:
        acknowledged = asyncio.create_task(pipeline.store(power(1)))
        await until(lambda: pipeline.stats().failures >= 2)
        assert not pipeline.stats().database_up
        await pool.execute("ALTER TABLE elsewhere RENAME TO reading")
        await asyncio.wait_for(acknowledged, 30)
        assert pipeline.stats().database_up
    assert await count(pool, "quarantine") == 0


async def test_offering_does_not_need_a_running_pipeline_and_keeps_partial_readings(pool: Pool) -> None:
    pipeline = Pipeline(pool)
    pipeline.offer(reading_of(1, NOON, {"active_power_kw": 1.0, "frequency_hz": None}))
    pipeline.offer(reading_of(1, NOON, {"active_power_kw": 2.0, "frequency_hz": 50.0}))
    async with running(pipeline):
        await until(lambda: pipeline.stats().depth == 0)
    row = await pool.fetchrow("SELECT active_power_kw, frequency_hz FROM reading")
    assert row is not None
    assert tuple(row) == (1.0, 50.0)
