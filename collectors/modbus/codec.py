"""From the bytes of one answer to values: a block's decoding is worked out once and then only carried out.

One precompiled struct takes every raw value out of a block. With the low word first, or swapped bytes, the bytes of all
registers are swapped once and the struct reads little-endian: CDAB swapped is DCBA, BADC swapped is ABCD.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from collectors.modbus.plan import Block, Target
from collectors.plausibility import limits
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import RUN_STATE_CODES
from emsd.readings import Quality

__all__ = ["BlockDecoder", "Decoded"]

Raw = int | float
Decoded = tuple[list[float | None], int, int]
"""Values in the order of the decoder's names, quality flags, and how many values were rejected."""

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
_POWERS_OF_TEN: Final = range(-10, 11)
"""Exponents that a scale register may hold (SunSpec Device Information Model: sunssf is -10..10). All else, 8000h among
it, says that the value is not available."""

_NOT_AVAILABLE: Final = int(Quality.NOT_AVAILABLE)
_IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
"""Plain integers: combining members of an IntFlag takes longer than decoding a value."""

_Field = tuple[int, RegisterType]
_SpecialRule = tuple[Callable[[Sequence[Raw]], float | None], float, float]


@dataclass(frozen=True, slots=True)
class _Ratio:
    """A scale as a fraction: dividing by 1000 is exact where multiplying by 0.001 is not."""

    numerator: float
    denominator: float

    @classmethod
    def of(cls, scale: float) -> _Ratio:
        inverse = 1.0 / scale if scale else 0.0
        nearest = round(inverse)
        if nearest and abs(inverse - nearest) <= 1e-9 * abs(nearest):
            return cls(math.copysign(1.0, scale), float(abs(nearest)))
        return cls(scale, 1.0)

    def times_ten_to(self, exponent: int) -> _Ratio:
        return (
            _Ratio(self.numerator * 10.0**exponent, self.denominator)
            if exponent >= 0
            else _Ratio(self.numerator, self.denominator * 10.0**-exponent)
        )


class BlockDecoder:
    """Decodes the answers to one block.

    Args:
        block: what is read.
        order: word and byte order, and sentinels by type.
        rated_power_kw: rating of the equipment behind the meter [kW]; None when it is not known.

    Raises:
        ValueError: a point of the block cannot be decoded as its profile says.
    """

    __slots__ = ("_linear", "_pick", "_special", "_structs", "_swap", "names")

    def __init__(self, block: Block, order: ModbusMap, rated_power_kw: float | None) -> None:
        little = order.word_order == "little"
        self._swap = little != (order.byte_order == "little")
        layers = _layers(block)
        self._structs = tuple(_struct(layer, block, "<" if little else ">") for layer in layers)
        places = {field: place for place, field in enumerate(field for layer in layers for field in layer)}
        linear = [target for target in block.targets if _is_linear(target)]
        special = [target for target in block.targets if not _is_linear(target)]
        self.names: tuple[str, ...] = tuple(target.point.quantity for target in (*linear, *special))
        """Quantities in the order of the decoded values."""
        self._pick = _picker([places[_field(target)] for target in linear])
        self._linear = [_linear_rule(target.point, order, rated_power_kw) for target in linear]
        self._special = [_special_rule(target, places, order, rated_power_kw) for target in special]

    def decode(self, payload: bytes) -> Decoded:
        """Return values, quality flags and the number of rejected values of one answer.

        Args:
            payload: the registers as they came, two bytes each; exactly as many as the block asks for.
        """
        buffer: bytes | array[int] = payload
        if self._swap:
            buffer = array("H", payload)
            buffer.byteswap()
        raws: tuple[Raw, ...] = self._structs[0].unpack(buffer)
        for further in self._structs[1:]:
            raws += further.unpack(buffer)
        values: list[float | None] = []
        quality = rejected = 0
        for raw, (numerator, denominator, add, low, high, absent) in zip(self._pick(raws), self._linear, strict=True):
            value = raw * numerator / denominator + add
            if low <= value <= high and raw not in absent:
                values.append(value)
            else:
                values.append(None)
                rejected += 1
                missing = raw in absent or math.isnan(raw)
                quality |= _NOT_AVAILABLE if missing else _IMPLAUSIBLE
        for rule, low, high in self._special:
            derived = rule(raws)
            if derived is not None and low <= derived <= high:
                values.append(derived)
            else:
                values.append(None)
                rejected += 1
                missing = derived is None or math.isnan(derived)
                quality |= _NOT_AVAILABLE if missing else _IMPLAUSIBLE
        return values, quality, rejected


def _field(target: Target) -> _Field:
    return target.address, target.point.type


def _is_linear(target: Target) -> bool:
    point = target.point
    return target.scale_address is None and point.states is None and point.bits is None and point.encoding == "plain"


def _layers(block: Block) -> list[list[_Field]]:
    """Sort the raw values of a block into as few lists as hold no two that overlap; one, for most devices."""
    fields = {_field(target) for target in block.targets}
    fields |= {(t.scale_address, RegisterType.I16) for t in block.targets if t.scale_address is not None}
    layers: list[list[_Field]] = []
    for address, kind in sorted(fields):
        for layer in layers:
            last_address, last_kind = layer[-1]
            if last_address + last_kind.registers <= address:
                layer.append((address, kind))
                break
        else:
            layers.append([(address, kind)])
    return layers


def _struct(layer: Sequence[_Field], block: Block, prefix: str) -> struct.Struct:
    parts = [prefix]
    at = block.address
    for address, kind in layer:
        parts.append(f"{2 * (address - at)}x{_LETTERS[kind]}")
        at = address + kind.registers
    parts.append(f"{2 * (block.address + block.count - at)}x")
    return struct.Struct("".join(parts))


def _picker(places: Sequence[int]) -> Callable[[Sequence[Raw]], Sequence[Raw]]:
    if not places:
        return lambda _raws: ()
    if len(places) == 1:
        only = places[0]
        return lambda raws: (raws[only],)
    if list(places) == list(range(len(places))):
        count = len(places)
        return lambda raws: raws[:count]
    return itemgetter(*places)


def _absent(point: ModbusPoint, order: ModbusMap) -> frozenset[Raw]:
    """Raw values that mean "no value", as the struct delivers them."""
    patterns = point.not_available if point.not_available is not None else order.not_available.get(point.type, ())
    width = 16 * point.type.registers
    known: set[Raw] = set()
    for pattern in patterns:
        if not 0 <= pattern < 2**width:
            raise ValueError(f"{point.quantity}: not_available {pattern:#x} does not fit {point.type}")
        big_endian = struct.Struct(">" + _LETTERS[point.type])
        (raw,) = big_endian.unpack(pattern.to_bytes(width // 8, "big"))
        if not math.isnan(raw):
            known.add(raw)
    return frozenset(known)


def _linear_rule(
    point: ModbusPoint, order: ModbusMap, rated_power_kw: float | None
) -> tuple[float, float, float, float, float, frozenset[Raw]]:
    ratio = _Ratio.of(point.scale)
    low, high = limits(point.quantity, rated_power_kw)
    return ratio.numerator, ratio.denominator, point.add, low, high, _absent(point, order)


def _special_rule(
    target: Target, places: Mapping[_Field, int], order: ModbusMap, rated_power_kw: float | None
) -> _SpecialRule:
    point = target.point
    low, high = limits(point.quantity, rated_power_kw)
    place = places[_field(target)]
    absent = _absent(point, order)
    if point.states is not None or point.bits is not None:
        return _bits_or_states(point, place, absent), low, high
    ratio = _Ratio.of(point.scale)
    if target.scale_address is None:
        return _power_factor(place, absent, ratio, point.add), low, high
    divide = point.scale_register is not None and point.scale_register.divide
    by_code = {code: ratio.times_ten_to(-code if divide else code) for code in _POWERS_OF_TEN}
    scale_place = places[(target.scale_address, RegisterType.I16)]

    def scaled(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        by = by_code.get(int(raws[scale_place]))
        return None if by is None or raw in absent else raw * by.numerator / by.denominator + point.add

    return scaled, low, high


def _bits_or_states(point: ModbusPoint, place: int, absent: frozenset[Raw]) -> Callable[[Sequence[Raw]], float | None]:
    if point.type not in INTEGER_WIDTH_BITS:
        raise ValueError(f"{point.quantity}: bits and states need an integer register, not {point.type}")
    first, last = point.bits or (0, INTEGER_WIDTH_BITS[point.type] - 1)
    mask = (1 << (last - first + 1)) - 1
    if point.states is not None:
        codes = {raw: RUN_STATE_CODES[state] for raw, state in point.states.items()}

        def state_of(raws: Sequence[Raw]) -> float | None:
            raw = int(raws[place])
            return None if raw in absent else codes.get((raw >> first) & mask)

        return state_of
    ratio = _Ratio.of(point.scale)

    def field_of(raws: Sequence[Raw]) -> float | None:
        raw = int(raws[place])
        field = (raw >> first) & mask
        return None if raw in absent else field * ratio.numerator / ratio.denominator + point.add

    return field_of


def _power_factor(
    place: int, absent: frozenset[Raw], ratio: _Ratio, add: float
) -> Callable[[Sequence[Raw]], float | None]:
    """Undo Schneider's 4Q_FP_PF: x < -1 is -2 - x, x > 1 is 2 - x (iEM3000 user manual DOCA0005EN-04, p. 109)."""

    def power_factor(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        if raw in absent:
            return None
        coded = raw * ratio.numerator / ratio.denominator + add
        if coded > 1.0:
            return 2.0 - coded
        return -2.0 - coded if coded < -1.0 else coded

    return power_factor
