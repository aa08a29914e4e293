"""Whatever is killed, restarted or taken away in whatever order: what was acknowledged is in the database, once."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emsd.ingest.pipeline import Pipeline
from emsd.ingest.spool import open_spool
from emsd.readings import Reading, columns, instant_us
from emsd.store.pool import Pool, open_pool
from tests.ingest.outages import away

NOON = 1_774_785_600_000_000
POWER = columns("active_power_kw")
CHILD = Path(__file__).with_name("spool_child.py")
KILLS = 24
NUMBERS = count()


def power(number: int) -> Reading:
    return Reading(NOON + number * 1000, 1 + number % 3, POWER, (float(number % 1000),))


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[None]:
    task = asyncio.create_task(pipeline.run(), name="pipeline")
    await asyncio.sleep(0)  # a task that is cancelled before it began does nothing at all
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def numbers_in(pool: Pool) -> list[int]:
    """Return the number of every row, by its time, when its value and its meter are those of that number."""
    rows = await pool.fetch("SELECT meter_id, time, active_power_kw FROM reading")
    numbers = [(instant_us(row["time"]) - NOON) // 1000 for row in rows]
    for number, row in zip(numbers, rows, strict=True):
        assert (row["meter_id"], row["active_power_kw"]) == (1 + number % 3, float(number % 1000))
    return numbers


async def drained(database_url: str, folder: Path) -> tuple[int, int]:
    """Let a service of our own send what the others left; return how many were recovered, and how many lost."""
    async with open_pool(database_url) as pool, open_spool(folder, min_free_bytes=0) as spool:
        pipeline = Pipeline(pool, spool=spool)
        async with running(pipeline), asyncio.timeout(120):
            while pipeline.stats().in_spool or pipeline.losses():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        return pipeline.stats().recovered, pipeline.stats().lost


async def killed_child(database_url: str, folder: Path, first: int, chance: random.Random) -> set[int]:
    """Run the child, kill it at a random moment, and return what it said was acknowledged."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), database_url, str(folder), str(first),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = [await child.stdout.readline() for _ in range(1 + chance.choice([0, 1, chance.randrange(2000)]))]
            await asyncio.sleep(chance.random() / 20)  # a moment of no meaning
    finally:
        child.kill()
    said += (await child.stdout.read()).splitlines(keepends=True)
    await child.wait()
    words = [line.strip() for line in said if line.endswith(b"\n")]  # the last line may be torn
    assert words[0] == b"ready"
    assert not [word for word in words if word.startswith(b"lost")]
    return {int(word) for word in words[1:]}


async def test_killed_at_random_moments_nothing_acknowledged_is_lost_and_nothing_is_there_twice(
    database_url: str, pool: Pool, tmp_path: Path
) -> None:
    chance = random.Random(7)
    acknowledged: set[int] = set()
    in_outage = 0
    async with away(database_url) as outage:
        for kill in range(KILLS):
            async with AsyncExitStack() as stack:
                if kill % 4 != 3:  # the fourth finds the database there, and is killed while it drains
                    await stack.enter_async_context(outage())
                    in_outage += 1
                acknowledged |= await killed_child(database_url, tmp_path, kill * 1_000_000, chance)
    assert in_outage == KILLS * 3 // 4
    recovered, lost = await drained(database_url, tmp_path)
    there = await numbers_in(pool)
    assert len(acknowledged) > 1000
    assert acknowledged <= set(there)
    assert len(there) == len(set(there))
    assert recovered > 0
    assert lost == 0
    assert await pool.fetchval("SELECT count(*) FROM reading_loss") == 0


STEPS = st.sampled_from(["outage", "return", "restart", "store", "offer", "burst"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
async def test_no_order_of_outages_and_restarts_loses_anything(
    database_url: str, tmp_path: Path, steps: list[str]
) -> None:
    accepted: set[int] = set()
    folder = tmp_path / str(next(NUMBERS))
    async with open_pool(database_url) as pool, away(database_url) as outage, AsyncExitStack() as outages:
        remaining = [*steps]
        while remaining:
            async with open_spool(folder, min_free_bytes=0) as spool:
                pipeline = Pipeline(pool, spool=spool, batch_rows=20, drain_timeout_s=2)
                async with running(pipeline):
                    while remaining and (step := remaining.pop(0)) != "restart":
                        if step == "outage":
                            await outages.aclose()
                            await outages.enter_async_context(outage())
                        elif step == "return":
                            await outages.aclose()
                        else:
                            numbers = [next(NUMBERS) for _ in range({"store": 1, "offer": 30, "burst": 100}[step])]
                            accepted |= {*numbers}
                            if step == "offer":
                                for number in numbers:
                                    pipeline.offer(power(number))
                            else:
                                async with asyncio.timeout(60):
                                    await asyncio.gather(*(pipeline.store(power(number)) for number in numbers))
                stats = pipeline.stats()
                assert (stats.lost, stats.refused, stats.depth) == (0, 0, 0)
                outcome = stats.stored + stats.merged + stats.quarantined + stats.in_spool
                assert stats.accepted + stats.recovered == outcome
        await outages.aclose()
        _, lost = await drained(database_url, folder)
        assert lost == 0
        there = await numbers_in(pool)
        assert len(there) == len(set(there))
        assert accepted <= set(there)
