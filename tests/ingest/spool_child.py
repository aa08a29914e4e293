"""A process that collects with a spool until it is killed: `spool_child.py DATABASE_URL FOLDER FIRST_NUMBER`.

It prints `ready`, then the number of each reading whose delivery was acknowledged, and `lost N` when any was lost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from emsd.errors import NotDurable
from emsd.ingest.pipeline import Pipeline
from emsd.ingest.spool import open_spool
from emsd.readings import Reading, columns
from emsd.store.pool import open_pool

NOON = 1_774_785_600_000_000
POWER = columns("active_power_kw")


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def acknowledge(number: int, done: Callable[[], None], refusal: NotDurable | None) -> None:
    if refusal is None:
        say(str(number))
    done()


async def run(database_url: str, folder: Path, first: int) -> None:
    say("ready")
    async with (
        open_pool(database_url, min_size=0) as pool,
        open_spool(folder, min_free_bytes=0) as spool,
        asyncio.TaskGroup() as group,
    ):
        pipeline = Pipeline(pool, spool=spool, batch_rows=50)
        group.create_task(pipeline.run())
        room = asyncio.Semaphore(200)
        for number in range(first, first + 100_000):
            await room.acquire()
            reading = Reading(NOON + number * 1000, 1 + number % 3, POWER, (float(number % 1000),))
            pipeline.deliver(reading, partial(acknowledge, number, room.release))
            if pipeline.stats().lost:
                say(f"lost {pipeline.stats().lost}")
            await asyncio.sleep(0)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
