"""Real endpoints of every kind for the transport tests: pymodbus' own servers, and a serial line between two of them.

The serial line is a pair of pseudo-terminals, one for the master and one for the devices. What comes out of one goes
into the other through `SerialLine`, where a test can hold, spoil or invent bytes.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import time
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import SimDevice

from emsd.plant.modbus_connections import (
    ModbusRtuConnection,
    ModbusRtuOverTcpConnection,
    ModbusTcpConnection,
    ModbusTlsConnection,
    ModbusUdpConnection,
)

AnyModbus = (
    ModbusTcpConnection | ModbusTlsConnection | ModbusUdpConnection | ModbusRtuOverTcpConnection | ModbusRtuConnection
)
KINDS = ("modbus_tcp", "modbus_tls", "modbus_udp", "modbus_rtu_over_tcp", "modbus_rtu")
BAUD_RATE = 115_200


class SerialLine:
    """Two pseudo-terminals joined by this test's own hands."""

    def __init__(self) -> None:
        self._masters: list[int] = []
        self._slaves: list[int] = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._masters.append(master)
            self._slaves.append(slave)
        self.client_path, self.device_path = (os.ttyname(slave) for slave in self._slaves)
        self.on_request: Callable[[bytes], None] = self.to_device
        self.on_answer: Callable[[bytes], None] = self.to_client
        self.echoes = False
        """Whether the client hears what it sends."""
        self.before_request = b""
        """Noise that the client hears when it asks."""
        self.requests: list[bytes] = []
        self.requested_at: list[float] = []
        """When the requests came, on the monotonic clock [s]."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._masters[0], self._read_request)
        loop.add_reader(self._masters[1], self._read_answer)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Take the line away, as when an adapter is pulled."""
        for master in self._masters:
            asyncio.get_running_loop().remove_reader(master)
        for each in (*self._masters, *self._slaves):
            os.close(each)
        self._masters.clear()
        self._slaves.clear()

    def to_device(self, data: bytes) -> None:
        self._write(1, data)

    def to_client(self, data: bytes) -> None:
        self._write(0, data)

    def _write(self, end: int, data: bytes) -> None:
        if self._masters:
            os.write(self._masters[end], data)

    def _read_request(self) -> None:
        data = os.read(self._masters[0], 4096)
        self.requests.append(data)
        self.requested_at.append(time.monotonic())
        if self.before_request or self.echoes:
            self.to_client(self.before_request + (data if self.echoes else b""))
        self.on_request(data)

    def _read_answer(self) -> None:
        self.on_answer(os.read(self._masters[1], 4096))


@asynccontextmanager
async def serial_devices(*devices: SimDevice) -> AsyncIterator[SerialLine]:
    """Serve devices on a serial line; units that are not among them are silent."""
    units = {each.id for each in devices}

    def only_those(sending: bool, data: bytes) -> bytes:
        return b"" if sending and data and data[0] not in units else data

    async with SerialLine() as line:
        server = ModbusSerialServer(
            list(devices),
            framer=FramerType.RTU,
            port=line.device_path,
            baudrate=BAUD_RATE,
            reconnect_delay=0,
            trace_packet=only_those,
        )
        async with _serving(server):
            yield line


def serial_connection(line: SerialLine, **settings: object) -> ModbusRtuConnection:
    return ModbusRtuConnection.model_validate(
        {"key": "c", "device": line.client_path, "baud_rate": BAUD_RATE, **settings}
    )


@dataclass(frozen=True)
class Authority:
    """Certificates made for one test run: an authority, a server for 127.0.0.1 and meter.test, and a client."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        authority = cls(folder)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        _openssl("req", "-x509", *key, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem", at=folder)
        for name, names in (("server", "IP:127.0.0.1,DNS:meter.test"), ("stranger", "DNS:other.test"), ("client", "")):
            _openssl(
                "req", *key[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr", at=folder
            )
            extension = folder / f"{name}.ext"
            extension.write_text(f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n")
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", extension.name)
            _openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", at=folder)
        return authority

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def server_context(self, *, certificate: str = "server", asks_for_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file(f"{certificate}.pem"), self.file(f"{certificate}.key"))
        if asks_for_client:
            context.load_verify_locations(self.file("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _openssl(*arguments: str, at: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=at, check=True, capture_output=True, timeout=60)


@asynccontextmanager
async def tls_devices(*devices: SimDevice, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve devices by Modbus TLS on a loopback port."""
    async with _serving(ModbusTlsServer(list(devices), address=("127.0.0.1", 0), sslctx=context)) as server:
        yield server.transport.sockets[0].getsockname()[1]


@asynccontextmanager
async def endpoint(kind: str, authority: Authority, *devices: SimDevice) -> AsyncIterator[AnyModbus]:
    """Serve devices by a kind of connection, and yield the connection to them."""
    if kind == "modbus_rtu":
        async with serial_devices(*devices) as line:
            yield serial_connection(line, timeout_s=5)
        return
    address = ("127.0.0.1", 0)
    if kind == "modbus_udp":
        async with _serving(ModbusUdpServer(list(devices), address=address)) as server:
            port = server.transport.get_extra_info("sockname")[1]
            yield ModbusUdpConnection(key="c", host="127.0.0.1", port=port, timeout_s=5)
    elif kind == "modbus_tls":
        async with tls_devices(*devices, context=authority.server_context()) as port:
            ca_file = authority.file("ca.pem")
            yield ModbusTlsConnection(key="c", host="127.0.0.1", port=port, ca_file=ca_file, timeout_s=5)
    else:
        over = kind == "modbus_rtu_over_tcp"
        framer = FramerType.RTU if over else FramerType.SOCKET
        async with _serving(ModbusTcpServer(list(devices), framer=framer, address=address)) as server:
            port = server.transport.sockets[0].getsockname()[1]
            made = ModbusRtuOverTcpConnection if over else ModbusTcpConnection
            yield made(key="c", host="127.0.0.1", port=port, timeout_s=5)


@asynccontextmanager
async def _serving(server: Any) -> AsyncIterator[Any]:
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()
