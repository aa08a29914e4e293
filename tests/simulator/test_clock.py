"""A clock that runs fast, and never ahead of those who go by it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from simulator.clock import FastClock, seconds_until
from tests.collectors.support import eventually

SECOND_US = 1_000_000
LIMIT_S = 30


async def test_it_runs_as_fast_as_it_is_told_at_most_and_stops_at_its_end() -> None:
    clock = FastClock(0, 600.0, until_us=60 * SECOND_US)
    began_s = time.monotonic()
    seen = [clock()]
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        group.create_task(clock.run())
        while not clock.over.is_set():
            await asyncio.sleep(0)
            seen.append(clock())
    assert clock() == 60 * SECOND_US
    assert time.monotonic() - began_s >= 0.1 - 0.06  # what it may make up for
    assert all(later >= earlier for earlier, later in pairwise(seen))
    assert max(later - earlier for earlier, later in pairwise(seen)) <= 0.004 * 600 * SECOND_US


async def test_a_busy_machine_makes_it_slow_and_it_does_not_leap() -> None:
    clock = FastClock(0, 100.0)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        task = group.create_task(clock.run())
        await eventually(lambda: clock() > 0)
        before_us = clock()
        time.sleep(0.5)  # noqa: ASYNC251 - nobody gets a turn
        await eventually(lambda: clock() - before_us > 2 * SECOND_US)
        moved_us = clock() - before_us
        task.cancel()
    assert moved_us < 25 * SECOND_US  # of fifty


async def test_it_stands_still_while_somebody_is_not_ready() -> None:
    clock, ready = FastClock(0, 100.0), asyncio.Event()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        task = group.create_task(clock.run(ready.is_set))
        await eventually(lambda: clock.waited_s > 0)
        assert clock() == 0
        ready.set()
        await eventually(lambda: clock() > 0)
        task.cancel()


def test_how_long_to_wait_is_by_the_clock() -> None:
    assert seconds_until(FastClock(0, 60.0), 60 * SECOND_US) == pytest.approx(1.0)
    assert seconds_until(lambda: 0, 60 * SECOND_US) == 60.0
    assert seconds_until(lambda: 60, 60) == 0.0
    with pytest.raises(ValueError, match="greater than 0"):
        FastClock(0, 0.0)
