"""Opens the way to a Modbus endpoint, whatever kind of connection leads there."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from typing import Final

from pymodbus.transport import CommParams, CommType

from collectors.modbus.links import DatagramLink, Link, MbapLink
from collectors.modbus.rtu_link import LineTiming, RtuLink
from collectors.modbus.timing import line_of
from emsd.errors import Unreachable
from emsd.plant.modbus_connections import (
    ModbusConnection,
    ModbusRtuConnection,
    ModbusRtuOverTcpConnection,
    ModbusTcpConnection,
    ModbusTlsConnection,
    ModbusUdpConnection,
    NetworkConnection,
)

__all__ = ["open_link"]

# Everything that pymodbus would log is raised here as an error that says more.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that went away without a word is noticed within a minute even while nobody asks [s, s, probes]."""

_PARITY: Final = {"none": "N", "even": "E", "odd": "O"}

_ONE_CLIENT: Final = "check address, port and network, and that no other client holds its only connection"


async def open_link(connection: ModbusConnection) -> Link:
    """Open the way that a connection describes.

    Raises:
        Unreachable: it could not be opened within the connection's timeout.
    """
    try:
        link = _link(connection)
    except OSError as error:
        raise Unreachable(f"{connection.address} cannot be asked: its certificates cannot be read ({error})") from error
    try:
        async with asyncio.timeout(connection.timeout_s):
            link.transport, _ = await link.call_create()
            # pymodbus opens a serial port in two further steps of the loop.
            await link.opened.wait()
    except BaseException as error:
        # Not before those steps: they would fail.
        link.loop.call_soon(link.close)
        if isinstance(error, OSError | ValueError):
            raise Unreachable(_why(connection, error)) from error
        raise
    if isinstance(connection, NetworkConnection) and not isinstance(connection, ModbusUdpConnection):
        _watch_over(link)
    return link


def _link(connection: ModbusConnection) -> Link:
    """Make a link that is not open yet."""
    if isinstance(connection, ModbusRtuConnection) and (line := line_of(connection)) is not None:
        return RtuLink(_serial(connection), LineTiming.of_line(line), most_failures=None)
    if isinstance(connection, ModbusRtuOverTcpConnection):
        return RtuLink(_network(connection, CommType.TCP), LineTiming.behind_network(), most_failures=2)
    if isinstance(connection, ModbusUdpConnection):
        return DatagramLink(_network(connection, CommType.UDP), strict=connection.transaction_ids == "strict")
    if isinstance(connection, ModbusTlsConnection):
        params = _network(connection, CommType.TLS)
        params.sslctx = _tls(connection)
        link = MbapLink(params, strict=connection.transaction_ids == "strict")
        if connection.server_name is not None:
            link.call_create = partial(
                link.loop.create_connection,
                link.handle_new_connection,
                connection.host,
                connection.port,
                ssl=params.sslctx,
                server_hostname=connection.server_name,
            )
        return link
    if isinstance(connection, ModbusTcpConnection):
        return MbapLink(_network(connection, CommType.TCP), strict=connection.transaction_ids == "strict")
    raise TypeError(f"connection {connection.key} is {connection.kind}, which no link serves")


def _network(connection: NetworkConnection, kind: CommType) -> CommParams:
    return CommParams(comm_name=connection.key, comm_type=kind, host=connection.host, port=connection.port)


def _serial(connection: ModbusRtuConnection) -> CommParams:
    return CommParams(
        comm_name=connection.key,
        comm_type=CommType.SERIAL,
        host=connection.device,
        baudrate=connection.baud_rate,
        bytesize=connection.data_bits,
        parity=_PARITY[connection.parity],
        stopbits=connection.stop_bits,
    )


def _tls(connection: ModbusTlsConnection) -> ssl.SSLContext:
    """Return what the device has to prove, and what we prove to it.

    Raises:
        OSError: a file cannot be read, or holds no such thing.
    """
    context = ssl.create_default_context(cafile=connection.ca_file)
    if not connection.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.cert_file is not None:
        context.load_cert_chain(connection.cert_file, connection.key_file)
    return context


def _watch_over(link: Link) -> None:
    """Send small frames at once, and notice a peer that went away without a word."""
    connected: socket.socket = link.transport.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _why(connection: ModbusConnection, error: Exception) -> str:
    if isinstance(connection, ModbusRtuConnection):
        return (
            f"serial port {connection.device} cannot be opened ({error}); check the path, that the service may use it, "
            "and that no other program does"
        )
    if isinstance(connection, ModbusTlsConnection) and isinstance(error, ssl.SSLError):
        return (
            f"{connection.address} did not accept Modbus over TLS ({error}); check ca_file, server_name and cert_file"
        )
    name = connection.kind.removeprefix("modbus_").replace("_", " ").upper().replace("OVER", "over")
    within = f"within {connection.timeout_s:g} s" if isinstance(error, TimeoutError) else f"({error})"
    return f"{connection.address} did not accept a Modbus {name} connection {within}; {_ONE_CLIENT}"
