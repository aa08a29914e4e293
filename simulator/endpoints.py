"""Every kind of Modbus connection of a plant, served as its devices would be reached."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from emsd.plant.connections import Connection
from emsd.plant.modbus_connections import (
    MODBUS_CONNECTIONS,
    ModbusConnection,
    ModbusRtuConnection,
    ModbusRtuOverTcpConnection,
    ModbusTlsConnection,
    ModbusUdpConnection,
    NetworkConnection,
)
from simulator.certificates import CertificateFolder
from simulator.fault_kinds import Carrier
from simulator.hosts import check_loopback
from simulator.modbus_endpoint import ModbusEndpoint
from simulator.modbus_server import serve_modbus
from simulator.rtu_server import serve_line, serve_rtu_over_tcp
from simulator.udp_server import serve_datagrams

__all__ = ["Place", "as_modbus", "as_served", "carrier_of"]


def as_modbus(connection: Connection) -> ModbusConnection | None:
    """Return a connection if it leads to Modbus devices."""
    return connection if isinstance(connection, MODBUS_CONNECTIONS) else None


def carrier_of(connection: ModbusConnection) -> Carrier:
    """Return what the answers of a connection travel on."""
    if isinstance(connection, ModbusRtuConnection):
        return Carrier.LINE
    if isinstance(connection, ModbusRtuOverTcpConnection):
        return Carrier.DEVICE_SERVER
    return Carrier.UDP if isinstance(connection, ModbusUdpConnection) else Carrier.TCP


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how one connection is served."""

    connection: ModbusConnection
    endpoint: ModbusEndpoint
    host: str
    port: int
    """0 takes a free one."""
    link_device: bool
    """Whether a serial port is put at the path that the plant names."""

    @classmethod
    def of(
        cls,
        connection: ModbusConnection,
        endpoint: ModbusEndpoint,
        *,
        bind_host: str | None,
        free_ports: bool,
        allow_remote: bool,
    ) -> Place:
        """Return the place of a connection.

        Raises:
            ConfigurationError: other machines could reach it, and may not.
        """
        host, port = "", 0
        if isinstance(connection, NetworkConnection):
            host, port = bind_host or connection.host, 0 if free_ports else connection.port
            if not allow_remote:
                check_loopback(connection.key, host)
        return cls(connection, endpoint, host, port, link_device=not free_ports)

    async def open(self, stack: AsyncExitStack, certificates: CertificateFolder) -> None:
        """Serve it until the stack is left.

        Raises:
            ServerError: it cannot be served there.
        """
        await stack.enter_async_context(await self._server(certificates))

    async def _server(self, certificates: CertificateFolder) -> AbstractAsyncContextManager[ModbusEndpoint]:
        connection, endpoint = self.connection, self.endpoint
        if isinstance(connection, ModbusRtuConnection):
            return serve_line(endpoint, connection.device if self.link_device else None)
        if isinstance(connection, ModbusRtuOverTcpConnection):
            return serve_rtu_over_tcp(endpoint, self.host, self.port)
        if isinstance(connection, ModbusUdpConnection):
            return serve_datagrams(endpoint, self.host, self.port)
        context = None
        if isinstance(connection, ModbusTlsConnection):
            names = [name for name in (connection.server_name, connection.host, self.host, "localhost") if name]
            context = await asyncio.to_thread(
                certificates.server_context,
                connection.key,
                names,
                asks_for_client=connection.cert_file is not None,
            )
        return serve_modbus(endpoint, self.host, self.port, context)


def as_served(connection: Connection, endpoint: ModbusEndpoint, certificates: CertificateFolder) -> Connection:
    """Return a connection with the port, the path or the certificates by which a client reaches its devices now."""
    update: dict[str, object] = {}
    if isinstance(connection, ModbusRtuConnection):
        update["device"] = endpoint.address
    elif isinstance(connection, NetworkConnection):
        update["port"] = endpoint.port
    if isinstance(connection, ModbusTlsConnection):
        if not certificates.was_given(connection.key):
            update["ca_file"] = str(certificates.file("ca.pem"))
        if connection.cert_file is not None and not certificates.file("clients.pem").exists():
            certificate, key = certificates.client()
            update |= {"cert_file": str(certificate), "key_file": str(key)}
    return connection.model_copy(update=update)
