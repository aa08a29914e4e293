"""How long one request takes, from the baud rate of a line or the round trip of a network; pure arithmetic.

A request is 8 bytes on a serial line and its answer 5 bytes and two for each register; a silence of 3.5 characters ends
each frame (MODBUS over Serial Line V1.02, section 2.5.1.1). What the device itself takes comes from its profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from emsd.plant.modbus_connections import ModbusConnection, ModbusRtuConnection
from emsd.plant.modbus_map import ModbusMap

__all__ = [
    "ASSUMED_RESPONSE_S",
    "DIRECT_ROUND_TRIP_S",
    "GATEWAY_ROUND_TRIP_S",
    "STANDARD_BAUD_RATES",
    "Medium",
    "Network",
    "SerialLine",
    "gap_registers",
    "line_of",
    "medium_of",
    "request_s",
]

STANDARD_BAUD_RATES: Final = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)
"""Rates that meters offer; every Modbus device has 9,600 and 19,200 (MODBUS over Serial Line V1.02, section 3.2)."""

ASSUMED_RESPONSE_S: Final = 0.020
"""What a device on a serial line is taken to need where its profile does not say [s]: an assumption, between the few
milliseconds of a fast meter and the 40 ms that Carlo Gavazzi calls typical of its EM300 series."""

DIRECT_ROUND_TRIP_S: Final = 0.002
"""Round trip to a device with an Ethernet port of its own, its answer included [s]; an assumption."""

GATEWAY_ROUND_TRIP_S: Final = 0.010
"""Round trip through a gateway whose line is not known [s]; an assumption for a fast one."""

_REQUEST_BYTES: Final = 8
"""Unit, function, address 2, count 2, CRC 2."""
_ANSWER_BYTES: Final = 5
"""Unit, function, byte count, CRC 2; the registers come on top."""
_SILENT_CHARACTERS: Final = 3.5
_FIXED_SILENCE_ABOVE_BAUD: Final = 19_200
_FIXED_SILENCE_S: Final = 0.00175
_MOST_GAP_REGISTERS: Final = 32
"""No more undocumented registers than this are read on nobody's word, however cheap they are."""


class Medium(Protocol):
    """What carries requests and answers."""

    def exchange_s(self, registers: int) -> float:
        """Return the time a request for so many registers and its answer spend on the way [s]."""

    @property
    def response_s(self) -> float:
        """What a device on it is taken to need for an answer where its profile does not say [s]."""


@dataclass(frozen=True, slots=True)
class SerialLine:
    """An RTU line; each character is a start bit, the data, perhaps a parity bit, and the stop bits."""

    baud_rate: int = 19_200
    data_bits: int = 8
    has_parity: bool = True
    stop_bits: float = 1

    @property
    def character_s(self) -> float:
        """Duration of one character [s]."""
        return (1 + self.data_bits + int(self.has_parity) + self.stop_bits) / self.baud_rate

    @property
    def silence_s(self) -> float:
        """Silence that ends a frame [s]: 3.5 characters, above 19,200 baud 1.75 ms."""
        if self.baud_rate > _FIXED_SILENCE_ABOVE_BAUD:
            return _FIXED_SILENCE_S
        return _SILENT_CHARACTERS * self.character_s

    @property
    def response_s(self) -> float:
        """What a device on it is taken to need for an answer where its profile does not say [s]."""
        return ASSUMED_RESPONSE_S

    def exchange_s(self, registers: int) -> float:
        """Return the time of a request for so many registers, its answer and the silence after each [s]."""
        return (_REQUEST_BYTES + _ANSWER_BYTES + 2 * registers) * self.character_s + 2 * self.silence_s


@dataclass(frozen=True, slots=True)
class Network:
    """TCP, TLS or UDP: a round trip whatever the length, and the line behind a gateway where it is known."""

    round_trip_s: float = DIRECT_ROUND_TRIP_S
    line: SerialLine | None = None

    @property
    def response_s(self) -> float:
        """What a device behind it is taken to need where its profile does not say [s]; 0: the round trip has it."""
        return self.line.response_s if self.line else 0.0

    def exchange_s(self, registers: int) -> float:
        """Return the time of the round trip, and on the line behind a gateway [s]."""
        return self.round_trip_s + (self.line.exchange_s(registers) if self.line else 0.0)


def request_s(medium: Medium, registers: int, response_time_s: float | None, pause_s: float = 0.0) -> float:
    """Return the time from one request to the next [s].

    Args:
        medium: what carries it.
        registers: how many are read.
        response_time_s: what the device needs for an answer [s]; None when its profile does not say.
        pause_s: rest before the next request [s].
    """
    return medium.exchange_s(registers) + (medium.response_s if response_time_s is None else response_time_s) + pause_s


def medium_of(
    connection: ModbusConnection, units: int, *, round_trip_s: float | None = None, gateway_baud_rate: int | None = None
) -> Medium:
    """Return what carries the requests of a connection.

    A network with several units is taken for a gateway. What cannot be known from the description is assumed: see the
    constants of this module.

    Args:
        connection: the endpoint.
        units: how many meters are behind it.
        round_trip_s: measured round trip of the network [s]; absent: assumed.
        gateway_baud_rate: speed of the lines behind gateways [bit/s], with 8 data bits, even parity and 1 stop bit, the
            default of MODBUS over Serial Line V1.02, section 2.5.1; absent: a gateway's line costs nothing extra.
    """
    line = line_of(connection)
    if line is not None:
        return line
    gateway = units > 1 or connection.has_bus
    if gateway and gateway_baud_rate is not None:
        return Network(DIRECT_ROUND_TRIP_S if round_trip_s is None else round_trip_s, SerialLine(gateway_baud_rate))
    if round_trip_s is not None:
        return Network(round_trip_s)
    return Network(GATEWAY_ROUND_TRIP_S if gateway else DIRECT_ROUND_TRIP_S)


def line_of(connection: ModbusConnection) -> SerialLine | None:
    """Return the line of a serial connection, by its settings; None for one that is not serial."""
    if not isinstance(connection, ModbusRtuConnection):
        return None
    has_parity = connection.parity != "none"
    return SerialLine(connection.baud_rate, connection.data_bits, has_parity, connection.stop_bits)


def gap_registers(connection: ModbusConnection, registers: ModbusMap) -> int | None:
    """Return the widest hole worth reading through on a connection; None: that of the profile's schema.

    On a serial line a request costs as much time as so many registers: 13 characters, two silences and the device's
    response, against two characters a register. On a network registers cost nothing, but what stands behind is not
    known: the schema's 16 is what a request costs on a line of 9,600 to 19,200 baud behind a quick device.
    """
    line = line_of(connection)
    if line is None:
        return None
    costs_s = request_s(line, 0, registers.response_time_s)
    return min(_MOST_GAP_REGISTERS, int(costs_s / (2 * line.character_s)))
