"""Every way to reach meters: Modbus, an MQTT broker, or what another package's collector serves."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag

from emsd.plant.entry import Entry, Key
from emsd.plant.modbus_connections import (
    ModbusRtuConnection,
    ModbusRtuOverTcpConnection,
    ModbusTcpConnection,
    ModbusTlsConnection,
    ModbusUdpConnection,
)
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["Connection", "ForeignConnection"]


class ForeignConnection(Entry):
    """A connection whose collector comes from another package (entry point group emsd.collectors)."""

    key: Key
    kind: str = Field(description="Kind that the other package's collector serves.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="What that collector wants to know; its documentation says."
    )


_OUR_KINDS: Final = frozenset(
    {"modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_over_tcp", "modbus_udp", "mqtt", "sparkplug_b"},
)


def _connection_tag(value: Any) -> str:
    kind = value.get("kind", "modbus_tcp") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in _OUR_KINDS else "foreign"


Connection = Annotated[
    Annotated[ModbusTcpConnection, Tag("modbus_tcp")]
    | Annotated[ModbusTlsConnection, Tag("modbus_tls")]
    | Annotated[ModbusRtuConnection, Tag("modbus_rtu")]
    | Annotated[ModbusRtuOverTcpConnection, Tag("modbus_rtu_over_tcp")]
    | Annotated[ModbusUdpConnection, Tag("modbus_udp")]
    | Annotated[MqttConnection, Tag("mqtt")]
    | Annotated[SparkplugConnection, Tag("sparkplug_b")]
    | Annotated[ForeignConnection, Tag("foreign")],
    Discriminator(_connection_tag),
]
"""A Modbus endpoint, an MQTT broker, or another package's connection."""
