"""Every kind of Modbus connection against pymodbus' own servers; TLS and UDP where they differ from TCP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from collectors.modbus import open_collector
from collectors.modbus.client import ModbusClient
from emsd.collector import MeterState, ReportsEndpoint
from emsd.errors import DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import MODBUS_CONNECTIONS, ModbusConnection, ModbusTlsConnection, ModbusUdpConnection
from emsd.plant.modbus_map import Table
from tests.collectors.support import (
    MemorySink,
    answer_frame,
    bound,
    device,
    eventually,
    exception_frame,
    profile_of,
    running,
)
from tests.collectors.transports import KINDS, Authority, endpoint, tls_devices

REGISTERS = {100: 0x1234, 101: 0xABCD}
POWER_AT_10 = [{"quantity": "active_power_kw", "address": 10, "type": "u16"}]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def opened(connection: ModbusConnection) -> AsyncIterator[ModbusClient]:
    client = await ModbusClient.open(connection)
    try:
        yield client
    finally:
        client.close()


async def read(client: ModbusClient, address: int = 100, count: int = 2, timeout_s: float = 5.0) -> bytes:
    return await client.read(7, Table.HOLDING, address, count, timeout_s=timeout_s)


def test_every_kind_of_modbus_connection_is_tested_here() -> None:
    assert {each.model_fields["kind"].default for each in MODBUS_CONNECTIONS} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
async def test_registers_come_back_as_the_bytes_on_the_wire(kind: str, authority: Authority) -> None:
    longest = {1000 + at: at for at in range(125)}
    async with endpoint(kind, authority, device(7, REGISTERS | longest)) as connection, opened(connection) as client:
        assert await read(client) == b"\x12\x34\xab\xcd"
        assert await client.read(7, Table.INPUT, 101, 1, timeout_s=5) == b"\xab\xcd"
        assert await read(client, 1000, 125) == struct.pack(">125H", *range(125))
        assert client.connected
        assert (client.requests, client.answers) == (3, 3)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_exception_names_the_place_and_the_connection_goes_on(kind: str, authority: Authority) -> None:
    async with endpoint(kind, authority, device(7, REGISTERS)) as connection, opened(connection) as client:
        with pytest.raises(
            DeviceException, match=r"unit 7 holding registers 500..501: .* 2 \(illegal data address"
        ) as no:
            await read(client, 500)
        assert no.value.code == 2
        assert str(no.value).startswith(connection.address)
        assert await read(client, count=1) == b"\x12\x34"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_meter_is_polled_and_its_endpoint_says_how_it_fares(kind: str, authority: Authority) -> None:
    sink = MemorySink()
    async with endpoint(kind, authority, device(1, {10: 42})) as connection:
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(connection, [meter], sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
            health = collector.endpoint_health()
    assert {reading.value("active_power_kw") for reading in sink.offered} == {42.0}
    assert (health.connection, health.kind, health.address) == ("c", kind, connection.address)
    assert health.connected
    assert (health.connects, health.failures, health.last_error) == (1, 0, None)
    assert health.requests >= 3
    assert health.busy_s > 0
    assert 0 < health.busy_share <= 1


@pytest.mark.parametrize("kind", ["modbus_tcp", "modbus_tls", "modbus_rtu_over_tcp"])
async def test_nobody_listening_is_unreachable(kind: str) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        (made,) = [each for each in MODBUS_CONNECTIONS if each.model_fields["kind"].default == kind]
        connection = made.model_validate({"key": "c", "host": "127.0.0.1", "port": reserved.getsockname()[1]})
        with pytest.raises(Unreachable, match=f"{connection.address} did not accept a Modbus"):
            await ModbusClient.open(connection)


async def test_small_frames_are_sent_at_once_and_a_vanished_peer_is_noticed(authority: Authority) -> None:
    async with endpoint("modbus_tcp", authority, device(7, REGISTERS)) as connection, opened(connection) as client:
        sock = client._link.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


# TLS


def tls(port: int, authority: Authority, **settings: object) -> ModbusTlsConnection:
    fields = {"key": "c", "host": "127.0.0.1", "port": port, "ca_file": authority.file("ca.pem"), "timeout_s": 5}
    return ModbusTlsConnection.model_validate(fields | settings)


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    async with tls_devices(device(7, REGISTERS), context=authority.server_context()) as port:
        with pytest.raises(Unreachable, match=r"certificate verify failed.*check ca_file"):
            await ModbusClient.open(tls(port, authority, ca_file=None))


async def test_a_certificate_for_another_name_is_refused_unless_that_name_is_expected(authority: Authority) -> None:
    async with tls_devices(device(7, REGISTERS), context=authority.server_context(certificate="stranger")) as port:
        with pytest.raises(Unreachable, match=r"certificate is not valid for '127\.0\.0\.1'"):
            await ModbusClient.open(tls(port, authority))
        async with opened(tls(port, authority, server_name="other.test")) as client:
            assert await read(client) == b"\x12\x34\xab\xcd"


async def test_whoever_answers_is_believed_only_when_that_is_written_down(authority: Authority) -> None:
    context = authority.server_context(certificate="stranger")
    async with tls_devices(device(7, REGISTERS), context=context) as port:
        connection = tls(port, authority, ca_file=None, verify=False)
        async with opened(connection) as client:
            assert await read(client) == b"\x12\x34\xab\xcd"


async def test_a_device_that_asks_for_a_certificate_gets_ours(authority: Authority) -> None:
    async with tls_devices(device(7, REGISTERS), context=authority.server_context(asks_for_client=True)) as port:
        ours = tls(port, authority, cert_file=authority.file("client.pem"), key_file=authority.file("client.key"))
        async with opened(ours) as client:
            assert await read(client) == b"\x12\x34\xab\xcd"
        with pytest.raises(Unreachable):
            # TLS 1.3 has no answer to our last word: the refusal comes with the first request.
            async with opened(tls(port, authority)) as client:
                await read(client)


async def test_a_certificate_file_that_is_not_there_is_unreachable_and_not_a_crash(
    authority: Authority, tmp_path: Path
) -> None:
    connection = tls(802, authority, ca_file=str(tmp_path / "missing.pem"))
    with pytest.raises(Unreachable, match="certificates cannot be read"):
        await ModbusClient.open(connection)


# UDP


class _Datagrams(asyncio.DatagramProtocol):
    """Answers datagrams by a script: what `answer` returns is sent one by one."""

    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for each in self._answer(data):
            self._transport.sendto(each, addr)


@asynccontextmanager
async def udp_device(answer: Callable[[bytes], list[bytes]], **settings: object) -> AsyncIterator[ModbusUdpConnection]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(answer), local_addr=("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        yield ModbusUdpConnection.model_validate({"key": "c", "host": "127.0.0.1", "port": port, **settings})
    finally:
        transport.close()


async def test_a_datagram_that_the_network_delivers_twice_is_passed_over() -> None:
    def twice(request: bytes) -> list[bytes]:
        return [answer_frame(request, *request[8:10])] * 2

    async with udp_device(twice) as connection, opened(connection) as client:
        for address in (0x0102, 0x0304, 0x0506):
            assert await read(client, address) == bytes([0, address >> 8, 0, address & 0xFF])


async def test_half_a_datagram_is_a_mismatch_at_once() -> None:
    def half(request: bytes) -> list[bytes]:
        return [answer_frame(request, 1, 2)[:11]]

    async with udp_device(half) as connection, opened(connection) as client:
        with pytest.raises(Mismatch, match="a datagram of 11 bytes is not a whole answer"):
            await read(client, timeout_s=60)


async def test_a_datagram_of_another_transaction_is_a_mismatch_unless_ids_are_lenient() -> None:
    def never_echoes(request: bytes) -> list[bytes]:
        return [b"\x00\x00" + answer_frame(request, 1, 2)[2:]]

    async with udp_device(never_echoes) as connection, opened(connection) as client:
        with pytest.raises(Mismatch, match="transaction 0 of protocol 0"):
            await read(client, timeout_s=60)
    async with udp_device(never_echoes, transaction_ids="lenient") as connection, opened(connection) as client:
        assert await read(client) == b"\x00\x01\x00\x02"


async def test_a_port_that_takes_no_datagrams_is_known_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    async with opened(ModbusUdpConnection(key="c", host="127.0.0.1", port=port)) as client:
        with pytest.raises(Unreachable, match="nobody takes datagrams there"):
            await read(client, timeout_s=60)


async def test_lost_and_late_datagrams_lead_to_no_wrong_value() -> None:
    """Every third request is answered only when the next one comes; each register holds its own address."""
    held: list[bytes] = []
    asked = 0

    def sometimes_late(request: bytes) -> list[bytes]:
        nonlocal asked
        asked += 1
        address, count = struct.unpack(">HH", request[8:12])
        answers = [*held, answer_frame(request, *range(address, address + count))]
        held.clear()
        if asked % 3 == 0:
            held.append(answers.pop())
        return answers

    sink = MemorySink()
    points = [
        {"quantity": "active_power_kw", "address": 10, "type": "u16"},
        {"quantity": "reactive_power_kvar", "address": 500, "type": "u16"},
    ]
    settings = {"timeout_s": 0.05, "retries": 2, "transaction_ids": "strict"}
    async with udp_device(sometimes_late, **settings) as connection:
        collector = open_collector(connection, [bound(1, profile_of(points), unit=1, poll_interval_s=0.1)], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 12)
        (health,) = collector.health()
    right = {"active_power_kw": 10.0, "reactive_power_kvar": 500.0}
    for reading in sink.offered:
        assert all(value in {right[name], None} for name, value in reading.items())
    assert sum(health.errors.values()) > 0


async def test_exceptions_come_by_datagram_too() -> None:
    async with udp_device(lambda request: [exception_frame(request, 6)]) as connection, opened(connection) as client:
        with pytest.raises(DeviceException, match="server device busy"):
            await read(client)


async def test_a_silent_udp_device_is_no_reply_and_is_found_when_it_answers() -> None:
    silent = True
    async with udp_device(lambda request: [] if silent else [answer_frame(request, 5)], timeout_s=0.05) as connection:
        async with opened(connection) as client:
            with pytest.raises(NoReply):
                await read(client, timeout_s=0.05)
            assert not client.usable
        sink = MemorySink()
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(connection, [meter], sink)
        async with running(collector):
            await eventually(lambda: collector.health()[0].state is MeterState.DOWN)
            silent = False
            await eventually(lambda: len(sink.offered) >= 2)
