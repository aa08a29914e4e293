"""A meter that says the same for too long under load: its values are not taken until any bit changes."""

from __future__ import annotations

import pytest

from collectors.modbus import open_collector
from collectors.modbus.frozen import LOAD_A, LOAD_KW, FrozenWatch, frozen_after_s
from emsd.collector import Collector, MeterHealth, MeterState
from emsd.plant.modbus_map import ModbusMap
from emsd.readings import Quality
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    bound,
    eventually,
    modbus_connection,
    profile,
    profile_of,
    running,
    scripted_server,
)

POINTS: list[dict[str, object]] = [
    {"quantity": "active_power_kw", "address": 10, "type": "i16"},
    {"quantity": "frequency_hz", "address": 11, "type": "u16", "scale": 0.01},
    {"quantity": "energy_import_kwh", "address": 300, "type": "u16"},
]
POWER, FREQUENCY, ENERGY = 10, 11, 300


def device(power: int = 40) -> dict[int, int]:
    return {POWER: power & 0xFFFF, FREQUENCY: 5000, ENERGY: 700}


def health_of(collector: Collector) -> MeterHealth:
    (health,) = collector.health()
    return health


async def test_values_that_stay_equal_bit_for_bit_under_load_are_not_taken_until_one_changes() -> None:
    bank, sink = Bank.of(device()), MemorySink()
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(POINTS, frozen_after_s=0.35), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).state is MeterState.FROZEN)
            frozen_at = len(sink.offered)
            await eventually(lambda: len(sink.offered) >= frozen_at + 3)
            health = health_of(collector)
            errors, partial, told = dict(health.errors), health.polls_partial, health.last_error
            believed_last_us = health.last_ok_us
            # The least that can change is one bit of one register, of a counter even.
            bank.registers[1][ENERGY] += 1
            await eventually(lambda: health_of(collector).state is MeterState.OK)
    believed = [reading for reading in sink.offered if reading.quality == Quality.GOOD]
    doubted = [reading for reading in sink.offered if reading.quality == Quality.STALE]
    assert len(believed) + len(doubted) == len(sink.offered)
    assert believed[0].values == (40.0, 50.0, 700.0)
    assert believed_last_us == sink.offered[sink.offered.index(doubted[0]) - 1].time_us
    assert all(reading.values == (None, None, None) for reading in doubted)
    assert all(set(reading.columns) == set(believed[0].columns) for reading in doubted)
    assert set(errors) == {"frozen"}
    assert errors["frozen"] == partial
    assert told is not None
    assert "meter m1: its answers have been equal bit for bit" in told
    assert "under load" in told
    assert sink.offered[-1].value("energy_import_kwh") == 701.0


async def test_a_meter_on_an_idle_feeder_may_be_constant() -> None:
    bank, sink = Bank.of(device(power=0)), MemorySink()
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(POINTS, frozen_after_s=0.2), unit=1, poll_interval_s=0.1, rated_power_kw=100)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 8)
    assert {reading.quality for reading in sink.offered} == {Quality.GOOD}
    assert health_of(collector).state is MeterState.OK


async def test_a_gauge_that_moves_in_its_last_digit_keeps_a_meter_alive() -> None:
    bank, sink = Bank.of(device()), MemorySink()

    def breathe(_unit: int) -> None:
        bank.registers[1][FREQUENCY] ^= 1

    bank.each = breathe
    async with scripted_server(bank) as port:
        points = [point for point in POINTS if point["quantity"] != "energy_import_kwh"]
        meter = bound(1, profile_of(points, frozen_after_s=0.2), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 8)
    assert {reading.quality for reading in sink.offered} == {Quality.GOOD}


def map_of(points: list[dict[str, object]], **modbus: object) -> ModbusMap:
    made_of = profile_of(points, **modbus).modbus
    assert made_of is not None
    return made_of


@pytest.mark.parametrize(
    ("points", "modbus", "interval_s", "after_s"),
    [
        (POINTS, {}, 1.0, 300.0),
        (POINTS, {}, 60.0, 1200.0),
        (POINTS, {"refresh_s": 900.0}, 1.0, 9000.0),
        (POINTS, {"frozen_after_s": 30.0}, 60.0, 30.0),
        # Power alone may be constant, and what is not electrical too.
        (POINTS[:1], {}, 1.0, None),
        ([{"quantity": "discharge_pressure_bar", "address": 1, "type": "u16"}], {}, 1.0, None),
        ([{"quantity": "discharge_pressure_bar", "address": 1, "type": "u16"}], {"frozen_after_s": 60.0}, 1.0, 60.0),
    ],
)
def test_how_long_equal_answers_are_believed(
    points: list[dict[str, object]], modbus: dict[str, object], interval_s: float, after_s: float | None
) -> None:
    assert frozen_after_s(map_of(points, **modbus), interval_s) == after_s


def frozen_with(points: list[dict[str, object]], rated_power_kw: float | None, **values: float | None) -> bool:
    watch = FrozenWatch(map_of(points, frozen_after_s=10.0), 1.0, rated_power_kw)
    answers = []
    for second in range(12):
        watch.compare("block", b"same")
        answers.append(watch.frozen_for_s(100.0 + second, iter(values.items())))
    assert answers[:10] == [None] * 10
    return answers[11] is not None


@pytest.mark.parametrize(
    ("rated_power_kw", "values", "frozen"),
    [
        (None, {"active_power_kw": LOAD_KW + 0.1}, True),
        (None, {"active_power_kw": -LOAD_KW - 0.1}, True),
        (None, {"active_power_kw": LOAD_KW}, False),
        (1000.0, {"active_power_kw": 20.0}, False),
        (1000.0, {"active_power_kw": 21.0}, True),
        # The power decides where it is known; a current stands in for it.
        (None, {"active_power_kw": 0.0, "current_l1_a": 50.0}, False),
        (None, {"active_power_kw": None, "current_l2_a": LOAD_A + 0.1}, True),
        (None, {"active_power_kw": None, "frequency_hz": 50.0}, False),
        # A poll that gave counters alone shows nothing of a gauge.
        (None, {"energy_import_kwh": 5.0}, False),
    ],
)
def test_equal_answers_are_doubted_only_while_the_load_is_on(
    rated_power_kw: float | None, values: dict[str, float | None], frozen: bool
) -> None:
    assert frozen_with(POINTS, rated_power_kw, **values) is frozen


def test_what_measures_no_load_is_doubted_where_its_profile_says_so() -> None:
    assert frozen_with([{"quantity": "room_pressure_pa", "address": 1, "type": "u16"}], None, room_pressure_pa=15.0)


def test_blocks_of_slower_rates_are_compared_with_their_own_last_answer() -> None:
    watch = FrozenWatch(map_of(POINTS, frozen_after_s=10.0), 1.0, None)
    values = {"active_power_kw": 40.0}
    answers = []
    for second in range(40):
        watch.compare("fast", b"same")
        if second % 5 == 0:
            watch.compare("slow", b"1" if second < 20 else b"2")
        answers.append(watch.frozen_for_s(float(second), iter(values.items())) is not None)
    assert [second for second in range(40) if answers[second]] == [*range(10, 20), *range(30, 40)]


def test_a_meter_that_froze_stays_so_when_its_load_is_judged_by_its_frozen_values() -> None:
    assert frozen_with(POINTS, None, active_power_kw=40.0, frequency_hz=50.0)


def test_the_shipped_grid_meters_are_watched_without_a_word_in_their_profile() -> None:
    for name in ("schneider_pm5560", "eastron_sdm630", "abb_b23", "carlo_gavazzi_em340"):
        shipped = profile(name).modbus
        assert shipped is not None
        after_s = frozen_after_s(shipped, 1.0)
        assert after_s is not None
        assert after_s >= 60.0
