"""Faults of the wire on every transport, as pymodbus meets them, and as bytes where it hides them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import (
    AsyncModbusSerialClient,
    AsyncModbusTcpClient,
    AsyncModbusTlsClient,
    AsyncModbusUdpClient,
)
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException

from emsd.errors import ConfigurationError
from emsd.plant.modbus_connections import ModbusTlsConnection
from simulator import DeviceFault, PersonalityEntry, Schedule, Simulator
from simulator.endpoints import carrier_of
from simulator.fault_kinds import KINDS as FAULTS
from simulator.fault_kinds import Carrier
from simulator.rtu_frames import is_sound, with_checksum
from tests.simulator.transports import KINDS, NOON_US, b23_voltage, connection, plant_of, profiles
from tests.simulator.wire import until

AT, REGISTERS = 0x5B00, 2
REQUEST = struct.pack(">BBHH", 1, 3, AT, REGISTERS)
DEADLINE_S = 60
LINES = ("modbus_rtu", "modbus_rtu_over_tcp")


@asynccontextmanager
async def served(*kinds: str, schedule: Schedule | None = None) -> AsyncIterator[Simulator]:
    plant = plant_of(*map(connection, kinds))
    async with Simulator(plant, profiles(), free_ports=True, now_us=lambda: NOON_US, schedule=schedule) as simulator:
        async with asyncio.timeout(DEADLINE_S):
            yield simulator


def stranger(simulator: Simulator, kind: str, timeout_s: float = 0.25) -> ModbusBaseClient:
    if kind == "modbus_rtu":
        path = simulator.addresses[kind]
        return AsyncModbusSerialClient(path, framer=FramerType.RTU, baudrate=9600, timeout=timeout_s, retries=0)
    port = simulator.ports[kind]
    if kind == "modbus_udp":
        return AsyncModbusUdpClient("127.0.0.1", port=port, timeout=timeout_s, retries=0)
    if kind == "modbus_tls":
        (line,) = (each for each in simulator.served_plant.connections if isinstance(each, ModbusTlsConnection))
        context = ssl.create_default_context(cafile=line.ca_file)
        return AsyncModbusTlsClient("127.0.0.1", port=port, sslctx=context, timeout=timeout_s, retries=0)
    framer = FramerType.RTU if kind == "modbus_rtu_over_tcp" else FramerType.SOCKET
    return AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=timeout_s, retries=0)


async def volts(simulator: Simulator, kind: str, timeout_s: float = 0.25) -> float | int | None:
    """Return what a fresh client reads: the voltage, the code of a refusal, or None for no answer that it takes."""
    async with stranger(simulator, kind, timeout_s) as client:
        try:
            answer = await client.read_holding_registers(AT, count=REGISTERS, device_id=1)
        except ModbusException:
            return None
        return int(answer.exception_code) if answer.isError() else b23_voltage(answer.registers)


def begin(simulator: Simulator, fault: str, kind: str, *, meter: bool = True, **parameters: float | str) -> int:
    target = {"meter": f"{kind}-abb_b23"} if meter else {"connection": kind}
    return simulator.faults.add(DeviceFault(fault, NOON_US, **target, parameters=parameters))  # type: ignore[arg-type]


@contextmanager
def terminal(simulator: Simulator) -> Iterator[int]:
    """The far end of the line, as bytes."""
    line = os.open(simulator.addresses["modbus_rtu"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield line
    finally:
        os.close(line)


async def heard(line: int, least: int, within_s: float = 5.0) -> bytes:
    """Return what comes on a line until there is so much of it, or too much time has passed."""
    said = b""
    with_end = time.monotonic() + within_s
    while len(said) < least and time.monotonic() < with_end:
        try:
            said += os.read(line, 4096)
        except BlockingIOError:
            await asyncio.sleep(0.005)
    return said


@pytest.mark.parametrize("kind", KINDS)
async def test_every_transport_refuses_is_silent_is_late_and_recovers(kind: str) -> None:
    async with served(kind) as simulator:
        true = simulator.truth.quantities(f"{kind}-abb_b23", NOON_US)["voltage_l1_n_v"]
        number = begin(simulator, "exception", kind, code=6)
        assert await volts(simulator, kind, 5) == 6
        simulator.faults.remove(number)
        for fault in ("no_reply", "late_reply", "garbage", "cut_frame", "wrong_unit"):
            number = begin(simulator, fault, kind)
            assert await volts(simulator, kind) is None, fault
            assert simulator.faults.list()[-1].hits >= 1, fault
            simulator.faults.remove(number)
        begin(simulator, "network_delay", kind, meter=False, delay_s=0.15, jitter_s=0.0)
        began = time.monotonic()
        assert await volts(simulator, kind, 5) == pytest.approx(true, abs=0.06)
        assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("kind", KINDS)
async def test_a_partition_cuts_every_transport_off_until_it_is_over(kind: str) -> None:
    async with served(kind) as simulator:
        number = begin(simulator, "partition", kind, meter=False)
        if kind == "modbus_tls":  # not even the handshake goes through to a device that hears nothing of it
            async with stranger(simulator, kind) as client:
                assert await unanswered(client)
        else:
            assert await volts(simulator, kind) is None
        assert simulator.faults.list()[0].hits >= 1
        simulator.faults.remove(number)
        assert isinstance(await volts(simulator, kind, 5), float)


async def unanswered(client: ModbusBaseClient) -> bool:
    try:
        await client.read_holding_registers(AT, count=REGISTERS, device_id=1)
    except ModbusException:
        return True
    return False


async def test_what_is_sent_into_a_cut_line_is_lost() -> None:
    async with served("modbus_rtu") as simulator:
        with terminal(simulator) as line:
            number = begin(simulator, "partition", "modbus_rtu", meter=False)
            os.write(line, with_checksum(REQUEST))
            assert await heard(line, 1, 0.1) == b""
            simulator.faults.remove(number)
            assert await heard(line, 1, 0.1) == b""
            os.write(line, with_checksum(REQUEST))
            assert is_sound(await heard(line, 9))


async def test_datagrams_into_a_partition_are_lost() -> None:
    async with served("modbus_udp") as simulator:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", simulator.ports["modbus_udp"]))
            number = begin(simulator, "partition", "modbus_udp", meter=False)
            client.send(struct.pack(">HHH", 1, 0, 6) + REQUEST)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(client, 300), 0.1)
            simulator.faults.remove(number)
            client.send(struct.pack(">HHH", 2, 0, 6) + REQUEST)
            answer = await asyncio.wait_for(loop.sock_recv(client, 300), 5)
            assert answer[:2] == b"\0\2"


async def test_bad_checksum_turns_one_bit_over_on_a_line() -> None:
    async with served("modbus_rtu") as simulator:
        with terminal(simulator) as line:
            os.write(line, with_checksum(REQUEST))
            honest = await heard(line, 9)
            begin(simulator, "bad_checksum", "modbus_rtu")
            os.write(line, with_checksum(REQUEST))
            said = await heard(line, 9)
        wrong = int.from_bytes(said) ^ int.from_bytes(honest)
        assert wrong.bit_count() == 1
        assert not is_sound(said)
        assert await volts(simulator, "modbus_rtu") is None


async def test_noise_on_a_line_stands_before_a_whole_frame() -> None:
    async with served("modbus_rtu") as simulator:
        begin(simulator, "garbage", "modbus_rtu", bytes=20, place="before")
        with terminal(simulator) as line:
            os.write(line, with_checksum(REQUEST))
            said = await heard(line, 29)
        assert len(said) == 29
        assert is_sound(said[20:])


async def test_in_pieces_a_line_says_the_same_in_the_end() -> None:
    async with served("modbus_rtu") as simulator:
        begin(simulator, "in_pieces", "modbus_rtu", pieces=3, pause_s=0.03)
        with terminal(simulator) as line:
            os.write(line, with_checksum(REQUEST))
            first = await heard(line, 1)
            assert len(first) == 3
            assert is_sound(first + await heard(line, 6))


@pytest.mark.parametrize("kind", ["modbus_tcp", "modbus_tls", "modbus_rtu_over_tcp"])
async def test_connection_refused_and_dropped_end_with_the_fault(kind: str) -> None:
    async with served(kind) as simulator:
        port = simulator.ports[kind]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: bool(simulator.endpoints[kind].parties) or kind == "modbus_tls")
        number = begin(simulator, "connection_refused", kind, meter=False)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(connect_until_refused(port), DEADLINE_S)
        if kind != "modbus_tls":  # where no handshake has been, there is no client yet
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
        writer.transport.abort()
        simulator.faults.remove(number)
        await connect_until_taken(port)
        assert isinstance(await volts(simulator, kind, 5), float)
        assert simulator.ports[kind] == port
        begin(simulator, "connection_dropped", kind, meter=False)
        assert await dropped(simulator, kind)


async def test_an_adapter_that_is_pulled_out_takes_its_port_with_it_and_comes_back(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    plant = plant_of(connection("modbus_rtu", device=str(device)))
    async with Simulator(plant, profiles(), now_us=lambda: NOON_US) as simulator:
        with terminal(simulator) as line:
            number = begin(simulator, "connection_refused", "modbus_rtu", meter=False)
            assert not device.is_symlink()
            with pytest.raises(OSError, match="Input/output error"):
                os.write(line, b"gone")
        assert simulator.faults.list()[0].hits == 1
        simulator.faults.remove(number)
        assert device.is_symlink()
        assert isinstance(await volts(simulator, "modbus_rtu", 5), float)
    assert not device.is_symlink()


async def connect_until_refused(port: int) -> None:
    """Connect again and again; the door is shut within a moment."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.abort()
        await asyncio.sleep(0.005)


async def connect_until_taken(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)
        else:
            writer.transport.abort()
            return


async def dropped(simulator: Simulator, kind: str) -> bool:
    client = stranger(simulator, kind)
    try:
        return not await client.connect() or await unanswered(client)
    finally:
        client.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_transport_cannot_have_is_refused(kind: str) -> None:
    plant = plant_of(connection(kind))
    simulator = Simulator(plant, profiles(), free_ports=True, now_us=lambda: NOON_US)
    carrier = simulator.endpoints[kind].carrier
    impossible = [each for each in FAULTS.values() if each.layer.value == "wire" and carrier not in each.carriers]
    assert impossible
    for each in impossible:
        with pytest.raises(ConfigurationError, match=f"cannot happen to connection {kind}"):
            begin(simulator, each.name, kind, meter=False)
    assert simulator.faults.list() == ()


def test_every_transport_has_its_carrier() -> None:
    plant = plant_of(*map(connection, KINDS))
    simulator = Simulator(plant, profiles(), free_ports=True)
    carriers = {carrier_of(each.connection) for each in simulator._places}
    assert carriers == set(Carrier) - {Carrier.BROKER}


@pytest.mark.parametrize("kind", LINES)
async def test_a_personality_answers_late_on_a_line_too(kind: str) -> None:
    slow = PersonalityEntry(connection=kind, latency_s=0.15)
    async with served(kind, schedule=Schedule(personalities=(slow,))) as simulator:
        began = time.monotonic()
        assert isinstance(await volts(simulator, kind, 5), float)
        assert time.monotonic() - began >= 0.15
