"""A serial port with Modbus RTU devices: pymodbus' own RTU server at the other end, and a line that can be spoilt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus.framer import FramerRTU

from collectors.modbus import open_collector
from collectors.modbus.client import ModbusClient
from collectors.modbus.rtu_link import RtuLink
from emsd.collector import MeterState, ReportsEndpoint
from emsd.errors import DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import ModbusRtuConnection
from emsd.plant.modbus_map import Table
from tests.collectors.support import MemorySink, bound, device, eventually, profile_of, running
from tests.collectors.transports import SerialLine, serial_connection, serial_devices

POWER_AT_10 = [{"quantity": "active_power_kw", "address": 10, "type": "u16"}]
PLENTY_S = 60.0
"""Far more than any test takes: an error that comes before was noticed, not waited for."""

at_10, at_20, at_30 = b"\x00\x0a", b"\x00\x14", b"\x00\x1e"
"""What the registers hold in unit 7: their own address."""


@asynccontextmanager
async def asked(**settings: object) -> AsyncIterator[tuple[SerialLine, ModbusClient]]:
    """Open a line with units 7 and 8 on it."""
    async with serial_devices(device(7, {10: 10, 20: 20, 30: 30}), device(8, {10: 810, 20: 820})) as line:
        client = await ModbusClient.open(serial_connection(line, **settings))
        try:
            yield line, client
        finally:
            client.close()


async def read(client: ModbusClient, address: int, unit: int = 7, timeout_s: float = PLENTY_S) -> bytes:
    async with asyncio.timeout(60):
        return await client.read(unit, Table.HOLDING, address, 1, timeout_s=timeout_s)


def rtu(client: ModbusClient) -> RtuLink:
    assert isinstance(client._link, RtuLink)
    return client._link


def frame(*data: int) -> bytes:
    return bytes(data) + FramerRTU.compute_CRC(bytes(data)).to_bytes(2)


def once(line: SerialLine, spoilt: Callable[[bytes], object]) -> None:
    """Let `spoilt` have the next answer, and let all others pass."""

    def hook(answer: bytes) -> None:
        line.on_answer = line.to_client
        spoilt(answer)

    line.on_answer = hook


async def test_noise_before_an_answer_is_passed_over() -> None:
    async with asked() as (line, client):
        for noise in (b"\x00", b"\xff\xff\x00", b"\x07", b"\x07\x03", random.Random(1).randbytes(40)):
            once(line, lambda answer, noise=noise: line.to_client(noise + answer))  # type: ignore[misc]
            assert await read(client, 10) == at_10


async def test_noise_well_before_an_answer_is_passed_over() -> None:
    async with asked() as (line, client):
        gap_s = 2 * rtu(client)._timing.quiet_s
        once(line, lambda answer: asyncio.get_running_loop().call_later(gap_s, line.to_client, answer))
        line.before_request = b"\xff\x00\xff"
        assert await read(client, 10) == at_10


async def test_an_answer_in_pieces_is_put_together() -> None:
    async with asked() as (line, client):
        loop = asyncio.get_running_loop()

        def dribble(answer: bytes) -> None:
            for number, byte in enumerate(answer):
                loop.call_later(0.002 * number, line.to_client, bytes([byte]))

        once(line, dribble)
        assert await read(client, 10) == at_10


async def test_a_checksum_that_is_wrong_is_a_mismatch_long_before_the_timeout_and_the_port_stays_open() -> None:
    async with asked() as (line, client):
        once(line, lambda answer: line.to_client(answer[:-1] + bytes([answer[-1] ^ 1])))
        with pytest.raises(Mismatch, match=r"unit 7 holding registers 10\.\.10: 7 bytes came that are no frame"):
            await read(client, 10)
        assert client.usable
        assert await read(client, 20) == at_20


async def test_an_answer_that_breaks_off_is_a_mismatch_long_before_the_timeout() -> None:
    async with asked() as (line, client):
        once(line, lambda answer: line.to_client(answer[:4]))
        with pytest.raises(Mismatch, match="4 bytes came"):
            await read(client, 10)
        assert await read(client, 20) == at_20


async def test_a_late_reply_is_never_taken_for_the_next_answer_of_its_unit() -> None:
    """The late answer comes after the next request was wanted, and has its shape: unit, function and length."""
    async with asked() as (line, client):
        held: list[bytes] = []
        once(line, held.append)
        with pytest.raises(NoReply, match=r"no answer within 0\.2 s"):
            await read(client, 10, timeout_s=0.2)
        assert held
        reading = asyncio.create_task(read(client, 20))
        await asyncio.sleep(0)
        line.to_client(held[0])
        assert await reading == at_20
        assert client.usable


async def test_a_unit_that_was_silent_is_asked_again_once_its_late_answer_had_its_time() -> None:
    async with asked() as (line, client):
        once(line, lambda _answer: None)
        with pytest.raises(NoReply):
            await read(client, 10, timeout_s=0.1)
        given_up = time.monotonic()
        assert client.overdue_until > given_up
        assert await read(client, 20) == at_20
        assert line.requested_at[-1] - given_up >= 0.09


async def test_a_late_reply_of_another_unit_is_passed_over() -> None:
    async with asked() as (line, client):
        held: list[bytes] = []
        once(line, held.append)
        with pytest.raises(NoReply):
            await read(client, 10, timeout_s=0.1)
        once(line, lambda answer: line.to_client(held[0] + answer))
        assert await read(client, 20, unit=8) == b"\x03\x34"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (frame(9, 3, 2, 0, 1), "unit 9 answered instead"),
        (frame(7, 4, 2, 0, 1), "function 4 answers a request of function 3"),
        (frame(7, 3, 4, 0, 1, 0, 2), "byte count 4, where 2 bytes belong"),
        (frame(9, 0x83, 2), "unit 9 answered instead"),
    ],
    ids=["unit", "function", "byte count", "unit of an exception"],
)
async def test_a_sound_answer_that_does_not_belong_is_a_mismatch_at_once(answer: bytes, said: str) -> None:
    async with asked() as (line, client):
        line.on_request = lambda _request: line.to_client(answer)
        with pytest.raises(Mismatch, match=said):
            await read(client, 10, timeout_s=0.3)
        line.on_request = line.to_device
        assert await read(client, 10, timeout_s=0.3) == at_10


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 10, 11])
async def test_exceptions_keep_their_code(code: int) -> None:
    async with asked() as (line, client):
        line.on_request = lambda _request: line.to_client(b"\xff" + frame(7, 0x83, code))
        with pytest.raises(DeviceException, match=f"exception {code} ") as caught:
            await read(client, 10)
        assert caught.value.code == code


async def test_silence_is_no_reply_and_the_port_stays_open() -> None:
    async with asked() as (_line, client):
        with pytest.raises(NoReply, match=r"unit 99 .* no answer within 0\.05 s; check unit id and wiring"):
            await read(client, 10, unit=99, timeout_s=0.05)
        assert client.usable
        assert client.connected
        assert await read(client, 10) == at_10


async def test_noise_alone_is_a_mismatch_that_shows_it() -> None:
    async with asked() as (line, client):
        line.on_request = lambda _request: line.to_client(b"\xde\xad\xbe\xef")
        with pytest.raises(Mismatch, match=r"4 bytes came that are no frame with a right checksum \(de ad be ef"):
            await read(client, 10, timeout_s=0.1)


async def test_a_burst_of_garbage_costs_one_request() -> None:
    async with asked() as (line, client):
        garbage = random.Random(2).randbytes(3000)
        once(line, lambda _answer: line.to_client(garbage))
        with pytest.raises(Mismatch):
            await read(client, 10, timeout_s=0.3)
        assert await read(client, 20, timeout_s=0.3) == at_20


async def test_bytes_that_nobody_asked_for_are_not_taken_for_an_answer() -> None:
    async with asked() as (line, client):
        assert await read(client, 10) == at_10
        heard = rtu(client)._heard
        line.to_client(frame(7, 3, 2, 0xDE, 0xAD))
        await eventually(lambda: rtu(client)._heard > heard)
        assert await read(client, 20) == at_20


async def test_an_adapter_that_hears_what_it_sends_is_no_fault() -> None:
    async with asked() as (line, client):
        line.echoes = True
        assert await read(client, 10) == at_10
        # This address makes the echo look like a sound frame of 3 bytes.
        with pytest.raises(DeviceException, match="illegal data address"):
            await client.read(7, Table.HOLDING, 0x0300, 1, timeout_s=5)


async def test_a_line_that_is_never_silent_says_so() -> None:
    async with asked() as (line, client):
        loop = asyncio.get_running_loop()
        babbling = True

        def babble() -> None:
            if babbling:
                line.to_client(b"\x55")
                loop.call_later(0.005, babble)

        once(line, lambda _answer: babble())
        with pytest.raises(Mismatch):
            await read(client, 10, timeout_s=0.2)
        with pytest.raises(Mismatch, match="the line is never silent"):
            await read(client, 10, unit=8, timeout_s=0.2)
        babbling = False


async def test_the_line_rests_for_three_and_a_half_characters_between_frames() -> None:
    """At 300 bit/s these are 117 ms; the pseudo-terminal itself carries bytes at once."""
    async with asked(baud_rate=300) as (line, client):
        answered: list[float] = []

        def note(answer: bytes) -> None:
            answered.append(time.monotonic())
            line.to_client(answer)

        line.on_answer = note
        for address in (10, 20, 30):
            await read(client, address)
        rests = [asked_at - before for asked_at, before in zip(line.requested_at[1:], answered, strict=False)]
        assert min(rests) >= 3.5 * 10 / 300


async def test_a_request_that_was_given_up_is_not_answered_for_the_next_one() -> None:
    async with asked() as (line, client):
        held: list[bytes] = []
        once(line, held.append)
        reading = asyncio.create_task(read(client, 10, timeout_s=0.3))
        await eventually(lambda: bool(held))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        again = asyncio.create_task(read(client, 20))
        await asyncio.sleep(0)
        line.to_client(held[0])
        assert await again == at_20


async def test_a_port_that_cannot_be_opened_says_why() -> None:
    with pytest.raises(Unreachable, match=r"serial port /dev/no-such-port cannot be opened .*check the path"):
        await ModbusClient.open(ModbusRtuConnection(key="c", device="/dev/no-such-port"))


async def test_a_port_has_one_owner() -> None:
    async with asked() as (line, _client):
        with pytest.raises(Unreachable, match="cannot be opened"):
            await ModbusClient.open(serial_connection(line))


async def test_one_dead_unit_on_a_line_costs_the_other_nothing_but_its_timeouts() -> None:
    sink = MemorySink()
    async with serial_devices(device(1, {10: 1})) as line:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 99)]
        collector = open_collector(serial_connection(line, timeout_s=0.2, retries=1), meters, sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 30)
            endpoint = collector.endpoint_health()
        alive, dead = collector.health()
    assert dead.state is MeterState.DOWN
    assert dead.requests <= 8
    assert alive.polls_failed == alive.polls_partial == 0
    assert not alive.errors
    # Nobody closed the port because of the silent unit.
    assert endpoint.connects == 1
    assert endpoint.failures == dead.errors["no_reply"]
    assert endpoint.last_error is not None
    assert "unit 99" in endpoint.last_error


async def test_while_a_late_answer_has_its_time_the_other_units_are_served() -> None:
    sink = MemorySink()
    async with serial_devices(device(1, {10: 1})) as line:
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 99)]
        collector = open_collector(serial_connection(line, timeout_s=1.0, retries=1), meters, sink)
        async with running(collector):
            await eventually(lambda: [request[0] for request in line.requests].count(99) == 2)
    asked_units = [request[0] for request in line.requests]
    first = asked_units.index(99)
    again = asked_units.index(99, first + 1)
    assert line.requested_at[again] - line.requested_at[first] >= 2.0
    # Ten ticks of the other unit go by in the second of grace; after the timeout itself one is due at once.
    assert again - first - 1 >= 4


async def test_late_replies_on_a_line_lead_to_no_wrong_value_ever() -> None:
    """Every fourth answer comes after its timeout; each register holds its own address."""
    sink = MemorySink()
    answers = 0
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "u16"},
        {"quantity": "reactive_power_kvar", "address": 500, "type": "u16"},
        {"quantity": "starts_count", "address": 900, "type": "u16"},
    ]
    registers = {10: 10, 500: 500, 900: 900}
    async with serial_devices(device(1, registers), device(2, registers)) as line:
        loop = asyncio.get_running_loop()

        def sometimes_late(answer: bytes) -> None:
            nonlocal answers
            answers += 1
            if answers % 4:
                line.to_client(answer)
            else:
                loop.call_later(0.25, line.to_client, answer)

        line.on_answer = sometimes_late
        meters = [bound(unit, profile_of(points), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(serial_connection(line, timeout_s=0.2, retries=2), meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 20)
    right = {"active_power_kw": 10.0, "reactive_power_kvar": 500.0, "starts_count": 900.0}
    for reading in sink.offered:
        assert all(value in {right[name], None} for name, value in reading.items())
    assert sum(health.errors["no_reply"] for health in collector.health()) > 0


async def test_an_adapter_that_is_pulled_makes_its_meters_unreachable() -> None:
    sink = MemorySink()
    async with SerialLine() as line:
        collector = open_collector(
            serial_connection(line, timeout_s=0.1), [bound(1, profile_of(POWER_AT_10), unit=1)], sink
        )
        async with running(collector):
            await eventually(collector.connected)
            line.unplug()
            await eventually(lambda: not collector.connected() and collector.health()[0].state is MeterState.DOWN)
            assert collector.health()[0].errors["unreachable"] > 0
