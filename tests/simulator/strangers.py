"""Modbus clients that share no code with ours or with each other: each finds a number in registers by itself."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod

import minimalmodbus
import sunspec2.modbus.modbus as sunspec
from pyModbusTCP.client import ModbusClient
from pyModbusTCP.utils import decode_ieee, get_2comp, word_list_to_long

from emsd.plant.modbus_connections import ModbusConnection, ModbusRtuConnection, ModbusTlsConnection, NetworkConnection
from emsd.plant.modbus_map import ModbusMap, RegisterType, Table

__all__ = ["Stranger", "stranger_on"]

TIMEOUT_S = 10
LETTER = {"u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
FUNCTION = {Table.HOLDING: 3, Table.INPUT: 4}


class Stranger(ABC):
    """A client of one unit; `registers` says only in which order its words and bytes are."""

    def __init__(self, registers: ModbusMap) -> None:
        self.words_swapped = registers.word_order == "little"
        self.bytes_swapped = registers.byte_order == "little"

    @abstractmethod
    def number(self, table: Table, address: int, kind: RegisterType) -> float:
        """Return the number that stands there."""

    @abstractmethod
    def close(self) -> None:
        """Let the device go."""


class MinimalModbus(Stranger):
    """RTU by minimalmodbus and pyserial."""

    def __init__(self, registers: ModbusMap, connection: ModbusRtuConnection, unit_id: int) -> None:
        super().__init__(registers)
        self._device = minimalmodbus.Instrument(connection.device, unit_id)
        self._device.serial.baudrate, self._device.serial.timeout = 115_200, TIMEOUT_S
        self._order = {
            (False, False): minimalmodbus.BYTEORDER_BIG, (False, True): minimalmodbus.BYTEORDER_BIG_SWAP,
            (True, False): minimalmodbus.BYTEORDER_LITTLE_SWAP, (True, True): minimalmodbus.BYTEORDER_LITTLE,
        }[self.words_swapped, self.bytes_swapped]  # fmt: skip

    def number(self, table: Table, address: int, kind: RegisterType) -> float:
        function, count, signed = FUNCTION[table], kind.registers, kind.value[0] == "i"
        if kind.value[0] == "f":
            return float(self._device.read_float(address, function, count, self._order))
        if count > 1:
            return int(self._device.read_long(address, function, signed, self._order, count))
        if not self.bytes_swapped:
            return int(self._device.read_register(address, 0, function, signed))
        # It swaps bytes in longer numbers only.
        word = int(self._device.read_register(address, 0, function))
        return int.from_bytes(word.to_bytes(2), "little", signed=signed)

    def close(self) -> None:
        self._device.serial.close()


class PyModbusTcp(Stranger):
    """TCP by pyModbusTCP."""

    def __init__(self, registers: ModbusMap, port: int, unit_id: int) -> None:
        super().__init__(registers)
        self._device = ModbusClient("127.0.0.1", port, unit_id=unit_id, timeout=TIMEOUT_S, auto_open=True)

    def number(self, table: Table, address: int, kind: RegisterType) -> float:
        read = self._device.read_holding_registers if table is Table.HOLDING else self._device.read_input_registers
        words = read(address, kind.registers)
        assert words is not None, self._device.last_error_as_txt
        if self.bytes_swapped:
            words = [word >> 8 | word << 8 & 0xFF00 for word in words]
        if len(words) == 1:
            bits = words[0]
        else:
            (bits,) = word_list_to_long(words, big_endian=not self.words_swapped, long_long=len(words) == 4)
        if kind.value[0] == "f":
            return float(decode_ieee(bits, double=len(words) == 4))
        return int(get_2comp(bits, 16 * len(words)) if kind.value[0] == "i" else bits)

    def close(self) -> None:
        self._device.close()


class PySunspec(Stranger):
    """TLS by pysunspec2's client, and struct."""

    def __init__(self, registers: ModbusMap, connection: ModbusTlsConnection, unit_id: int) -> None:
        super().__init__(registers)
        self._device = sunspec.ModbusClientTCP(
            unit_id, "127.0.0.1", connection.port, TIMEOUT_S, tls=True,
            cafile=connection.ca_file, certfile=connection.cert_file, keyfile=connection.key_file,
        )  # fmt: skip
        self._device.connect(TIMEOUT_S)

    def number(self, table: Table, address: int, kind: RegisterType) -> float:
        data = bytes(self._device.read(address, kind.registers, FUNCTION[table]))
        words = [data[at : at + 2] for at in range(0, len(data), 2)]
        if self.bytes_swapped:
            words = [word[::-1] for word in words]
        ordered = b"".join(reversed(words) if self.words_swapped else words)
        (value,) = struct.unpack(f">{LETTER[kind.value]}", ordered)
        return float(value) if kind.value[0] == "f" else int(value)

    def close(self) -> None:
        self._device.close()


def stranger_on(connection: ModbusConnection, registers: ModbusMap, unit_id: int) -> Stranger:
    """Return the client for a connection as it is served."""
    if isinstance(connection, ModbusRtuConnection):
        return MinimalModbus(registers, connection, unit_id)
    if isinstance(connection, ModbusTlsConnection):
        return PySunspec(registers, connection, unit_id)
    assert isinstance(connection, NetworkConnection)
    return PyModbusTcp(registers, connection.port, unit_id)
