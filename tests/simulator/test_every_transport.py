"""Modbus devices on every transport, as pymodbus, minimalmodbus and bare sockets see them, and noise on them."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import minimalmodbus
import pytest
import serial
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pymodbus import FramerType
from pymodbus.client import (
    AsyncModbusSerialClient,
    AsyncModbusTcpClient,
    AsyncModbusTlsClient,
    AsyncModbusUdpClient,
)
from pymodbus.client.base import ModbusBaseClient

from emsd.errors import ServerError
from emsd.plant.modbus_connections import ModbusTlsConnection
from simulator import Simulator
from simulator.certificates import CertificateFolder
from simulator.rtu_frames import with_checksum
from tests.simulator.transports import KINDS, NOON_US, b23_voltage, connection, plant_of, profiles

VOLTAGE_AT = 0x5B00
READ_VOLTAGE = struct.pack(">BBHH", 1, 3, VOLTAGE_AT, 2)
DEADLINE_S = 60


@asynccontextmanager
async def served(*connections: dict[str, Any], **options: Any) -> AsyncIterator[Simulator]:
    plant = plant_of(*connections)
    options = {"free_ports": True, "now_us": lambda: NOON_US, **options}
    async with Simulator(plant, profiles(), **options) as simulator, asyncio.timeout(DEADLINE_S):
        yield simulator


def voltage(simulator: Simulator, kind: str) -> float:
    return simulator.truth.quantities(f"{kind}-abb_b23", NOON_US)["voltage_l1_n_v"]


def stranger(simulator: Simulator, kind: str) -> ModbusBaseClient:
    """Return pymodbus' client for a kind of connection."""
    if kind == "modbus_rtu":
        return AsyncModbusSerialClient(simulator.addresses[kind], framer=FramerType.RTU, baudrate=9600, timeout=10)
    port = simulator.ports[kind]
    if kind == "modbus_rtu_over_tcp":
        return AsyncModbusTcpClient("127.0.0.1", port=port, framer=FramerType.RTU, timeout=10)
    if kind == "modbus_udp":
        return AsyncModbusUdpClient("127.0.0.1", port=port, timeout=10)
    if kind == "modbus_tls":
        (line,) = (each for each in simulator.served_plant.connections if isinstance(each, ModbusTlsConnection))
        context = ssl.create_default_context(cafile=line.ca_file)
        return AsyncModbusTlsClient("127.0.0.1", port=port, sslctx=context, timeout=10)
    return AsyncModbusTcpClient("127.0.0.1", port=port, timeout=10)


@pytest.mark.parametrize("kind", KINDS)
async def test_pymodbus_reads_every_unit_of_every_transport(kind: str) -> None:
    async with served(connection(kind)) as simulator, stranger(simulator, kind) as client:
        answer = await client.read_holding_registers(VOLTAGE_AT, count=2, device_id=1)
        assert b23_voltage(answer.registers) == pytest.approx(voltage(simulator, kind), abs=0.06)
        answer = await client.read_input_registers(52, count=2, device_id=2)
        (watts,) = struct.unpack(">f", struct.pack(">2H", *answer.registers))
        assert watts == pytest.approx(1000 * simulator.truth.power_kw(f"{kind}-eastron_sdm630", NOON_US), rel=1e-6)
        answer = await client.read_input_registers(40, count=2, device_id=17)
        low, high = answer.registers
        power = simulator.truth.power_kw(f"{kind}-carlo_gavazzi_em340", NOON_US)
        assert (high << 16 | low) == pytest.approx(10_000 * power, abs=0.6)
        refused = await client.read_holding_registers(1, count=1, device_id=1)
        assert (refused.isError(), refused.exception_code) == (True, 2)
        assert simulator.requests[f"{kind}-abb_b23"] == 2


async def test_minimalmodbus_reads_a_serial_device_server() -> None:
    kind = "modbus_rtu_over_tcp"
    async with served(connection(kind)) as simulator:

        def read() -> float:
            port = serial.serial_for_url(f"socket://{simulator.addresses[kind]}", timeout=10)
            try:
                return float(minimalmodbus.Instrument(port, 1).read_long(VOLTAGE_AT) / 10)
            finally:
                port.close()

        assert await asyncio.to_thread(read) == pytest.approx(voltage(simulator, kind), abs=0.06)


# What the devices of a line do with what is not meant for them


class Master:
    """A serial port in a test's hands."""

    def __init__(self, path: str) -> None:
        self._port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._heard = b""
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._port, self._read)

    def _read(self) -> None:
        self._heard += os.read(self._port, 4096)
        self._came.set()

    def say(self, data: bytes) -> None:
        os.write(self._port, data)

    async def hear(self, count: int) -> bytes:
        while len(self._heard) < count:
            self._came.clear()
            await self._came.wait()
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._port)
        os.close(self._port)


@asynccontextmanager
async def line(**options: Any) -> AsyncIterator[tuple[Simulator, Master]]:
    async with served(connection("modbus_rtu"), **options) as simulator:
        master = Master(simulator.addresses["modbus_rtu"])
        try:
            yield simulator, master
        finally:
            master.close()


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\x00\xff\x7e",  # noise
        with_checksum(struct.pack(">BBHH", 9, 3, VOLTAGE_AT, 2)),  # for a unit that is not there
        with_checksum(struct.pack(">BBHH", 0, 6, 1, 1)),  # a broadcast
        READ_VOLTAGE + b"\x00\x00",  # with a wrong checksum
    ],
)
async def test_a_line_answers_what_is_meant_for_it_and_is_silent_to_all_else(before: bytes) -> None:
    async with line() as (simulator, master):
        master.say(before + with_checksum(READ_VOLTAGE))
        answer = await master.hear(9)  # the first thing that is heard
        assert answer[:3] == b"\x01\x03\x04"
        assert answer == with_checksum(answer[:-2])
        assert struct.unpack(">I", answer[3:7])[0] / 10 == pytest.approx(voltage(simulator, "modbus_rtu"), abs=0.06)


async def test_noise_before_a_request_is_counted_once_however_long_it_is() -> None:
    async with line() as (simulator, master):
        endpoint = simulator.endpoints["modbus_rtu"]
        master.say(READ_VOLTAGE + b"\x00\x00" + with_checksum(READ_VOLTAGE))
        assert (await master.hear(9))[:3] == b"\x01\x03\x04"
        assert endpoint.bad_frames == 1
        master.say(b"\x01\x41" * 400 + with_checksum(READ_VOLTAGE))  # a function whose length nobody knows
        assert (await master.hear(9))[:3] == b"\x01\x03\x04"
        assert endpoint.bad_frames == 2


async def test_a_request_may_come_in_pieces() -> None:
    request = with_checksum(READ_VOLTAGE)
    async with line() as (_, master):
        for cut in range(1, len(request)):
            master.say(request[:cut])
            await asyncio.sleep(0)
            master.say(request[cut:])
            assert (await master.hear(9))[:3] == b"\x01\x03\x04"


async def test_a_function_of_unknown_length_is_refused_once_the_line_is_silent() -> None:
    async with line() as (_, master):
        master.say(with_checksum(b"\x01\x41\x01\x02\x03"))
        assert await master.hear(5) == with_checksum(b"\x01\xc1\x01")


async def test_what_never_becomes_a_request_is_counted_and_the_next_request_is_answered() -> None:
    async with line() as (simulator, master):
        master.say(READ_VOLTAGE[:5])
        while simulator.endpoints["modbus_rtu"].bad_frames == 0:  # noqa: ASYNC110  (it sets no event)
            await asyncio.sleep(0.01)
        master.say(with_checksum(READ_VOLTAGE))
        assert (await master.hear(9))[:3] == b"\x01\x03\x04"
        assert simulator.endpoints["modbus_rtu"].lost_answers == 0


async def test_a_master_that_does_not_listen_loses_answers_and_they_are_counted() -> None:
    async with served(connection("modbus_rtu")) as simulator:
        port = os.open(simulator.addresses["modbus_rtu"], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            endpoint = simulator.endpoints["modbus_rtu"]
            while endpoint.lost_answers == 0:
                os.write(port, with_checksum(READ_VOLTAGE))
                await asyncio.sleep(0)
        finally:
            os.close(port)


async def test_the_serial_port_stands_where_the_plant_looks_for_it_as_long_as_it_is_served(tmp_path: Path) -> None:
    wanted, taken, elsewhere = tmp_path / "line", tmp_path / "real", tmp_path / "missing" / "line"
    wanted.symlink_to("/dev/pts/99999")  # left behind by one that was killed
    taken.write_text("not ours")
    lines = (
        connection("modbus_rtu", "a", device=str(wanted)),
        connection("modbus_rtu", "b", device=str(taken)),
        connection("modbus_rtu", "c", device="/dev/ttyUSB7"),
    )
    async with served(*lines, free_ports=False) as simulator:
        assert simulator.addresses["a"] == str(wanted)
        assert wanted.resolve().is_char_device()
        for key in "bc":
            assert simulator.addresses[key].startswith("/dev/pts/")
        devices = [getattr(each, "device", None) for each in simulator.served_plant.connections]
        assert devices == list(simulator.addresses.values())
    assert not wanted.is_symlink()
    assert taken.read_text() == "not ours"
    with pytest.raises(ServerError, match=r"cannot put its serial port at .*name a path whose folder exists"):
        async with served(connection("modbus_rtu", "d", device=str(elsewhere)), free_ports=False):
            pass


# Certificates


async def test_certificates_for_trials_are_made_once_and_kept_in_the_folder_that_is_named(tmp_path: Path) -> None:
    folder, runs = tmp_path / "certificates", []
    for _ in range(2):
        async with served(connection("modbus_tls"), certificates=folder) as simulator:
            (tls,) = simulator.served_plant.connections
            assert isinstance(tls, ModbusTlsConnection)
            assert tls.ca_file == str(folder / "ca.pem")
            async with stranger(simulator, "modbus_tls") as client:
                assert not (await client.read_holding_registers(VOLTAGE_AT, count=2, device_id=1)).isError()
            runs.append({each.name: each.read_bytes() for each in folder.iterdir()})
    made, found = runs
    assert made == found
    assert sorted(made) == ["ca.key", "ca.pem", "modbus_tls.key", "modbus_tls.pem"]
    assert {(folder / name).stat().st_mode & 0o77 for name in made if name.endswith("key")} == {0}


async def test_made_certificates_that_have_expired_are_made_anew_and_given_ones_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, given = tmp_path / "made", tmp_path / "given"
    with monkeypatch.context() as past:
        past.setattr("simulator.certificates._DAYS_VALID", -0.5)
        CertificateFolder(made).server_context("modbus_tls", ["127.0.0.1"], asks_for_client=True)
        past.setattr("simulator.certificates._AUTHORITY", "An authority of ones own")
        CertificateFolder(given).server_context("modbus_tls", ["127.0.0.1"], asks_for_client=True)
    before = {each: each.read_bytes() for each in (*made.iterdir(), *given.iterdir())}
    async with (
        served(connection("modbus_tls"), certificates=made) as simulator,
        stranger(simulator, "modbus_tls") as client,
    ):
        assert not (await client.read_holding_registers(VOLTAGE_AT, count=2, device_id=1)).isError()
    CertificateFolder(made).client()
    CertificateFolder(given).server_context("modbus_tls", ["127.0.0.1"], asks_for_client=True)
    assert {each.parent for each, was in before.items() if each.read_bytes() == was} == {given}
    assert {each for each, was in before.items() if each.read_bytes() != was} == set(made.iterdir())


async def test_given_certificates_are_used_and_the_plants_own_authority_stays(tmp_path: Path) -> None:
    elsewhere, folder = CertificateFolder(tmp_path / "maker"), tmp_path / "given"
    elsewhere.server_context("modbus_tls", ["127.0.0.1"], asks_for_client=False)
    folder.mkdir()
    for name in ("modbus_tls.pem", "modbus_tls.key"):
        (folder / name).write_bytes(elsewhere.file(name).read_bytes())
    ca_file = str(elsewhere.file("ca.pem"))
    async with served(connection("modbus_tls", ca_file=ca_file), certificates=folder) as simulator:
        (tls,) = simulator.served_plant.connections
        assert isinstance(tls, ModbusTlsConnection)
        assert tls.ca_file == ca_file
        async with stranger(simulator, "modbus_tls") as client:
            assert not (await client.read_holding_registers(VOLTAGE_AT, count=2, device_id=1)).isError()
        assert not (folder / "ca.pem").exists()


async def test_a_device_asks_for_the_certificate_that_its_connection_has() -> None:
    async with served(connection("modbus_tls", cert_file="ours.pem")) as simulator:
        (tls,) = simulator.served_plant.connections
        assert isinstance(tls, ModbusTlsConnection)
        assert tls.cert_file is not None
        ours = ssl.create_default_context(cafile=tls.ca_file)
        ours.load_cert_chain(tls.cert_file, tls.key_file)
        nobodys = ssl.create_default_context(cafile=tls.ca_file)
        port = simulator.ports["modbus_tls"]
        request = struct.pack(">HHHB", 1, 0, 6, 1) + READ_VOLTAGE[1:]
        for context, answered in ((ours, True), (nobodys, False)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
            try:
                writer.write(request)
                heard = await reader.readexactly(13)
            except (OSError, asyncio.IncompleteReadError):
                heard = b""
            finally:
                writer.close()
            assert (len(heard) == 13) is answered


@pytest.mark.parametrize("name", ["ca.key", "modbus_tls.key"])
async def test_a_key_under_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path, name: str) -> None:
    folder = CertificateFolder(tmp_path)
    folder.server_context("modbus_tls", ["127.0.0.1"], asks_for_client=False)
    key = load_pem_private_key(folder.file(name).read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    folder.file(name).write_bytes(locked)
    if name == "ca.key":
        folder.file("modbus_tls.pem").unlink()  # so that another one has to be signed
    with pytest.raises(ServerError, match=r"the certificates in .* cannot be used"):
        async with served(connection("modbus_tls"), certificates=tmp_path):
            pass


async def test_a_certificate_that_cannot_be_used_ends_it_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "modbus_tls.pem").write_text("no certificate")
    with pytest.raises(ServerError, match=r"the certificates in .* cannot be used"):
        async with served(connection("modbus_tls"), certificates=tmp_path):
            pass


async def test_datagrams_that_are_no_requests_are_counted_and_not_answered() -> None:
    async with served(connection("modbus_udp")) as simulator:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        class Heard(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002
                answers.put_nowait(data)

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            Heard, remote_addr=("127.0.0.1", simulator.ports["modbus_udp"])
        )
        request = struct.pack(">HHHB", 7, 0, 6, 1) + READ_VOLTAGE[1:]
        for datagram in (b"\0", request[:7], request + b"\0", b"\0\7\0\1" + request[4:], request):
            transport.sendto(datagram)
        assert (await answers.get())[:2] == b"\0\7"
        assert simulator.endpoints["modbus_udp"].bad_frames == 4
        assert answers.empty()
        transport.close()


@pytest.mark.parametrize("kind", ["modbus_tls", "modbus_rtu_over_tcp", "modbus_udp"])
async def test_an_address_in_use_or_of_other_machines_is_refused(kind: str) -> None:
    async with served(connection(kind, "first")) as simulator:
        again = connection(kind, "second", port=simulator.ports["first"])
        with pytest.raises(ServerError, match="second cannot"):
            async with served(again, free_ports=False):
                pass
