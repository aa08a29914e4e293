"""Every way to reach meters: Modbus, an MQTT broker, or what another package's collector serves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from emsd.plant.entry import Entry, Key
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.mqtt_connection import MqttConnection

__all__ = ["Connection", "ForeignConnection"]


class ForeignConnection(Entry):
    """A connection whose collector comes from another package (entry point group emsd.collectors)."""

    key: Key
    kind: str = Field(description="Kind that the other package's collector serves.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="What that collector wants to know; its documentation says."
    )


def _connection_tag(value: Any) -> str:
    kind = value.get("kind", "modbus_tcp") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in {"modbus_tcp", "mqtt"} else "foreign"


Connection = Annotated[
    Annotated[ModbusTcpConnection, Tag("modbus_tcp")]
    | Annotated[MqttConnection, Tag("mqtt")]
    | Annotated[ForeignConnection, Tag("foreign")],
    Discriminator(_connection_tag),
]
"""A Modbus endpoint, an MQTT broker, or another package's connection."""
