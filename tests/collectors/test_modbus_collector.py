"""The Modbus collector on real sockets, against pymodbus's own server and against peers that misbehave."""

from __future__ import annotations

import asyncio
import struct

import pytest

from collectors.modbus import open_collector
from emsd.collector import Collector, DeviceIdentity, MeterHealth, MeterState
from emsd.errors import PlantError
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import Quality
from tests.collectors.support import (
    MemorySink,
    Outgoing,
    answer_frame,
    bound,
    clock_from,
    device,
    device_server,
    eventually,
    exception_frame,
    modbus_connection,
    packed,
    profile,
    profile_of,
    running,
    scripted_server,
)
from tests.collectors.test_profiles import sunspec_103, sunspec_160

POWER_AT_10 = [{"quantity": "active_power_kw", "address": 10, "type": "u16"}]
FOUR_POINTS = [
    {"quantity": "active_power_kw", "address": 10, "type": "u16"},
    {"quantity": "reactive_power_kvar", "address": 11, "type": "u16"},
    {"quantity": "energy_import_kwh", "address": 14, "type": "u32"},
    {"quantity": "energy_export_kwh", "address": 16, "type": "u32"},
]


def health_of(collector: Collector, meter_id: int) -> MeterHealth:
    (health,) = [health for health in collector.health() if health.meter_id == meter_id]
    assert health.polls_expected == (
        health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    )
    return health


async def test_a_meter_is_polled_and_every_poll_becomes_one_reading() -> None:
    sink = MemorySink()
    floats = packed(2999, ">56f", *[50.0] * 56) | packed(3083, ">f", 0.5) | packed(21299, ">16f", *[3.0] * 16)
    # One second into a minute: no slower rate becomes due a second time during the test.
    now_us = clock_from(1_774_750_021_000_000)
    async with device_server(device(1, floats | packed(3203, ">18q", *[1_500] * 18))) as port:
        meter = bound(7, profile("schneider_pm5560"), unit=1, poll_interval_s=0.1, rated_power_kw=600)
        collector = open_collector(modbus_connection(port), [meter], sink, now_us=now_us)
        assert not collector.connected()
        assert health_of(collector, 7).polls_expected == 0
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 5)
            assert collector.connected()
        health = health_of(collector, 7)
    assert health.polls_ok == len(sink.offered)
    assert health.state is MeterState.OK
    assert not health.errors
    first, second = sink.offered[:2]
    assert set(first.columns) == set(meter.profile.quantities)
    assert first.value("active_power_kw") == 50.0
    assert first.value("energy_import_kwh") == 1.5
    assert first.quality == Quality.GOOD
    assert first.value("current_thd_percent") == 3.0
    # THD and reactive energy have slower rates of their own.
    assert second.value("active_power_kw") == 50.0
    assert "current_thd_percent" not in second.columns
    assert "reactive_energy_import_kvarh" not in second.columns
    # Two requests a poll, in the first one a third for THD, and before it serial number and model.
    assert health.requests == 2 * health.polls_ok + 3


async def test_a_slower_rate_is_read_as_part_of_the_polls_that_are_due() -> None:
    sink = MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "u16"},
        {"quantity": "energy_import_kwh", "address": 11, "type": "u16", "interval_s": 0.5},
    ]
    async with device_server(device(1, {10: 1, 11: 2})) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.1)
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= 16)
    slow = [reading for reading in sink.offered if "energy_import_kwh" in reading.columns]
    assert slow[0] is sink.offered[0]
    span_us = slow[-1].time_us - slow[0].time_us
    assert 2 <= len(slow) <= span_us / 500_000 + 2


async def test_a_hole_that_the_device_refuses_splits_the_block_and_the_split_is_remembered() -> None:
    sink = MemorySink()
    registers = packed(10, ">HH", 5, 6) | packed(14, ">II", 70_000, 80_000)
    async with device_server(device(1, registers)) as port:
        meter = bound(1, profile_of(FOUR_POINTS, max_gap_registers=16), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 6)
        health = health_of(collector, 1)
    for reading in sink.offered:
        assert dict(reading.items()) == {
            "active_power_kw": 5.0,
            "reactive_power_kvar": 6.0,
            "energy_import_kwh": 70_000.0,
            "energy_export_kwh": 80_000.0,
        }
    assert health.errors == {"exception_2": 1}
    assert health.requests == 2 * health.polls_ok + 1
    assert health.polls_partial == 0


async def test_a_value_that_the_device_does_not_have_is_missing_and_the_others_are_kept() -> None:
    sink = MemorySink()
    registers = packed(10, ">HH", 5, 6) | packed(16, ">I", 80_000)
    async with device_server(device(1, registers)) as port:
        meter = bound(1, profile_of(FOUR_POINTS), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 4)
        health = health_of(collector, 1)
    for reading in sink.offered:
        assert reading.value("active_power_kw") == 5.0
        assert reading.value("energy_export_kwh") == 80_000.0
        assert reading.value("energy_import_kwh") is None
        assert "energy_import_kwh" in reading.columns
        assert reading.quality == Quality.MISSING
    assert health.polls_partial == len(sink.offered)
    assert health.state is MeterState.DEGRADED


async def test_one_dead_unit_among_live_ones_costs_them_nothing_but_its_timeouts() -> None:
    sink = MemorySink()
    units = [device(unit, {10: unit}) for unit in (1, 2, 3, 4, 5, 99)]
    async with device_server(*units, outgoing=Outgoing(silent={99})) as port:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 2, 99, 3, 4, 5)]
        collector = open_collector(modbus_connection(port, timeout_s=0.2, retries=1), meters, sink)
        async with running(collector):
            await eventually(lambda: all(len(sink.of(unit)) >= 30 for unit in range(1, 6)))
        dead = health_of(collector, 99)
        assert dead.state is MeterState.DOWN
        assert dead.last_error is not None
        assert f"127.0.0.1:{port} unit 99 holding registers 10..10: no answer within 0.2 s" in dead.last_error
        # One try and one retry at first, then single probes with growing pauses.
        assert dead.errors["no_reply"] == dead.polls_failed + 1
        assert dead.requests <= 8
        assert not sink.of(99)
        for unit in range(1, 6):
            health = health_of(collector, unit)
            assert health.polls_failed == health.polls_partial == 0
            assert {reading.value("active_power_kw") for reading in sink.of(unit)} == {float(unit)}


async def test_a_dead_unit_that_comes_back_is_found_by_a_probe() -> None:
    sink = MemorySink()
    outgoing = Outgoing(silent={1})
    async with device_server(device(1, {10: 1}), device(2, {10: 2}), outgoing=outgoing) as port:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), meters, sink)
        async with running(collector):
            await eventually(lambda: health_of(collector, 1).state is MeterState.DOWN)
            assert not sink.of(1)
            outgoing.silent.clear()
            await eventually(lambda: health_of(collector, 1).state is MeterState.OK)
    assert sink.of(1)[0].value("active_power_kw") == 1.0


async def test_a_connection_that_cannot_be_opened_is_one_error_for_all_units_and_is_tried_again() -> None:
    sink = MemorySink()
    probe = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in range(1, 21)]
    collector = open_collector(modbus_connection(port), meters, sink)
    async with running(collector):
        await eventually(lambda: health_of(collector, 20).errors["unreachable"] >= 2)
        errors = {health.errors["unreachable"] for health in collector.health()}
        assert len(errors) == 1
        assert all(health.state is MeterState.DOWN for health in collector.health())
        assert health_of(collector, 1).requests == 0
        await eventually(lambda: health_of(collector, 1).polls_skipped > 0)
        async with device_server(*(device(unit, {10: unit}) for unit in range(1, 21)), port=port):
            await eventually(lambda: all(health.state is MeterState.OK for health in collector.health()))


async def test_a_late_reply_leads_to_no_wrong_value_ever() -> None:
    """Every third answer comes only with the next request; each register holds its own address."""
    held: dict[int, bytes] = {}
    asked = 0

    async def sometimes_late(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        address, count = struct.unpack(">HH", request[8:12])
        if (late := held.pop(id(writer), None)) is not None:
            writer.write(late)
        answer = answer_frame(request, *range(address, address + count))
        if asked % 3 == 0:
            held[id(writer)] = answer
        else:
            writer.write(answer)

    sink = MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "u16"},
        {"quantity": "reactive_power_kvar", "address": 500, "type": "u16"},
        {"quantity": "starts_count", "address": 900, "type": "u16"},
    ]
    async with scripted_server(sometimes_late) as port:
        meters = [bound(unit, profile_of(points), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=2), meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 30)
    right = {"active_power_kw": 10.0, "reactive_power_kvar": 500.0, "starts_count": 900.0}
    for reading in sink.offered:
        for name, value in reading.items():
            assert value in {right[name], None}
    assert sum(health.errors["no_reply"] for health in collector.health()) > 0


async def test_garbage_from_a_gateway_is_a_mismatch_and_the_connection_is_opened_again() -> None:
    asked = 0

    async def garbled(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"\xff" * 40 if asked % 4 == 1 else answer_frame(request, 42))

    sink = MemorySink()
    async with scripted_server(garbled) as port:
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port, retries=1), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 6)
        health = health_of(collector, 1)
    assert {reading.value("active_power_kw") for reading in sink.offered} == {42.0}
    assert health.errors["mismatch"] >= 2
    assert health.polls_failed == 0


async def test_a_peer_that_closes_every_connection_is_not_hammered() -> None:
    connections = 0

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in range(1, 6)]
        collector = open_collector(modbus_connection(port), meters, MemorySink())
        async with running(collector):
            # Ticks of two seconds go by; five meters at 10 Hz would be 100 connections.
            await eventually(lambda: health_of(collector, 1).polls_expected >= 20)
        assert 1 <= connections <= 30
        assert health_of(collector, 3).state is MeterState.DOWN
        assert health_of(collector, 3).errors["unreachable"] > 0
    finally:
        server.close()


async def test_stale_data_is_marked_stale_and_is_no_error() -> None:
    async def stale(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(exception_frame(request, 4))

    sink = MemorySink()
    async with scripted_server(stale) as port:
        meter = bound(1, profile("trane_rthd"), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
        health = health_of(collector, 1)
    for reading in sink.offered:
        assert set(reading.columns) == set(meter.profile.quantities)
        assert set(reading.values) == {None}
        assert reading.quality == Quality.STALE
    assert not health.errors
    assert health.polls_partial == len(sink.offered)
    assert health.state is MeterState.DEGRADED


async def test_the_same_exception_is_an_error_for_a_device_that_means_it_so() -> None:
    async def failing(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(exception_frame(request, 4))

    sink = MemorySink()
    async with scripted_server(failing) as port:
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector, 1).polls_failed >= 2)
        health = health_of(collector, 1)
    assert health.errors["exception_4"] == health.polls_failed
    assert health.state is MeterState.DOWN
    assert not sink.offered


async def test_a_gateway_that_answers_for_a_dead_slave_keeps_its_connection() -> None:
    sink = MemorySink()
    outgoing = Outgoing(gateway_exception={9: 11})
    async with device_server(device(1, {10: 1}), device(9, {10: 9}), outgoing=outgoing) as port:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 9)]
        collector = open_collector(modbus_connection(port), meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 10 and health_of(collector, 9).polls_failed >= 2)
        gone = health_of(collector, 9)
        assert gone.state is MeterState.DOWN
        assert gone.errors == {"exception_11": gone.polls_failed}
        assert not health_of(collector, 1).errors


async def test_a_block_that_is_never_answered_is_left_out_and_the_others_are_kept() -> None:
    async def half_deaf(request: bytes, writer: asyncio.StreamWriter) -> None:
        address, count = struct.unpack(">HH", request[8:12])
        if address != 10:
            writer.write(answer_frame(request, *[address] * count))

    sink = MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "u16"},
        {"quantity": "starts_count", "address": 900, "type": "u16"},
    ]
    async with scripted_server(half_deaf) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 12)
        health = health_of(collector, 1)
    for reading in sink.offered:
        assert dict(reading.items()) == {"starts_count": 900.0, "active_power_kw": None}
        assert reading.quality == Quality.MISSING
    assert health.errors["no_reply"] < len(sink.offered)


async def test_answers_far_apart_become_readings_of_their_own_instant() -> None:
    clock_us = 1_774_750_000_000_000

    def now_us() -> int:
        return clock_us

    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal clock_us
        address, count = struct.unpack(">HH", request[8:12])
        clock_us += 60_000
        writer.write(answer_frame(request, *[address] * count))

    sink = MemorySink()
    points = [
        {"quantity": name, "address": address, "type": "u16"}
        for name, address in (("active_power_kw", 10), ("starts_count", 300), ("energy_import_kwh", 600))
    ]
    async with scripted_server(slow) as port:
        meter = bound(1, profile_of(points), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink, now_us=now_us)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
    first, second = sink.offered[:2]
    assert tuple(first.columns) == ("active_power_kw", "starts_count")
    assert tuple(second.columns) == ("energy_import_kwh",)
    assert second.time_us - first.time_us == 120_000


async def test_a_sunspec_inverter_is_read_where_its_models_stand() -> None:
    sink = MemorySink()
    chain = packed(40000, ">HH", 0x5375, 0x6E53) | dict.fromkeys(range(40002, 40300), 0)
    chain |= packed(40002, ">HH", 1, 65)
    chain |= packed(40002 + 18, ">32B", *b"Inverter 100".ljust(32, b"\0"))
    chain |= packed(40002 + 50, ">32B", *b"S-0001".ljust(32, b"\0"))
    chain |= packed(40069, ">HH", 120, 26)
    chain |= dict.fromkeys(range(40097, 40149), 0xFFFF) | sunspec_103(40097)
    chain |= sunspec_160(40149) | packed(40179, ">HH", 0xFFFF, 0)
    async with device_server(device(126, chain)) as port:
        meter = bound(1, profile("sunspec_inverter"), unit=126, poll_interval_s=0.1, rated_power_kw=500)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
        health = health_of(collector, 1)
    assert sink.offered[0].value("active_power_kw") == -123.4
    assert sink.offered[0].value("dc_voltage_v") == 612.3
    assert sink.offered[0].quality == Quality.GOOD
    assert [identity for _, identity, _ in sink.identities] == [DeviceIdentity("S-0001", "Inverter 100", None)]
    # One walk (marker and five headers), the three texts of who it is, then one request a poll.
    assert health.requests == 6 + 3 + health.polls_ok


async def test_a_sunspec_device_without_the_profiles_models_says_so() -> None:
    chain = packed(40000, ">HHHH", 0x5375, 0x6E53, 1, 2) | packed(40004, ">HHHH", 0, 0, 0xFFFF, 0)
    async with device_server(device(1, chain)) as port:
        meter = bound(1, profile("sunspec_inverter"), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], MemorySink())
        async with running(collector):
            await eventually(lambda: health_of(collector, 1).polls_failed >= 1)
        health = health_of(collector, 1)
    assert health.last_error is not None
    assert "SunSpec models [1], none of which its profile reads" in health.last_error
    assert health.errors["not_sunspec"] >= 1


async def test_rejected_values_are_counted_and_flagged() -> None:
    sink = MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "i16"},
        {"quantity": "frequency_hz", "address": 11, "type": "u16"},
    ]
    async with device_server(device(1, {10: 0x8000, 11: 500})) as port:
        meter = bound(1, profile_of(points, not_available={"i16": [0x8000]}), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
        health = health_of(collector, 1)
    assert sink.offered[0].values == (None, None)
    assert sink.offered[0].quality == Quality.NOT_AVAILABLE | Quality.IMPLAUSIBLE
    assert health.values_rejected == 2 * health.polls_ok


def test_meters_that_cannot_be_read_over_modbus_are_all_named_before_anything_starts() -> None:
    with pytest.raises(PlantError) as caught:
        open_collector(
            modbus_connection(502),
            [
                bound(1, profile("schneider_pm5560")),
                bound(2, profile("json_energy_meter"), unit=1),
                bound(3, profile_of([{**POWER_AT_10[0], "scale_register": {"address": 900}}]), unit=1),
            ],
            MemorySink(),
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "meter m1 with profile schneider_pm5560" in text
    assert "meter m2 with profile json_energy_meter" in text
    assert "active_power_kw and its scale register span" in text


def test_another_kind_of_connection_is_an_error_of_programming() -> None:
    with pytest.raises(TypeError, match="not modbus_tcp"):
        open_collector(MqttConnection(key="b", host="h"), [], MemorySink())
