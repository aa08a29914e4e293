"""A wall clock that is set, or stands still: polls go on at their pace, and readings keep the clock's time."""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise

import pytest

from collectors.modbus import open_collector
from collectors.modbus.poll import Poll
from collectors.modbus.reads import Reads
from emsd.collector import Collector, MeterHealth, MeterState
from tests.collectors.support import (
    MemorySink,
    bound,
    device,
    device_server,
    eventually,
    modbus_connection,
    profile_of,
    running,
)

POINTS: list[dict[str, object]] = [
    {"quantity": "active_power_kw", "address": 10, "type": "u16"},
    {"quantity": "starts_count", "address": 11, "type": "u16", "interval_s": 600.0},
]
INTERVAL_S = 0.1
HOUR_US = 3_600_000_000
NOON_US = 1_774_785_600_000_000


class Clock:
    """A wall clock that a test sets, or stops."""

    def __init__(self) -> None:
        self._offset_us = NOON_US - time.monotonic_ns() // 1000
        self._stopped_us: int | None = None

    def __call__(self) -> int:
        return self._stopped_us if self._stopped_us is not None else time.monotonic_ns() // 1000 + self._offset_us

    def set_by(self, jump_us: int) -> None:
        self._offset_us += jump_us

    def stop(self) -> None:
        self._stopped_us = self()


def health_of(collector: Collector) -> MeterHealth:
    (health,) = collector.health()
    counted = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == counted
    return health


@pytest.mark.parametrize("jump_us", [-24 * HOUR_US, -HOUR_US, -70_000, 70_000, HOUR_US, 24 * HOUR_US])
async def test_a_clock_that_is_set_neither_stops_the_polls_nor_makes_a_storm_of_them(jump_us: int) -> None:
    sink, clock = MemorySink(), Clock()
    async with device_server(device(1, {10: 5, 11: 6})) as port:
        meter = bound(1, profile_of(POINTS), unit=1, poll_interval_s=INTERVAL_S)
        collector = open_collector(modbus_connection(port), [meter], sink, now_us=clock)
        began = time.monotonic()
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 5)
            before = len(sink.offered)
            clock.set_by(jump_us)
            set_at_us = clock()
            await eventually(lambda: len(sink.offered) >= before + 8)
            health = health_of(collector)
            elapsed_s = time.monotonic() - began
    # Ticks are expected at their pace, give or take one around the jump, however far it was.
    assert health.polls_expected <= elapsed_s / INTERVAL_S + 2
    assert health.state is MeterState.OK
    assert not health.errors
    after = [reading.time_us for reading in sink.offered[before:]]
    assert all(set_at_us - 100_000 <= time_us <= clock() for time_us in after)
    assert all(later > earlier for earlier, later in pairwise(after[1:]))
    times = [reading.time_us for reading in sink.offered]
    assert len(set(times)) == len(times)


async def test_a_clock_that_jumps_makes_a_slow_value_be_read_at_most_once_more() -> None:
    sink, clock = MemorySink(), Clock()
    async with device_server(device(1, {10: 5, 11: 6})) as port:
        meter = bound(1, profile_of(POINTS), unit=1, poll_interval_s=INTERVAL_S)
        collector = open_collector(modbus_connection(port), [meter], sink, now_us=clock)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
            for jump_us in (HOUR_US, -HOUR_US):
                clock.set_by(jump_us)
                before = len(sink.offered)
                await eventually(lambda before=before: len(sink.offered) >= before + 4)  # type: ignore[misc]
    assert sum("starts_count" in reading.columns for reading in sink.offered) <= 3 + 1


async def test_of_a_clock_that_stands_still_no_two_readings_are_of_one_instant() -> None:
    sink, clock = MemorySink(), Clock()
    async with device_server(device(1, {10: 5, 11: 6})) as port:
        meter = bound(1, profile_of(POINTS), unit=1, poll_interval_s=INTERVAL_S)
        collector = open_collector(modbus_connection(port), [meter], sink, now_us=clock)
        async with running(collector):
            clock.stop()
            began = time.monotonic()
            await eventually(lambda: len(sink.offered) >= 8)
            health, elapsed_s = health_of(collector), time.monotonic() - began
    times = [reading.time_us for reading in sink.offered]
    assert times == list(range(times[0], times[0] + len(times)))
    assert health.polls_ok <= 2 * elapsed_s / INTERVAL_S + 2


def test_answers_of_one_poll_around_a_jump_backwards_are_readings_of_their_own_instants() -> None:
    made_of = profile_of([{**POINTS[0]}, {"quantity": "starts_count", "address": 900, "type": "u16"}]).modbus
    assert made_of is not None
    first, second = Reads(made_of, 1.0, None).requests(())
    poll = Poll(deque(), {}, 0, 0.0, 1.0)
    poll.take(first, [5.0], 0, NOON_US)
    poll.take(second, [6.0], 0, NOON_US - HOUR_US)
    readings = list(poll.readings(1, NOON_US))
    assert [reading.time_us for reading in readings] == [NOON_US + 1, NOON_US - HOUR_US]
