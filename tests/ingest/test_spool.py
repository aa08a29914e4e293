"""With a spool nothing accepted is lost while the database is away, slow or restarted, and live data goes first."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from emsd.collector import Poison
from emsd.errors import NotDurable, SpoolInUse
from emsd.ingest.pipeline import Pipeline, PipelineStats
from emsd.ingest.spool import Spool, open_spool
from emsd.ingest.spool_folder import SPOOL_FULL
from emsd.metrics import ServiceMetrics
from emsd.readings import Reading, columns
from emsd.servers import PrivatePostgres
from emsd.store.migrations import migrate
from emsd.store.pool import Pool, open_pool
from tests.ingest.outages import away

NOON = 1_774_785_600_000_000
POWER = columns("active_power_kw")
MEGABYTE = 1024 * 1024


def power(number: int, meter_id: int = 1) -> Reading:
    return Reading(NOON + number * 1000, meter_id, POWER, (float(number),))


def poison(number: int) -> Poison:
    return Poison("mqtt://broker/topic", str(number).encode(), "not JSON", NOON + number, 1)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the pipeline has no event for what a test waits for
            await asyncio.sleep(0.01)


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
    return stats.accepted + stats.recovered == outcome + stats.in_spool


def numbers(rows: list[asyncpg.Record]) -> list[int]:
    return sorted(int(row["active_power_kw"]) for row in rows)


async def stored(pool: Pool) -> list[int]:
    return numbers(await pool.fetch("SELECT active_power_kw FROM reading"))


@asynccontextmanager
async def spool_in(folder: Path, *, max_bytes: int = 256 * MEGABYTE) -> AsyncIterator[Spool]:
    async with open_spool(folder, max_bytes=max_bytes, min_free_bytes=0) as spool:
        yield spool


@pytest.fixture
def own_postgres(servers_folder: Path) -> Iterator[PrivatePostgres]:
    with PrivatePostgres(servers_folder / f"spool-{uuid.uuid4().hex[:8]}", fsync=False) as private:
        yield private


async def test_while_the_database_is_there_nothing_touches_the_spool(pool: Pool, tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool, running(Pipeline(pool, spool=spool)) as pipeline:
        await asyncio.gather(*(pipeline.store(power(number)) for number in range(500)))
        stats = pipeline.stats()
    assert stats.spool is not None
    assert (stats.stored, stats.spool.saved_readings, stats.in_spool) == (500, 0, 0)


async def test_a_backlog_is_drained_behind_live_data_and_every_reading_is_there_once(
    own_postgres: PrivatePostgres, tmp_path: Path
) -> None:
    await migrate(own_postgres.url)
    async with open_pool(own_postgres.url) as pool, spool_in(tmp_path) as spool:
        # Every row remembers in which transaction it came; those numbers are given in order.
        await pool.execute("ALTER TABLE reading ADD COLUMN came bigint DEFAULT txid_current()")
        async with running(Pipeline(pool, spool=spool, batch_rows=100, capacity_rows=1000)) as pipeline:
            await asyncio.wait_for(pipeline.store(power(0)), 60)
            await asyncio.to_thread(own_postgres.stop)
            for start in range(1, 20_001, 100):
                for number in range(start, start + 50):
                    pipeline.offer(power(number))
                await asyncio.wait_for(
                    asyncio.gather(*(pipeline.store(power(number)) for number in range(start + 50, start + 100))), 60
                )
                assert balanced(pipeline.stats())
            stats = pipeline.stats()
            assert not stats.database_up
            assert stats.spool is not None
            assert (stats.lost, stats.in_spool + stats.depth) == (0, 20_000)
            assert stats.spool.oldest_age_s > 0

            await asyncio.to_thread(own_postgres.start)
            await until(lambda: pipeline.stats().database_up)
            live = 30_000
            while pipeline.stats().in_spool:
                await asyncio.wait_for(pipeline.store(power(live)), 60)
                live += 1
                assert balanced(pipeline.stats())
            stats = pipeline.stats()
            assert stats.stored == stats.accepted
            assert await stored(pool) == [*range(20_001), *range(30_000, live)]
            rows = await pool.fetch("SELECT active_power_kw::int AS number, came FROM reading ORDER BY came, time")
    came = {row["number"]: row["came"] for row in rows}
    backlog = [number for number in (row["number"] for row in rows) if 1 <= number <= 20_000]
    first_live = came[30_000]
    before = [number for number in backlog if came[number] < first_live]
    assert len(before) < 10_000, "live data does not wait for the backlog"
    assert came[live - 1] > came[10_000], "the backlog flows while live data does"
    probe = {number for number in backlog if came[number] == came[backlog[0]]}
    rest = [number for number in backlog if number not in probe]
    assert rest == sorted(rest), "the oldest first"


async def test_at_the_bound_the_oldest_readings_are_lost_and_written_down_by_meter_and_time(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    noisy = columns("active_power_kw", "energy_import_kwh", "energy_export_kwh", "air_volume_nm3")
    noise = random.Random(3)

    def reading(number: int) -> Reading:
        values = (float(number), *(noise.random() for _ in range(3)))
        return Reading(NOON + number * 1000, 1 + number % 2, noisy, values)

    async with away(database_url) as gone, spool_in(tmp_path, max_bytes=MEGABYTE) as spool:
        async with running(Pipeline(pool, spool=spool, batch_rows=1000)) as pipeline:
            async with gone():
                for start in range(0, 70_000, 1000):
                    await asyncio.gather(*(pipeline.store(reading(start + place)) for place in range(1000)))
                    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= MEGABYTE
            await until(lambda: pipeline.stats().in_spool == 0 and pipeline.losses() == ())
            stats = pipeline.stats()
            assert balanced(stats)
            assert stats.spool is not None
            assert stats.lost == stats.spool.dropped_readings > 0
        there = await stored(pool)
        lost = await pool.fetch(
            "SELECT meter_id, sum(readings)::int AS readings, min(first_time) AS first, max(last_time) AS last, "
            "min(reason) AS reason FROM reading_loss GROUP BY meter_id ORDER BY meter_id"
        )
    missing = sorted(set(range(70_000)) - set(there))
    assert len(there) == len(set(there)) == 70_000 - len(missing)
    assert stats.lost == len(missing)
    assert len(lost) == 2
    for row in lost:
        own = [number for number in missing if 1 + number % 2 == row["meter_id"]]
        times = [round(row[edge].timestamp() * 1e6) - NOON for edge in ("first", "last")]
        assert (row["readings"], *times) == (len(own), own[0] * 1000, own[-1] * 1000)
        assert row["reason"] == SPOOL_FULL


SLOW = """
CREATE TABLE slowness (is_slow boolean);
CREATE FUNCTION sleep_if_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM slowness) THEN PERFORM pg_sleep(600); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER slow BEFORE INSERT ON reading FOR EACH STATEMENT EXECUTE FUNCTION sleep_if_slow();
"""
AWAKE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"""


async def test_a_database_that_answers_too_late_does_not_hold_acknowledgements_up(pool: Pool, tmp_path: Path) -> None:
    await pool.execute(SLOW)
    async with spool_in(tmp_path) as spool:
        pipeline = Pipeline(pool, spool=spool, patience_s=0.3, write_timeout_s=600)
        async with running(pipeline):
            await asyncio.wait_for(pipeline.store(power(0)), 60)
            await pool.execute("INSERT INTO slowness VALUES (true)")
            for number in range(1, 20):
                await asyncio.wait_for(pipeline.store(power(number)), 60)
            await asyncio.wait_for(pipeline.quarantine(poison(1)), 60)
            assert pipeline.stats().in_spool == 19, "acknowledged while the database sleeps"
            await pool.execute("DELETE FROM slowness")
            await pool.execute(AWAKE)
            await until(lambda: spool.totals.batches == 0)
            assert balanced(pipeline.stats())
            assert await stored(pool) == list(range(20))


async def test_a_locked_table_does_not_hold_acknowledgements_up(database_url: str, pool: Pool, tmp_path: Path) -> None:
    blocker = await asyncpg.connect(database_url)
    try:
        async with spool_in(tmp_path) as spool:
            pipeline = Pipeline(pool, spool=spool, patience_s=0.3, write_timeout_s=600)
            async with running(pipeline):
                await asyncio.wait_for(pipeline.store(power(0)), 60)
                await blocker.execute("BEGIN; LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
                for number in range(1, 20):
                    await asyncio.wait_for(pipeline.store(power(number)), 60)
                assert pipeline.stats().in_spool == 19, "acknowledged while the lock is held"
                await blocker.execute("ROLLBACK")
                await until(lambda: pipeline.stats().in_spool == 0)
                assert balanced(pipeline.stats())
                assert await stored(pool) == list(range(20))
    finally:
        await blocker.close()


async def test_the_spool_shows_in_the_metrics(database_url: str, pool: Pool, tmp_path: Path) -> None:
    async with away(database_url) as outage, spool_in(tmp_path) as spool:
        pipeline = Pipeline(pool, spool=spool)
        registry = CollectorRegistry()
        registry.register(ServiceMetrics(meter_keys=dict, pipeline=pipeline.stats))
        async with running(pipeline):
            async with outage():
                await asyncio.wait_for(pipeline.store(power(0)), 60)
                assert registry.get_sample_value("emsd_spool_readings") == 1
                assert registry.get_sample_value("emsd_spool_available") == 1
                for name in ("emsd_spool_oldest_age_seconds", "emsd_spool_bytes"):
                    assert (registry.get_sample_value(name) or 0) > 0
            await until(lambda: pipeline.stats().in_spool == 0)
            await until(lambda: registry.get_sample_value("emsd_spool_drained_readings_total") == 1)
            assert registry.get_sample_value("emsd_spool_dropped_readings_total") == 0


async def test_poisons_are_acknowledged_while_the_database_is_away_and_reach_the_quarantine(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    async with away(database_url) as gone, spool_in(tmp_path) as spool:
        async with running(Pipeline(pool, spool=spool)) as pipeline:
            async with gone():
                for number in range(5):
                    await asyncio.wait_for(pipeline.quarantine(poison(number)), 60)
                malformed = Reading(NOON, 1, POWER, (1.0, 2.0))
                await asyncio.wait_for(pipeline.store(malformed), 60)
                await asyncio.wait_for(pipeline.store(power(1)), 60)
            await until(lambda: pipeline.stats().spool is not None and spool.totals.batches == 0)
            stats = pipeline.stats()
            assert (stats.poisoned, stats.quarantined, stats.stored) == (5, 1, 1)
            assert balanced(stats)
        payloads = await pool.fetch("SELECT payload FROM quarantine WHERE source LIKE 'mqtt%' ORDER BY received_at")
        assert [bytes(row["payload"]) for row in payloads] == [b"0", b"1", b"2", b"3", b"4"]
        assert await pool.fetchval("SELECT count(*) FROM quarantine") == 6


async def test_a_service_that_stops_without_database_leaves_all_in_the_spool_and_the_next_one_stores_it(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    async with away(database_url) as gone, gone(), spool_in(tmp_path) as spool:
        pipeline = Pipeline(pool, spool=spool, batch_rows=10, batch_age_s=1000, awaited_age_s=1000)
        async with running(pipeline):
            for number in range(95):
                pipeline.offer(power(number))
            acknowledged = asyncio.create_task(pipeline.store(power(95)))
            await until(lambda: pipeline.stats().accepted == 96)
        await asyncio.wait_for(acknowledged, 60)
        stats = pipeline.stats()
        assert (stats.lost, stats.refused, stats.in_spool) == (0, 0, 96)
        assert balanced(stats)
    async with spool_in(tmp_path) as spool, running(Pipeline(pool, spool=spool)) as again:
        await until(lambda: again.stats().in_spool == 0)
        assert (again.stats().recovered, again.stats().stored) == (96, 96)
        assert balanced(again.stats())
    assert await stored(pool) == list(range(96))


async def test_with_database_and_spool_away_memory_bounds_and_counts_and_the_spool_recovers_by_itself(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    place = tmp_path / "spool"
    place.write_text("a file in place of the folder")
    async with away(database_url) as gone, spool_in(place) as spool:
        pipeline = Pipeline(pool, spool=spool, capacity_rows=100, batch_rows=50)
        async with running(pipeline):
            async with gone():
                for number in range(150):
                    pipeline.offer(power(number))
                waiting = asyncio.create_task(pipeline.store(power(150)))
                await until(lambda: pipeline.stats().failures >= 3)
                stats = pipeline.stats()
                assert stats.spool is not None
                assert not stats.spool.available
                assert (stats.lost, stats.depth) == (50, 100)
                assert not waiting.done()
                assert balanced(stats)
                place.unlink()
                await asyncio.wait_for(waiting, 60)
                stats = pipeline.stats()
                assert stats.spool is not None
                assert stats.spool.available
                assert stats.in_spool == 101
            await until(lambda: pipeline.stats().in_spool == 0 and pipeline.losses() == ())
            assert balanced(pipeline.stats())
        assert await stored(pool) == list(range(50, 151))
        assert await pool.fetchval("SELECT sum(readings) FROM reading_loss") == 50


async def test_losses_that_the_database_has_not_seen_survive_the_process(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    async with away(database_url) as gone, gone(), spool_in(tmp_path) as spool:
        pipeline = Pipeline(pool, spool=spool, capacity_rows=10)
        for number in range(30):
            pipeline.offer(power(number))
        async with running(pipeline):
            await until(lambda: spool.totals.losses != () and pipeline.stats().depth == 0)
    async with spool_in(tmp_path) as spool, running(Pipeline(pool, spool=spool)) as again:
        await until(lambda: again.stats().in_spool == 0 and again.losses() == ())
    row = await pool.fetchrow("SELECT sum(readings) AS readings, min(first_time), max(last_time) FROM reading_loss")
    assert row is not None
    assert row["readings"] == 20
    assert await stored(pool) == list(range(20, 30))


async def test_a_batch_that_the_database_refuses_for_good_does_not_hold_up_the_others(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    async with away(database_url) as gone, spool_in(tmp_path) as spool:
        async with running(Pipeline(pool, spool=spool)) as pipeline:
            async with gone():
                await asyncio.wait_for(pipeline.quarantine(poison(0)), 60)
                for number in range(10):
                    await asyncio.wait_for(pipeline.store(power(number)), 60)
                await spool.take(0)  # the poison: nobody sends it until the quarantine refuses it
            await until(lambda: pipeline.stats().in_spool == 0)
            await pool.execute("ALTER TABLE quarantine ADD CONSTRAINT never CHECK (false)")
            await spool.give_back()
            pipeline.offer(power(10))
            await until(lambda: pipeline.stats().stored == 11)
            await pool.execute("ALTER TABLE quarantine DROP CONSTRAINT never")
            await until(lambda: spool.totals.batches == 0)
        assert await pool.fetchval("SELECT count(*) FROM quarantine") == 1


async def test_a_second_process_is_refused_and_an_unavailable_spool_is_not(tmp_path: Path) -> None:
    async with spool_in(tmp_path):
        with pytest.raises(SpoolInUse):
            async with spool_in(tmp_path):
                pass
    async with spool_in(tmp_path) as spool:
        await spool.remember_meters(7, {"incomer": 7_000_001})
        await spool.set_note("key", "value")
    async with spool_in(tmp_path) as spool:
        assert await spool.known_meters(7) == {"incomer": 7_000_001}
        assert await spool.note("key") == "value"
    (tmp_path / "file").write_text("")
    async with spool_in(tmp_path / "file") as spool:
        assert not spool.available


async def test_deliver_calls_back_once_in_order_when_the_reading_is_durable(pool: Pool, tmp_path: Path) -> None:
    told: list[tuple[int, NotDurable | None]] = []

    def tell(number: int) -> Callable[[NotDurable | None], None]:
        return lambda refusal: told.append((number, refusal))

    async with spool_in(tmp_path) as spool, running(Pipeline(pool, spool=spool, batch_rows=64)) as pipeline:
        for number in range(1000):
            pipeline.deliver(power(number), tell(number))
        assert told == [], "not before it is durable"
        await until(lambda: len(told) == 1000)
        assert told == [(number, None) for number in range(1000)]
        assert await stored(pool) == list(range(1000))
    pipeline.deliver(power(1000), tell(1000))
    assert isinstance(told[-1][1], NotDurable)
    assert Counter(number for number, _ in told).most_common(1)[0][1] == 1
