"""Connections to Modbus devices and gateways, as a plant's document describes them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry, Key, Port

__all__ = [
    "MODBUS_CONNECTIONS",
    "ModbusConnection",
    "ModbusRtuConnection",
    "ModbusRtuOverTcpConnection",
    "ModbusTcpConnection",
    "ModbusTlsConnection",
    "ModbusUdpConnection",
    "NetworkConnection",
]

TransactionIds = Annotated[
    Literal["strict", "lenient"],
    Field(description="lenient: for gateways that do not echo the id; then unit, function and length must do."),
]


class ModbusConnection(Entry):
    """What all connections to Modbus devices have in common."""

    key: Key
    kind: str
    timeout_s: float = Field(default=1.0, gt=0, le=60, description="Longest wait for one answer [s].")
    retries: int = Field(default=1, ge=0, le=5, description="Further tries of one request within the same poll.")
    pause_after_connect_s: float = Field(
        default=0.0, ge=0, le=30, description="Rest after connecting, for gateways that need it [s]."
    )
    pause_between_requests_s: float = Field(
        default=0.0, ge=0, le=10, description="Rest between two requests, for slow devices [s]."
    )

    @property
    @abstractmethod
    def address(self) -> str:
        """What a person calls the endpoint: host:port, or the path of a serial port."""

    @property
    def has_bus(self) -> bool:
        """Whether units answer on a serial line of their own, where unit 0 is a broadcast and 248..255 are reserved.

        Modbus over Serial Line V1.02, section 2.2.
        """
        return False


class NetworkConnection(ModbusConnection):
    """A Modbus endpoint with a host and a port."""

    host: str = Field(min_length=1, description="Name or address of the device or gateway.")
    port: Port = Field(default=502, description="TCP port.")

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"


class ModbusTcpConnection(NetworkConnection):
    """One Modbus TCP endpoint: a device, or a gateway with many units behind it."""

    kind: Literal["modbus_tcp"] = Field(default="modbus_tcp", description="modbus_tcp.")
    transaction_ids: TransactionIds = "strict"


class ModbusTlsConnection(NetworkConnection):
    """One Modbus/TCP Security endpoint: Modbus TCP inside TLS, which proves who answers."""

    kind: Literal["modbus_tls"] = Field(default="modbus_tls", description="modbus_tls.")
    port: Port = Field(default=802, description="TCP port.")
    ca_file: str | None = Field(
        default=None, description="PEM file of the authority that signed the device; absent: those of the machine."
    )
    cert_file: str | None = Field(default=None, description="PEM file of our certificate, for devices that ask.")
    key_file: str | None = Field(default=None, description="PEM file of our private key; absent: in cert_file.")
    server_name: str | None = Field(
        default=None, description="Name in the device's certificate, when host is not that name."
    )
    verify: bool = Field(
        default=True, description="false: believe whoever answers; only until the device has a certificate."
    )
    transaction_ids: TransactionIds = "strict"

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is given without cert_file")
        return self


class ModbusRtuConnection(ModbusConnection):
    """One serial port with a line of Modbus RTU devices on it."""

    kind: Literal["modbus_rtu"] = Field(default="modbus_rtu", description="modbus_rtu.")
    device: str = Field(min_length=1, description="Path of the serial port, best one of /dev/serial/by-id/.")
    baud_rate: int = Field(default=9600, ge=300, le=4_000_000, description="Speed of the line [bit/s].")
    parity: Literal["none", "even", "odd"] = Field(default="none", description="Parity of each character.")
    stop_bits: Literal[1, 2] = Field(default=1, description="Stop bits of each character.")
    data_bits: Literal[7, 8] = Field(default=8, description="Data bits of each character; RTU wants 8.")

    @property
    def address(self) -> str:
        """The path of the serial port."""
        return self.device

    @property
    def has_bus(self) -> bool:
        """A serial line."""
        return True


class ModbusRtuOverTcpConnection(NetworkConnection):
    """One serial device server that passes RTU frames through TCP as they are."""

    kind: Literal["modbus_rtu_over_tcp"] = Field(default="modbus_rtu_over_tcp", description="modbus_rtu_over_tcp.")

    @property
    def has_bus(self) -> bool:
        """A serial line behind a network."""
        return True


class ModbusUdpConnection(NetworkConnection):
    """One Modbus endpoint that is asked by datagrams."""

    kind: Literal["modbus_udp"] = Field(default="modbus_udp", description="modbus_udp.")
    port: Port = Field(default=502, description="UDP port.")
    transaction_ids: TransactionIds = "strict"


MODBUS_CONNECTIONS: tuple[type[ModbusConnection], ...] = (
    ModbusTcpConnection,
    ModbusTlsConnection,
    ModbusRtuConnection,
    ModbusRtuOverTcpConnection,
    ModbusUdpConnection,
)
"""Every kind of connection to Modbus devices."""
