"""Checks of connections: one for each endpoint, each of a kind that an installed collector serves."""

from __future__ import annotations

from collections.abc import Iterator

from emsd.plant.draft import Draft
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.source import Finding, list_or_hint

__all__ = ["check_connections", "unknown_kinds"]


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
    """Find endpoints that have two connections."""
    first: dict[tuple[str, int], int] = {}
    for index, connection in draft.connections.items():
        if isinstance(connection, ModbusTcpConnection | MqttConnection):
            endpoint = (connection.host.casefold(), connection.port)
            if endpoint in first:
                other = draft.connections[first[endpoint]].key
                problem = f"is the endpoint of connection {other} too"
                cure = f"let its meters use connection {other}; units and topics tell them apart"
                yield Finding(("connections", index, "host"), problem, cure)
            first.setdefault(endpoint, index)
