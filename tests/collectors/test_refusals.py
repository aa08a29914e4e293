"""What becomes of a meter, and of its neighbours, when a device refuses, is busy, or says what cannot be."""

from __future__ import annotations

import pytest

from collectors.modbus import backing_off, open_collector
from emsd.collector import Collector, MeterHealth, MeterState
from emsd.readings import Quality
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    bound,
    eventually,
    low_word_first,
    modbus_connection,
    packed,
    profile_of,
    running,
    scripted_server,
)

POWER = {"quantity": "active_power_kw", "address": 10, "type": "u16"}
STARTS = {"quantity": "starts_count", "address": 900, "type": "u16"}
REGISTERS = {10: 42, 900: 7}


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_off, "FIRST_WAIT_S", 0.1)


def health_of(collector: Collector, meter_id: int = 1) -> MeterHealth:
    (health,) = [health for health in collector.health() if health.meter_id == meter_id]
    counted = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == counted
    return health


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11])
async def test_a_device_that_refuses_everything_is_down_and_costs_its_neighbour_nothing(code: int) -> None:
    bank, sink = Bank.of(REGISTERS, REGISTERS), MemorySink()
    bank.refuses[1] = code
    async with scripted_server(bank) as port:
        meters = [bound(unit, profile_of([POWER, STARTS]), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(modbus_connection(port), meters, sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).polls_failed >= 2 and len(sink.of(2)) >= 5)
        refused, neighbour = health_of(collector, 1), health_of(collector, 2)
    assert refused.state is MeterState.DOWN
    assert set(refused.errors) == {f"exception_{code}"}
    assert refused.last_error is not None
    assert f"exception {code} (" in refused.last_error
    assert not sink.of(1)
    assert neighbour.state is MeterState.OK
    assert not neighbour.errors
    assert {tuple(reading.values) for reading in sink.of(2)} == {(42.0, 7.0)}


@pytest.mark.parametrize("code", [1, 3, 4, 6])
async def test_a_device_that_is_down_is_probed_with_one_request_whatever_it_refuses_it_with(code: int) -> None:
    bank, sink = Bank.of({**REGISTERS, 1500: 3}), MemorySink()
    bank.silent.add(1)
    points = [POWER, STARTS, {"quantity": "capacity_percent", "address": 1500, "type": "u16"}]
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.5)
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).state is MeterState.DOWN)
            bank.silent.clear()
            bank.refuses[1] = code
            await eventually(lambda: health_of(collector).polls_failed >= 3)
            assert health_of(collector).requests == health_of(collector).polls_failed
    assert len({address for _, address, _ in bank.asked}) > 1, "probes ask for one block after the other"


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6])
async def test_of_a_device_that_refuses_one_block_the_other_is_kept_and_nothing_becomes_zero(code: int) -> None:
    bank, sink = Bank.of(REGISTERS), MemorySink()
    bank.refuses[1, 900] = code
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of([POWER, STARTS]), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 4)
        health = health_of(collector)
    assert health.state is MeterState.DEGRADED
    assert set(health.errors) == {f"exception_{code}"}
    for reading in sink.offered:
        assert dict(reading.items()) == {"active_power_kw": 42.0, "starts_count": None}
        assert reading.quality == Quality.MISSING


@pytest.mark.parametrize("code", [10, 11])
async def test_what_a_gateway_says_of_its_device_ends_the_poll_and_keeps_what_was_answered(code: int) -> None:
    bank, sink = Bank.of({**REGISTERS, 1500: 3}), MemorySink()
    bank.refuses[1, 900] = code
    points = [POWER, STARTS, {"quantity": "capacity_percent", "address": 1500, "type": "u16"}]
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [bound(1, profile_of(points), unit=1)], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 1)
    assert bank.asked == [(1, 10, 1), (1, 900, 1)]
    assert dict(sink.offered[0].items()) == {"active_power_kw": 42.0, "starts_count": None, "capacity_percent": None}
    assert health_of(collector).errors == {f"exception_{code}": 1}


@pytest.mark.parametrize("code", [5, 6])
async def test_a_busy_device_is_asked_again_within_the_poll_while_others_are_served(code: int) -> None:
    bank, sink = Bank.of(REGISTERS, REGISTERS), MemorySink()
    bank.refuses[1, 10] = code

    def ready_at_the_third_time(_unit: int) -> None:
        if bank.asked.count((1, 10, 1)) >= 3:
            bank.refuses.clear()

    bank.each = ready_at_the_third_time
    async with scripted_server(bank) as port:
        busy = bound(1, profile_of([POWER, STARTS]), unit=1, poll_interval_s=2.0)
        quick = bound(2, profile_of([POWER]), unit=2, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [busy, quick], sink)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 1)
        health = health_of(collector)
    # The pause lies between its answers, so that they are readings of two instants.
    values = {name: value for reading in sink.of(1) for name, value in reading.items()}
    assert values == {"active_power_kw": 42.0, "starts_count": 7.0}
    assert all(reading.quality == Quality.GOOD for reading in sink.of(1))
    assert health.errors == {f"exception_{code}": 2}
    assert health.polls_ok >= 1
    assert health.polls_partial == health.polls_failed == 0
    asked = [each for each in bank.asked if each[0] == 1]
    assert asked[:4] == [(1, 10, 1), (1, 900, 1), (1, 10, 1), (1, 10, 1)]
    first_try, last_try = bank.asked.index((1, 10, 1)), len(bank.asked) - 1 - bank.asked[::-1].index((1, 10, 1))
    assert (2, 10, 1) in bank.asked[first_try:last_try], "a neighbour is served during the pause"


async def test_a_device_that_stays_busy_gives_up_the_tick_and_is_not_asked_without_end() -> None:
    bank, sink = Bank.of(REGISTERS), MemorySink()
    bank.refuses[1, 10] = 6
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of([POWER, STARTS]), unit=1, poll_interval_s=1.0)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 1)
    assert dict(sink.offered[0].items()) == {"active_power_kw": None, "starts_count": 7.0}
    assert bank.asked == [(1, 10, 1), (1, 900, 1), (1, 10, 1), (1, 10, 1), (1, 10, 1)]


async def test_a_device_that_refuses_reads_that_begin_inside_a_value_is_never_asked_so() -> None:
    """Its values are two registers long, and a read that begins at the second of one is refused."""
    registers = {
        address: word
        for at, value in ((0, 50.0), (2, 60.0), (8, 70.0), (14, 80.0))
        for address, word in packed(at, ">f", value).items()
    }
    bank, sink = Bank.of(registers), MemorySink()
    bank.not_starts = {1, 3, 5, 7, 9, 11, 13, 15}
    names = ("active_power_kw", "reactive_power_kvar", "apparent_power_kva", "current_l1_a")
    points = [
        {"quantity": name, "address": address, "type": "f32"}
        for name, address in zip(names, (0, 2, 8, 14), strict=True)
    ]
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(points, max_gap_registers=16), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 4)
        health = health_of(collector)
    for reading in sink.offered:
        assert dict(reading.items()) == dict(zip(names, (50.0, 60.0, 70.0, 80.0), strict=True))
        assert reading.quality == Quality.GOOD
    assert {address for _, address, _ in bank.asked}.isdisjoint(bank.not_starts)
    # The holes are refused at first; how the block came apart is remembered.
    assert health.errors["exception_2"] <= 2
    last = [address for _, address, _ in bank.asked[-3:]]
    assert sorted(last) == [0, 8, 14]


async def test_a_word_swapped_meter_yields_no_value_that_cannot_be() -> None:
    """50.01 Hz, 231.7 V and 12.75 kW as f32 with the low word first, read by a profile that says high word first."""
    floats = (low_word_first(packed(at, ">f", value)) for at, value in ((0, 50.01), (2, 231.7), (4, 12.74)))
    bank, sink = Bank.of({address: word for each in floats for address, word in each.items()}), MemorySink()
    points = [
        {"quantity": "frequency_hz", "address": 0, "type": "f32"},
        {"quantity": "voltage_l1_n_v", "address": 2, "type": "f32"},
        {"quantity": "active_power_kw", "address": 4, "type": "f32"},
    ]
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.1, rated_power_kw=100)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
        health = health_of(collector)
    for reading in sink.offered:
        assert reading.values == (None, None, None)
        assert reading.quality == Quality.IMPLAUSIBLE
    assert health.values_rejected == 3 * len(sink.offered)
    assert health.state is MeterState.DEGRADED
    assert health.errors["no_sense"] == len(sink.offered)
    assert "emsd probe" in (health.last_error or "")


async def test_a_sentinel_is_no_value_and_its_neighbours_are_kept() -> None:
    bank, sink = Bank.of(packed(10, ">hHI", -0x8000, 5000, 0xFFFFFFFF)), MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "i16"},
        {"quantity": "frequency_hz", "address": 11, "type": "u16", "scale": 0.01},
        {"quantity": "energy_import_kwh", "address": 12, "type": "u32"},
    ]
    absent = {"i16": [0x8000], "u32": [0xFFFFFFFF]}
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(points, not_available=absent), unit=1, poll_interval_s=0.1)
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= 2)
    for reading in sink.offered:
        assert dict(reading.items()) == {"active_power_kw": None, "frequency_hz": 50.0, "energy_import_kwh": None}
        assert reading.quality == Quality.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("quantity", "raw", "rated_power_kw"),
    [("active_power_kw", 126, 100.0), ("frequency_hz", 70, None), ("power_factor", 2, None)],
)
async def test_a_value_out_of_its_range_is_null_and_flagged_and_the_next_one_in_range_is_kept(
    quantity: str, raw: int, rated_power_kw: float | None
) -> None:
    bank, sink = Bank.of({10: raw}), MemorySink()
    in_range = {"active_power_kw": 125, "frequency_hz": 50, "power_factor": 1}[quantity]
    async with scripted_server(bank) as port:
        made_of = profile_of([{"quantity": quantity, "address": 10, "type": "u16"}])
        meter = bound(1, made_of, unit=1, poll_interval_s=0.1, rated_power_kw=rated_power_kw)
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= 2)
            bank.registers[1][10] = in_range
            await eventually(lambda: sink.offered[-1].value(quantity) is not None)
    assert (sink.offered[0].values, sink.offered[0].quality) == ((None,), Quality.IMPLAUSIBLE)
    assert (sink.offered[-1].values, sink.offered[-1].quality) == ((float(in_range),), Quality.GOOD)


async def test_a_burst_of_garbage_values_stores_none_of_them_and_ends_by_itself() -> None:
    sound = packed(0, ">ff", 50.0, 12.0)
    bursts = (0xFFFFFFFF, 0x7FFFFFFF, 0x7F800000, 0xFF800000, 0x4F000000, 0xDEADBEEF, 0x80000001)
    bank, sink = Bank.of(sound), MemorySink()
    points = [
        {"quantity": "frequency_hz", "address": 0, "type": "f32"},
        {"quantity": "active_power_kw", "address": 2, "type": "f32"},
    ]
    polls = 0

    def burst(_unit: int) -> None:
        nonlocal polls
        polls += 1
        garbage = bursts[polls - 3] if 3 <= polls < 3 + len(bursts) else None
        bank.registers[1] |= sound if garbage is None else packed(0, ">II", garbage, garbage)

    bank.each = burst
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.1, rated_power_kw=100)
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= 12)
    # -1e-45 kW is what 80000001h says; it cannot be told from a reading of nothing.
    assert {reading.value("frequency_hz") for reading in sink.offered} == {50.0, None}
    powers = {reading.value("active_power_kw") for reading in sink.offered}
    assert {power for power in powers if power is not None and abs(power) > 1e-30} == {12.0}
    assert sum(reading.value("frequency_hz") is None for reading in sink.offered) == len(bursts)
    assert all(reading.quality for reading in sink.offered if reading.value("frequency_hz") is None)


async def test_a_counter_that_jumps_or_drops_is_stored_as_the_device_said_it() -> None:
    """The accounting judges it by what comes after, which nobody knows at the time of the poll."""
    said = (1000, 1001, 0, 1002, 54_700, 1003, 1004)
    bank, sink = Bank.of({10: said[0]}), MemorySink()
    polls = 0

    def go_on(_unit: int) -> None:
        nonlocal polls
        bank.registers[1][10] = said[min(polls, len(said) - 1)]
        polls += 1

    bank.each = go_on
    async with scripted_server(bank) as port:
        made_of = profile_of([{"quantity": "energy_import_kwh", "address": 10, "type": "u16"}])
        meter = bound(1, made_of, unit=1, poll_interval_s=0.1, rated_power_kw=10)
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= len(said))
    assert [reading.value("energy_import_kwh") for reading in sink.offered[: len(said)]] == [float(e) for e in said]
    assert {reading.quality for reading in sink.offered} == {Quality.GOOD}
