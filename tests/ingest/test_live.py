"""The latest value is that of the latest time, however readings arrive; a slow watcher loses the oldest, counted."""

from __future__ import annotations

import asyncio
from itertools import permutations

from emsd.ingest.live import MAX_READINGS_PER_METER, LiveValue, LiveValues
from emsd.quantities import QUANTITIES
from emsd.readings import Quality, Reading, columns, reading_of


def power(time_us: int, power_kw: float | None, meter_id: int = 1, quality: int = 0) -> Reading:
    return reading_of(meter_id, time_us, {"active_power_kw": power_kw}, quality)


def test_the_latest_of_each_quantity_wins_in_whatever_order_readings_arrive() -> None:
    arrived = [
        power(30, 3.0),
        power(10, 1.0, quality=Quality.REPLAYED),
        reading_of(1, 20, {"active_power_kw": 2.0, "frequency_hz": 50.0}),
        reading_of(1, 40, {"frequency_hz": None}, Quality.MISSING),
    ]
    for order in permutations(arrived):
        live = LiveValues()
        for reading in order:
            live.observe(reading)
        assert live.latest(1) == {
            "active_power_kw": LiveValue(3.0, 30, 0),
            "frequency_hz": LiveValue(None, 40, Quality.MISSING),
        }
    assert LiveValues().latest(1) == {}


def test_a_replayed_reading_of_the_same_instant_does_not_replace_the_live_one() -> None:
    live = LiveValues()
    live.observe(power(10, 1.0))
    live.observe(power(10, 9.0, quality=Quality.REPLAYED))
    assert live.latest(1) == {"active_power_kw": LiveValue(1.0, 10, 0)}


def test_a_clock_that_is_set_back_does_not_stop_the_live_values() -> None:
    now_us = 1_000
    live = LiveValues(now_us=lambda: now_us)
    live.observe(power(1_000, 1.0))
    now_us = 400
    live.observe(power(390, 9.0, quality=Quality.REPLAYED))
    assert live.latest(1) == {"active_power_kw": LiveValue(1.0, 1_000, 0)}
    live.observe(power(400, 2.0))
    live.observe(power(395, 1.5))
    assert live.latest(1) == {"active_power_kw": LiveValue(2.0, 400, 0)}


def test_memory_stays_bounded_when_every_message_carries_other_quantities() -> None:
    live = LiveValues()
    names = [quantity.name for quantity in QUANTITIES]
    expected: dict[str, LiveValue] = {}
    for time_us in range(1, 2000):
        chosen = [names[time_us % 7], names[7 + time_us % 11]]
        live.observe(Reading(time_us, 1, columns(*chosen), (float(time_us), float(time_us))))
        expected |= dict.fromkeys(chosen, LiveValue(float(time_us), time_us, 0))
    assert live.latest(1) == expected
    assert len(live._latest[1]) <= MAX_READINGS_PER_METER + len(expected)


async def test_a_subscriber_sees_its_meters_as_they_arrive_and_nothing_old() -> None:
    live = LiveValues()
    live.observe(power(10, 1.0))
    async with live.subscribe({1, 3}) as subscription, live.subscribe() as everything:
        for reading in (power(20, 2.0), power(20, 2.0, meter_id=2), power(15, 1.5), power(5, 3.0, meter_id=3)):
            live.observe(reading)
        seen = [await anext(subscription) for _ in range(2)]
        assert [(each.meter_id, each.time_us) for each in seen] == [(1, 20), (3, 5)]
        assert [(await anext(everything)).meter_id for _ in range(3)] == [1, 2, 3]
        assert live.subscribers == 2
        later = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        live.observe(power(30, 3.0))
        assert (await asyncio.wait_for(later, 10)).time_us == 30
    assert live.subscribers == 0


async def test_a_slow_subscriber_loses_the_oldest_and_both_counters_say_so() -> None:
    live = LiveValues()
    async with live.subscribe(capacity=3) as slow, live.subscribe() as quick:
        for time_us in range(1, 11):
            live.observe(power(time_us, 1.0))
        assert [(await anext(slow)).time_us for _ in range(3)] == [8, 9, 10]
        assert (slow.dropped, quick.dropped, live.dropped) == (7, 0, 7)
