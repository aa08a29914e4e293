"""Checks of connections: one for each endpoint, each of a kind that an installed collector serves, none credulous."""

from __future__ import annotations

import os
from collections.abc import Iterator

from emsd.plant.draft import AnyConnection, Draft
from emsd.plant.modbus_connections import ModbusRtuConnection, ModbusTlsConnection, NetworkConnection
from emsd.plant.mqtt_connection import BrokerConnection, MqttConnection
from emsd.plant.source import Finding, list_or_hint
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["check_connections", "connection_warnings", "unknown_kinds"]


def unknown_kinds(draft: Draft) -> Iterator[Finding]:
    """Find connections of a kind without a collector; nothing else can be said about the fields of such an entry."""
    kinds = draft.surroundings.collector_kinds
    for index, entry in draft.written("connections"):
        kind = entry.get("kind")
        if isinstance(kind, str) and kind.strip() not in kinds:
            where = ("connections", index, "kind")
            cure = list_or_hint(kind, kinds, "kinds with an installed collector")
            yield Finding(where, f"{draft.source.shown(where, kind)}has no collector", cure)


def check_connections(draft: Draft) -> Iterator[Finding]:
    """Find endpoints that have two connections: one owner asks one device, in turn."""
    first: dict[tuple[str, int] | str, int] = {}
    for index, connection in draft.connections.items():
        field, endpoint = _endpoint(connection)
        if endpoint is None:
            continue
        if endpoint in first:
            other = draft.connections[first[endpoint]].key
            problem = f"is the endpoint of connection {other} too"
            cure = f"let its meters use connection {other}; units and topics tell them apart"
            yield Finding(("connections", index, field), problem, cure)
        first.setdefault(endpoint, index)


def connection_warnings(draft: Draft) -> Iterator[Finding]:
    """Find connections that believe whoever answers."""
    for index, connection in draft.connections.items():
        believes: tuple[str, ...] = ()
        if isinstance(connection, ModbusTlsConnection) and not connection.verify:
            believes = ("verify",)
        elif isinstance(connection, BrokerConnection) and connection.tls is not None and not connection.tls.verify:
            believes = ("tls", "verify")
        if believes:
            problem = f"is false: {connection.key} believes whoever answers, and TLS protects nothing"
            yield Finding(("connections", index, *believes), problem, "name the authority in ca_file, and remove it")


def _endpoint(connection: AnyConnection) -> tuple[str, tuple[str, int] | str | None]:
    """Return the field that names the endpoint, and what tells it from others; None of another package's."""
    if isinstance(connection, NetworkConnection | MqttConnection):
        return "host", (connection.host.casefold(), connection.port)
    if isinstance(connection, SparkplugConnection):
        # The same broker may carry JSON too, for an MQTT connection.
        return "host", f"sparkplug_b {connection.host.casefold()}:{connection.port}"
    if isinstance(connection, ModbusRtuConnection):
        # Names below /dev/serial/by-id are links to the ports.
        return "device", os.path.realpath(connection.device)
    return "key", None
