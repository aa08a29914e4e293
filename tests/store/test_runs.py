"""What nobody polled between two runs is counted once, by meter and time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from emsd.readings import instant_us, reading_of
from emsd.store.loss import Loss, write_losses
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool
from emsd.store.readings import ReadingWriter
from emsd.store.runs import DIED, STOPPED, account_interruptions, begin_run, end_run, keep_alive
from tests.store.test_plant import PROFILES, meter, plant

BEGIN = datetime(2026, 3, 29, 12, 0, 0, 300_000, tzinfo=UTC)
FAST, SLOW = "fast", "slow"


@pytest.fixture
async def ids(pool: Pool) -> dict[str, int]:
    return await sync_plant(pool, plant(meter(FAST), meter(SLOW, unit_id=2)), PROFILES)


def at(second: float) -> int:
    return instant_us(BEGIN + timedelta(seconds=second))


async def store(pool: Pool, meter_id: int, seconds: Iterable[float]) -> None:
    async with ReadingWriter(pool) as writer:
        await writer.write([reading_of(meter_id, at(second), {"active_power_kw": 1.0}) for second in seconds])


async def losses(pool: Pool, meter_id: int) -> list[tuple[int, float, float, str]]:
    rows = await pool.fetch("SELECT * FROM reading_loss WHERE meter_id = $1 ORDER BY loss_id", meter_id)
    return [
        (
            row["readings"],
            (row["first_time"] - BEGIN).total_seconds(),
            (row["last_time"] - BEGIN).total_seconds(),
            row["reason"],
        )
        for row in rows
    ]


async def test_the_first_run_has_missed_nothing(pool: Pool, ids: dict[str, int]) -> None:
    await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2, 3])
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 0


async def test_the_ticks_that_a_killed_process_missed_are_counted(pool: Pool, ids: dict[str, int]) -> None:
    run = await begin_run(pool, 1, "1/1", at(0))
    await keep_alive(pool, run, at(2))
    await store(pool, ids[FAST], [1, 2, 3.02])
    await store(pool, ids[SLOW], [0.5])
    await begin_run(pool, 1, "1/1", at(9.4))
    await store(pool, ids[FAST], [10.05, 11])
    await store(pool, ids[SLOW], [10.5])
    intervals_s = {ids[FAST]: 1.0, ids[SLOW]: 5.0}
    # Missed: the fast one at 4, 5, 6, 7, 8 and 9, the slow one at 5.5.
    assert await account_interruptions(pool, 1, "1/1", intervals_s) == 7
    assert await losses(pool, ids[FAST]) == [(6, 4.02, 9.02, DIED)]
    assert await losses(pool, ids[SLOW]) == [(1, 5.5, 5.5, DIED)]
    assert await account_interruptions(pool, 1, "1/1", intervals_s) == 0, "each run is accounted once"


async def test_a_stop_in_good_order_says_so(pool: Pool, ids: dict[str, int]) -> None:
    run = await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await end_run(pool, run, at(2.5))
    await begin_run(pool, 1, "1/1", at(5.5))
    await store(pool, ids[FAST], [6])
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 3
    assert await losses(pool, ids[FAST]) == [(3, 3.0, 5.0, STOPPED)]


async def test_polls_that_failed_while_a_process_lived_are_not_counted_again(pool: Pool, ids: dict[str, int]) -> None:
    run = await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    # The device was away from 3 on; the process lived until 10 and polled it.
    await keep_alive(pool, run, at(10.5))
    await begin_run(pool, 1, "1/1", at(13.5))
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 3
    assert await losses(pool, ids[FAST]) == [(3, 11.0, 13.0, DIED)]


async def test_a_device_that_answers_late_after_a_start_is_not_counted_as_unpolled(
    pool: Pool, ids: dict[str, int]
) -> None:
    run = await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await end_run(pool, run, at(2.5))
    await begin_run(pool, 1, "1/1", at(5.5))
    await store(pool, ids[FAST], [60])
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 3
    assert await losses(pool, ids[FAST]) == [(3, 3.0, 5.0, STOPPED)]


async def test_runs_that_were_killed_before_they_could_account_are_accounted_later(
    pool: Pool, ids: dict[str, int]
) -> None:
    await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await begin_run(pool, 1, "1/1", at(4.5))
    await store(pool, ids[FAST], [5])
    await begin_run(pool, 1, "1/1", at(6.2))  # killed before its first tick
    await begin_run(pool, 1, "1/1", at(8.5))
    await store(pool, ids[FAST], [9])
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 2 + 3
    assert sum(readings for readings, *_ in await losses(pool, ids[FAST])) == 5


async def test_readings_that_were_taken_and_lost_are_not_counted_twice(pool: Pool, ids: dict[str, int]) -> None:
    await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await write_losses(pool, [Loss(ids[FAST], 2, at(3), at(4), "the spool was full")], at(5))
    await begin_run(pool, 1, "1/1", at(7.5))
    await store(pool, ids[FAST], [8])
    assert await account_interruptions(pool, 1, "1/1", {ids[FAST]: 1.0}) == 3
    assert sum(readings for readings, *_ in await losses(pool, ids[FAST])) == 5


async def test_parts_of_a_site_are_accounted_apart(pool: Pool, ids: dict[str, int]) -> None:
    await begin_run(pool, 1, "1/2", at(0))
    await store(pool, ids[FAST], [1])
    await begin_run(pool, 1, "2/2", at(4.5))
    assert await account_interruptions(pool, 1, "2/2", {ids[FAST]: 1.0}) == 0
    await begin_run(pool, 1, "1/2", at(4.5))
    assert await account_interruptions(pool, 1, "1/2", {ids[FAST]: 1.0}) == 3


async def test_a_clock_that_was_set_back_between_runs_makes_nothing_counted_twice(
    pool: Pool, ids: dict[str, int]
) -> None:
    intervals_s = {ids[FAST]: 1.0}
    run = await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await end_run(pool, run, at(2.5))
    run = await begin_run(pool, 1, "1/1", at(100.5))
    await store(pool, ids[FAST], [101, 102])
    assert await account_interruptions(pool, 1, "1/1", intervals_s) == 98
    await end_run(pool, run, at(102.5))
    await begin_run(pool, 1, "1/1", at(50.5))  # before the run before began
    await store(pool, ids[FAST], [51, 52])
    assert await account_interruptions(pool, 1, "1/1", intervals_s) == 0


async def test_a_meter_that_another_part_collected_before_is_accounted_from_that_parts_end(
    pool: Pool, ids: dict[str, int]
) -> None:
    intervals_s = {ids[FAST]: 1.0}

    def first_of_two(part: str, _meter_id: int) -> bool:
        return part in {"1/1", "1/2"}

    run = await begin_run(pool, 1, "1/1", at(0))
    await store(pool, ids[FAST], [1, 2])
    await end_run(pool, run, at(2.5))
    run = await begin_run(pool, 1, "1/2", at(13.5))
    await begin_run(pool, 1, "2/2", at(13.6))
    await store(pool, ids[FAST], [14, 15, 16])
    assert await account_interruptions(pool, 1, "1/2", intervals_s, first_of_two) == 11
    # The device is away from 17 on, and polled until 60.
    await end_run(pool, run, at(60.5))
    await begin_run(pool, 1, "1/1", at(63.5))
    await store(pool, ids[FAST], [64])
    assert await account_interruptions(pool, 1, "1/1", intervals_s, first_of_two) == 3
    assert await losses(pool, ids[FAST]) == [(11, 3.0, 13.0, STOPPED), (3, 61.0, 63.0, STOPPED)]
