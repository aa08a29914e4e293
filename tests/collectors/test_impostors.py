"""Answers that belong to somebody else, or to nobody: no value of theirs is taken, and neighbours are undisturbed."""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import suppress

import pytest

from collectors.modbus import backing_off, open_collector
from emsd.collector import Collector, MeterHealth, MeterState, ReportsEndpoint
from emsd.readings import Quality
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    answer_frame,
    bound,
    device,
    eventually,
    modbus_connection,
    profile_of,
    running,
    scripted_server,
)
from tests.collectors.transports import serial_connection, serial_devices

POWER = {"quantity": "active_power_kw", "address": 10, "type": "u16"}
STARTS = {"quantity": "starts_count", "address": 900, "type": "u16"}
FREQUENCY = {"quantity": "frequency_hz", "address": 11, "type": "u16", "scale": 0.01}
ENERGY = {"quantity": "energy_import_kwh", "address": 12, "type": "u16"}


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_off, "FIRST_WAIT_S", 0.1)


def health_of(collector: Collector, meter_id: int = 1) -> MeterHealth:
    (health,) = [health for health in collector.health() if health.meter_id == meter_id]
    counted = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == counted
    return health


@pytest.mark.parametrize("transaction_ids", ["strict", "lenient"])
async def test_an_answer_of_another_unit_is_never_stored_and_the_other_units_are_undisturbed(
    transaction_ids: str,
) -> None:
    """The gateway sends the answer of unit 2 to whoever asks unit 1, until it is mended."""
    mended = asyncio.Event()

    async def misrouting(request: bytes, writer: asyncio.StreamWriter) -> None:
        unit = request[6] if mended.is_set() else 2
        writer.write(answer_frame(request[:6] + bytes([unit]) + request[7:], 100 * unit))

    sink = MemorySink()
    async with scripted_server(misrouting) as port:
        meters = [bound(unit, profile_of([POWER]), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        connection = modbus_connection(port, transaction_ids=transaction_ids, retries=0)
        collector = open_collector(connection, meters, sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).polls_failed >= 2 and len(sink.of(2)) >= 5)
            misled, neighbour = health_of(collector, 1), health_of(collector, 2)
            assert not sink.of(1)
            assert misled.state is MeterState.DOWN
            assert misled.errors == {"mismatch": misled.polls_failed}
            assert misled.last_error is not None
            assert "unit 2 answered instead" in misled.last_error
            assert neighbour.state is MeterState.OK
            assert not neighbour.errors
            mended.set()
            await eventually(lambda: health_of(collector).state is MeterState.OK)
    assert {reading.values for reading in sink.of(1)} == {(100.0,)}
    assert {reading.values for reading in sink.of(2)} == {(200.0,)}


async def never_echoes(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x00" + answer_frame(request, 42)[2:])


async def test_of_a_gateway_that_never_echoes_nothing_is_stored_and_the_error_says_what_is_wrong() -> None:
    sink = MemorySink()
    async with scripted_server(never_echoes) as port:
        meter = bound(1, profile_of([POWER]), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).polls_failed >= 2)
        health = health_of(collector)
    assert not sink.offered
    assert health.state is MeterState.DOWN
    assert set(health.errors) == {"mismatch"}
    assert health.last_error is not None
    assert "transaction 0" in health.last_error


@pytest.mark.parametrize("transaction_ids", ["strict", "lenient"])
async def test_a_late_answer_is_never_taken_for_that_of_another_unit_or_register(transaction_ids: str) -> None:
    """Every third answer comes only with the next request of its connection; lenient: no id is ever echoed."""
    held: dict[int, bytes] = {}
    asked = 0

    async def sometimes_late(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        (address,) = struct.unpack(">H", request[8:10])
        if (late := held.pop(id(writer), None)) is not None:
            writer.write(late)
        answer = answer_frame(request, address + 1000 * request[6])
        if transaction_ids == "lenient":
            answer = b"\x00\x00" + answer[2:]
        if asked % 3 == 0:
            held[id(writer)] = answer
        else:
            writer.write(answer)

    sink = MemorySink()
    async with scripted_server(sometimes_late) as port:
        meters = [bound(unit, profile_of([POWER, STARTS]), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        connection = modbus_connection(port, transaction_ids=transaction_ids, timeout_s=0.05, retries=2)
        collector = open_collector(connection, meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 12 and len(sink.of(2)) >= 12)
    for reading in sink.offered:
        right = {"active_power_kw": 10 + 1000.0 * reading.meter_id, "starts_count": 900 + 1000.0 * reading.meter_id}
        assert all(value in {right[name], None} for name, value in reading.items())
    assert sum(health.errors["no_reply"] for health in collector.health()) > 0


async def test_a_device_with_one_connection_is_served_by_one_and_asked_one_thing_at_a_time() -> None:
    """It drops whoever connects second, or asks before it has answered."""
    clients = most_clients = connections = 0
    impatient = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal clients, most_clients, connections, impatient
        clients += 1
        connections += 1
        most_clients = max(most_clients, clients)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readexactly(12):
                # Whatever came together with the request was asked too early.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.002):
                        impatient += len(await reader.read(1))
                writer.write(answer_frame(request, request[6]))
        clients -= 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink = MemorySink()
    try:
        meters = [bound(unit, profile_of([POWER, STARTS]), unit=unit, poll_interval_s=0.1) for unit in range(1, 9)]
        collector = open_collector(modbus_connection(server.sockets[0].getsockname()[1], timeout_s=20), meters, sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: all(len(sink.of(unit)) >= 5 for unit in range(1, 9)))
            assert collector.endpoint_health().connects == 1
    finally:
        server.close()
    assert (most_clients, connections, impatient) == (1, 1, 0)
    assert all(set(reading.values) == {float(reading.meter_id)} for reading in sink.offered)


async def test_a_value_out_of_its_range_is_null_and_those_beside_it_are_kept() -> None:
    bank, sink = Bank.of({10: 126, 11: 5000, 12: 700}), MemorySink()
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of([POWER, FREQUENCY, ENERGY]), unit=1, poll_interval_s=0.1, rated_power_kw=100)
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
            bank.registers[1][11] = 3000
            await eventually(lambda: sink.offered[-1].value("frequency_hz") is None)
            bank.registers[1] |= {10: 125, 11: 5001}
            await eventually(lambda: sink.offered[-1].quality == Quality.GOOD)
        health = health_of(collector)
    assert (sink.offered[0].values, sink.offered[0].quality) == ((None, 50.0, 700.0), Quality.IMPLAUSIBLE)
    assert (sink.offered[-1].values, sink.offered[-1].quality) == ((125.0, 50.01, 700.0), Quality.GOOD)
    assert {reading.value("energy_import_kwh") for reading in sink.offered} == {700.0}
    assert health.values_rejected == sum(value is None for reading in sink.offered for value in reading.values)
    assert not health.errors


async def test_garbage_on_a_line_costs_polls_and_never_a_wrong_value() -> None:
    """Every fifth answer is replaced by noise, cut off, or preceded by half of another."""
    chance = random.Random(11)
    answers = 0
    sink = MemorySink()
    async with serial_devices(device(1, {10: 41, 900: 7}), device(2, {10: 42, 900: 8})) as line:

        def spoil(answer: bytes) -> None:
            nonlocal answers
            answers += 1
            if answers % 5 == 0:
                kinds = [chance.randbytes(300), answer[: len(answer) // 2], answer[:3] + answer]
                line.to_client(chance.choice(kinds))
            else:
                line.to_client(answer)

        line.on_answer = spoil
        meters = [bound(unit, profile_of([POWER, STARTS]), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(serial_connection(line, timeout_s=0.4, retries=2), meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 10 and len(sink.of(2)) >= 10)
        healths = [health_of(collector, unit) for unit in (1, 2)]
    right = {1: {"active_power_kw": 41.0, "starts_count": 7.0}, 2: {"active_power_kw": 42.0, "starts_count": 8.0}}
    for reading in sink.offered:
        assert all(value in {right[reading.meter_id][name], None} for name, value in reading.items())
    whole = [reading for reading in sink.offered if None not in reading.values]
    assert len(whole) > len(sink.offered) / 2
    assert sum(health.errors["mismatch"] for health in healths) > 0
