"""Connections to Modbus devices and gateways, as a plant's document describes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emsd.plant.entry import Entry, Key, Port

__all__ = ["ModbusTcpConnection"]


class ModbusTcpConnection(Entry):
    """One Modbus TCP endpoint: a device, or a gateway with many units behind it."""

    key: Key
    kind: Literal["modbus_tcp"] = Field(default="modbus_tcp", description="modbus_tcp.")
    host: str = Field(description="Name or address of the device or gateway.")
    port: Port = Field(default=502, description="TCP port.")
    timeout_s: float = Field(default=1.0, gt=0, le=60, description="Longest wait for one answer [s].")
    retries: int = Field(default=1, ge=0, le=5, description="Further tries of one request within the same poll.")
    pause_after_connect_s: float = Field(
        default=0.0, ge=0, le=30, description="Rest after connecting, for gateways that need it [s]."
    )
    pause_between_requests_s: float = Field(
        default=0.0, ge=0, le=10, description="Rest between two requests, for slow devices [s]."
    )
