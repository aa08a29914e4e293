"""Running totals become counts of minutes: each event in one minute, none lost while the database is away."""

from __future__ import annotations

from typing import Any

import pytest

from emsd.collector import MeterHealth, MeterState
from emsd.errors import StoreError
from emsd.readings import instant_us
from emsd.store.health import HealthRecorder
from emsd.store.pool import Pool

MINUTE = 60_000_000
NOON = 1_774_785_600_000_000


async def minutes(pool: Pool, *names: str) -> list[tuple[Any, ...]]:
    listed = ", ".join(("meter_id", "time", *names))
    records = await pool.fetch(f"SELECT {listed} FROM collector_health_1m ORDER BY meter_id, time")
    return [(row["meter_id"], (instant_us(row["time"]) - NOON) // MINUTE, *list(row.values())[2:]) for row in records]


async def test_growth_is_counted_in_the_minute_in_which_it_was_seen(pool: Pool) -> None:
    recorder = HealthRecorder(pool)
    health = MeterHealth(1, polls_expected=3, polls_ok=3, requests=6, round_trip_s=0.25, state=MeterState.OK)
    assert await recorder.record(NOON + 10, [health]) == 1
    health.polls_expected, health.polls_ok, health.polls_failed, health.requests = 10, 8, 2, 20
    health.state, health.last_error = MeterState.DOWN, "no reply"
    await recorder.record(NOON + 50_000_000, [health])
    health.polls_expected, health.polls_ok, health.state = 15, 13, MeterState.OK
    await recorder.record(NOON + MINUTE, [health])
    names = ("polls_expected", "polls_ok", "polls_failed", "requests", "state", "last_error")
    assert await minutes(pool, *names) == [
        (1, 0, 10, 8, 2, 20, "down", "no reply"),
        (1, 1, 5, 5, 0, 0, "ok", None),
    ]


async def test_a_collector_that_was_started_again_counts_from_nothing(pool: Pool) -> None:
    recorder = HealthRecorder(pool)
    await recorder.record(NOON, [MeterHealth(1, polls_expected=100, polls_ok=100)])
    await recorder.record(NOON + MINUTE, [MeterHealth(1, polls_expected=4, polls_ok=4)])
    await HealthRecorder(pool).record(NOON + MINUTE, [MeterHealth(1, polls_expected=2, polls_ok=1, polls_failed=1)])
    assert await minutes(pool, "polls_expected", "polls_ok") == [(1, 0, 100, 100), (1, 1, 6, 5)]


async def test_minutes_that_waited_are_written_one_by_one(pool: Pool) -> None:
    recorder = HealthRecorder(pool)
    refuse = "ALTER TABLE collector_health_1m ADD CONSTRAINT refused CHECK (polls_expected <> {})"
    await pool.execute(refuse.format(1))
    with pytest.raises(StoreError):
        await recorder.record(NOON, [MeterHealth(1, polls_expected=1)])
    with pytest.raises(StoreError):
        await recorder.record(NOON + MINUTE, [MeterHealth(1, polls_expected=3)])
    await pool.execute("ALTER TABLE collector_health_1m DROP CONSTRAINT refused")
    await pool.execute(refuse.format(2))
    with pytest.raises(StoreError):
        await recorder.record(NOON + 2 * MINUTE, [MeterHealth(1, polls_expected=7)])
    assert await minutes(pool, "polls_expected") == [(1, 0, 1)], "what could be written is written"
    await pool.execute("ALTER TABLE collector_health_1m DROP CONSTRAINT refused")
    assert await recorder.record(NOON + 2 * MINUTE, [MeterHealth(1, polls_expected=7)]) == 2
    assert await minutes(pool, "polls_expected") == [(1, 0, 1), (1, 1, 2), (1, 2, 4)]


async def test_minutes_wait_while_the_database_refuses_and_old_ones_are_given_up(pool: Pool) -> None:
    recorder = HealthRecorder(pool, keep_minutes=2)
    await pool.execute("ALTER TABLE collector_health_1m RENAME TO elsewhere")
    for minute in range(4):
        with pytest.raises(StoreError):
            await recorder.record(NOON + minute * MINUTE, [MeterHealth(1, polls_expected=minute + 1)])
    await pool.execute("ALTER TABLE elsewhere RENAME TO collector_health_1m")
    assert await recorder.record(NOON + 3 * MINUTE, [MeterHealth(1, polls_expected=6)]) == 2
    assert await minutes(pool, "polls_expected") == [(1, 2, 1), (1, 3, 3)]
