"""Rows a second into the database, against asyncpg's binary COPY of the same rows.

A row has 16 values, 14 gauges and 2 counters, of 1,000 meters; a batch has 5,000 rows, and each batch is one
transaction on either side, waiting for the disk. The bare side sends bytes that were encoded before the clock started
into an identical hypertable with the same primary key. Ours starts from `Reading` objects:

    writer      ReadingWriter.write: encode, COPY, dirty marks, commit
    pipeline    Pipeline.offer one by one, queue, batches, writer; until the last row is committed
    collision   the same batches once more, so that every row merges with one that is there; for information
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import asyncpg

from bench.result import Report, compared
from bench.world import Size, World
from emsd.ingest.pipeline import Pipeline
from emsd.readings import Reading, columns, instant_us
from emsd.store.copy_format import KEY_COLUMNS, copy_stream
from emsd.store.pool import Pool, Session, open_pool
from emsd.store.readings import ReadingWriter

__all__ = ["run"]

_GAUGES: Final = (
    "active_power_kw", "reactive_power_kvar", "apparent_power_kva", "power_factor", "frequency_hz",
    "voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v", "voltage_l1_l2_v", "voltage_l2_l3_v",
    "current_l1_a", "current_l2_a", "current_l3_a", "current_n_a",
)  # fmt: skip
_NAMES: Final = (*_GAUGES, "energy_import_kwh", "energy_export_kwh")
_BATCH_ROWS: Final = 5_000
_METERS: Final = 1_000
_BEGIN_US: Final = instant_us(datetime(2025, 6, 2, tzinfo=UTC))
_SIZES: Final = {Size.FULL: (9, 20), Size.QUICK: (5, 6), Size.SMOKE: (1, 1)}
"""Rounds, and batches of each side in a round."""

_IDENTICAL: Final = """
CREATE TABLE reading_bare (LIKE reading INCLUDING ALL);
SELECT create_hypertable('reading_bare', 'time', chunk_time_interval => INTERVAL '1 day',
                         create_default_indexes => false);
"""

_Batches = Sequence[Sequence[Reading]]


async def run(world: World) -> Report:
    """Measure in turns; the order changes from round to round."""
    rounds, batches = _SIZES[world.size]
    writer_rounds: list[tuple[float, float]] = []
    pipeline_rounds: list[tuple[float, float]] = []
    collision_rounds: list[tuple[float, float]] = []
    async with world.database() as url, open_pool(url) as pool, pool.acquire() as connection:
        await connection.execute(_IDENTICAL)
        async with ReadingWriter(pool) as writer:
            await _write(writer, _batches(-1, 1, first_meter=1))  # the first COPY into a chunk creates it
            await _copy(connection, _encoded(_batches(-1, 1, first_meter=1)))
            for number in range(rounds):
                world.say("ingest", f"round {number + 1} of {rounds}")
                ours = _batches(number, batches, first_meter=1)
                offered = _batches(number, batches, first_meter=100_001)
                encoded = _encoded(ours)
                rows = batches * _BATCH_ROWS
                bare, write, offer = await _in_turns(
                    number,
                    partial(_copy, connection, encoded),
                    partial(_write, writer, ours),
                    partial(_offer, pool, offered),
                )
                again = await _timed(partial(_write, writer, ours))
                writer_rounds.append((rows / write, rows / bare))
                pipeline_rounds.append((rows / offer, rows / bare))
                collision_rounds.append((rows / again, rows / bare))
            await _check(connection, rounds * batches * _BATCH_ROWS + _BATCH_ROWS)
    return Report(
        [
            compared("ingest", "16 values a row, ReadingWriter.write", "rows/s", writer_rounds, least_ratio=0.6),
            compared("ingest", "the whole way from Pipeline.offer", "rows/s", pipeline_rounds),
            compared("ingest", "the same rows again, all merged", "rows/s", collision_rounds),
        ]
    )


def _batches(number: int, batches: int, *, first_meter: int) -> list[list[Reading]]:
    """Return readings that no other round has: every meter once a second."""
    names = columns(*_NAMES)
    seconds = _BATCH_ROWS // _METERS
    made = []
    for batch in range(batches):
        begin_s = 3600 + (number * batches + batch) * seconds
        made.append(
            [
                Reading(
                    _BEGIN_US + (begin_s + second) * 1_000_000 + meter * 997,
                    first_meter + meter,
                    names,
                    (*(meter + 0.25 * place + second for place in range(14)), 1e6 + meter + begin_s / 36.0, 0.5),
                )
                for second in range(seconds)
                for meter in range(_METERS)
            ]
        )
    return made


def _encoded(batches: _Batches) -> list[bytes]:
    return [b"".join(copy_stream(batch, _NAMES)) for batch in batches]


async def _in_turns(number: int, *sides: Callable[[], Awaitable[None]]) -> list[float]:
    """Return how long each side took [s]; every round begins with another one."""
    took = [0.0] * len(sides)
    for step in range(len(sides)):
        place = (number + step) % len(sides)
        took[place] = await _timed(sides[place])
    return took


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _copy(connection: Session, encoded: Sequence[bytes]) -> None:
    for each in encoded:
        await connection.copy_to_table(
            "reading_bare", source=io.BytesIO(each), format="binary", columns=[*KEY_COLUMNS, *_NAMES]
        )


async def _write(writer: ReadingWriter, batches: _Batches) -> None:
    for batch in batches:
        await writer.write(batch)


async def _offer(pool: Pool, batches: _Batches) -> None:
    pipeline = Pipeline(pool, batch_rows=_BATCH_ROWS)
    running = asyncio.create_task(pipeline.run(), name="benchmarked-pipeline")
    try:
        for batch in batches:
            for start in range(0, len(batch), 100):
                for reading in batch[start : start + 100]:
                    pipeline.offer(reading)
                await asyncio.sleep(0)  # collectors share the event loop, too
        while pipeline.stats().depth:  # noqa: ASYNC110 - the pipeline has no event for it
            await asyncio.sleep(0.001)
        assert pipeline.stats().lost == 0
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _check(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], rows: int) -> None:
    written = await connection.fetchval("SELECT count(*) FROM reading WHERE meter_id < 100001")
    copied = await connection.fetchval("SELECT count(*) FROM reading_bare")
    assert written == copied == rows, (written, copied, rows)
