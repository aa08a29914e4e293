"""Sparkplug B payloads of simulated edge nodes, in an encoding of the simulator's own.

Field numbers: Eclipse Sparkplug Specification 3.0.0, chapter 6; wire format: Protocol Buffers, Encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["BOOLEAN", "DOUBLE", "INT64", "REBIRTH", "Metric", "asks_for_birth", "payload_of"]

INT64: Final = 4
DOUBLE: Final = 10
BOOLEAN: Final = 11
REBIRTH: Final = "Node Control/Rebirth"

_VARINT, _EIGHT_BYTES, _BLOCK, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT_BITS: Final = 70
_FIELD_OF: Final = {INT64: 11, DOUBLE: 13, BOOLEAN: 14}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; None is a value that the device does not have."""

    value: float | None
    datatype: int
    name: str | None = None
    alias: int | None = None

    def encoded(self, time_ms: int, *, with_datatype: bool) -> bytes:
        """Return its bytes; data may leave the datatype to the birth."""
        parts = []
        if self.name is not None:
            parts.append(_block(1, self.name.encode()))
        if self.alias is not None:
            parts.append(_whole(2, self.alias))
        parts.append(_whole(3, time_ms))
        if with_datatype:
            parts.append(_whole(4, self.datatype))
        parts.append(_whole(7, 1) if self.value is None else self._value(self.value))
        return b"".join(parts)

    def _value(self, value: float) -> bytes:
        number = _FIELD_OF[self.datatype]
        if self.datatype == DOUBLE:
            return _key(number, _EIGHT_BYTES) + struct.pack("<d", value)
        return _whole(number, int(value) & 0xFFFF_FFFF_FFFF_FFFF)  # two's complement: the field is unsigned


def payload_of(
    metrics: Iterable[Metric], time_ms: int, sequence: int | None = None, *, with_datatypes: bool = True
) -> bytes:
    """Return the bytes of a message; a death has no sequence number."""
    parts = [_whole(1, time_ms)]
    parts += (_block(2, each.encoded(time_ms, with_datatype=with_datatypes)) for each in metrics)
    if sequence is not None:
        parts.append(_whole(3, sequence))
    return b"".join(parts)


def asks_for_birth(command: bytes) -> bool:
    """Whether a command (NCMD) sets Node Control/Rebirth; what is no payload asks for nothing."""
    try:
        metrics = [dict(_fields(each)) for number, each in _fields(command) if number == 2 and isinstance(each, bytes)]
    except (IndexError, ValueError):
        return False
    return any(metric.get(1) == REBIRTH.encode() and metric.get(14) == 1 for metric in metrics)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value); raises IndexError or ValueError when it is cut off or no such encoding."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BLOCK:
            length, at = _read_varint(data, at)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if length > len(data) - at:
            raise ValueError("cut off")
        yield key >> 3, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if shift >= _LONGEST_VARINT_BITS:
            raise ValueError("endless number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _whole(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _block(number: int, data: bytes) -> bytes:
    return _key(number, _BLOCK) + _varint(len(data)) + data
