"""From bytes to raw numbers: what registers hold before any scale.

With the low word first, or swapped bytes, the bytes of all registers are swapped once and the struct reads
little-endian: CDAB swapped is DCBA, BADC swapped is ABCD.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Final

from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, RegisterType

__all__ = [
    "Field",
    "Raw",
    "absent_raws",
    "bit_field",
    "layers_of",
    "number_of",
    "picker",
    "struct_of",
    "swap_bytes",
    "swapped",
]

Raw = int | float
Field = tuple[int, RegisterType]
"""A number in the registers: PDU address of the first, and what they hold."""

_LETTERS: Final = {
    RegisterType.U16: "H",
    RegisterType.I16: "h",
    RegisterType.U32: "I",
    RegisterType.I32: "i",
    RegisterType.U64: "Q",
    RegisterType.I64: "q",
    RegisterType.F32: "f",
    RegisterType.F64: "d",
}


def swapped(order: ModbusMap) -> bool:
    """Return whether the bytes of every register have to change places before a struct can read them."""
    return (order.word_order == "little") != (order.byte_order == "little")


def swap_bytes(payload: bytes) -> array[int]:
    """Return registers with the two bytes of each exchanged."""
    registers = array("H", payload)
    registers.byteswap()
    return registers


def layers_of(fields: Iterable[Field]) -> list[list[Field]]:
    """Sort numbers into as few lists as hold no two that overlap; one, for most devices."""
    layers: list[list[Field]] = []
    for address, kind in sorted(set(fields)):
        for layer in layers:
            last_address, last_kind = layer[-1]
            if last_address + last_kind.registers <= address:
                layer.append((address, kind))
                break
        else:
            layers.append([(address, kind)])
    return layers


def struct_of(layer: Sequence[Field], first: int, count: int, order: ModbusMap) -> struct.Struct:
    """Return what takes the numbers of a layer out of `count` registers from address `first` on."""
    parts = ["<" if order.word_order == "little" else ">"]
    at = first
    for address, kind in layer:
        parts.append(f"{2 * (address - at)}x{_LETTERS[kind]}")
        at = address + kind.registers
    parts.append(f"{2 * (first + count - at)}x")
    return struct.Struct("".join(parts))


def number_of(kind: RegisterType, payload: bytes, order: ModbusMap) -> Raw:
    """Return the one number that `payload` holds.

    Raises:
        ValueError: the payload is not as long as the number.
    """
    if len(payload) != 2 * kind.registers:
        raise ValueError(f"{kind.value} takes {2 * kind.registers} bytes, not {len(payload)}")
    raw: Raw
    buffer = swap_bytes(payload) if swapped(order) else payload
    (raw,) = struct_of([(0, kind)], 0, kind.registers, order).unpack(buffer)
    return raw


def picker(places: Sequence[int]) -> Callable[[Sequence[Raw]], Sequence[Raw]]:
    """Return what takes the numbers at some places out of all, as fast as can be."""
    if not places:
        return lambda _raws: ()
    if len(places) == 1:
        only = places[0]
        return lambda raws: (raws[only],)
    if list(places) == list(range(len(places))):
        count = len(places)
        return lambda raws: raws[:count]
    return itemgetter(*places)


def absent_raws(kind: RegisterType, patterns: Iterable[int]) -> frozenset[Raw]:
    """Return the numbers that mean "no value", as a struct delivers them; NaN always does and is not among them.

    Args:
        kind: what the registers hold.
        patterns: bit patterns of that width, unsigned.

    Raises:
        ValueError: a pattern does not fit the type.
    """
    width = 16 * kind.registers
    known: set[Raw] = set()
    for pattern in patterns:
        if not 0 <= pattern < 2**width:
            raise ValueError(f"not_available {pattern:#x} does not fit {kind.value}")
        (raw,) = struct.unpack(">" + _LETTERS[kind], pattern.to_bytes(width // 8, "big"))
        if not math.isnan(raw):
            known.add(raw)
    return frozenset(known)


def bit_field(kind: RegisterType, bits: tuple[int, int] | None) -> Callable[[Raw], int]:
    """Return what takes bits out of an integer; those of a signed type are a signed number.

    Args:
        kind: what the registers hold.
        bits: first and last bit, 0 = least significant; None takes all of them.

    Raises:
        ValueError: the registers hold no integer, or it does not have these bits.
    """
    width = INTEGER_WIDTH_BITS.get(kind)
    if width is None:
        raise ValueError(f"bits, states and flags need an integer register, not {kind.value}")
    first, last = bits or (0, width - 1)
    if not 0 <= first <= last < width:
        raise ValueError(f"bits {first} to {last} are not within the {width} of {kind.value}")
    mask = (1 << (last - first + 1)) - 1
    if kind.value[0] == "u":
        return lambda raw: (int(raw) >> first) & mask
    sign = (mask + 1) >> 1
    return lambda raw: (((int(raw) >> first) & mask) ^ sign) - sign
