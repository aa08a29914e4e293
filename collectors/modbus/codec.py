"""From the bytes of one answer to values: a block's decoding is worked out once and then only carried out.

One precompiled struct takes every raw number out of a block. Ratios, offsets and limits of most points stand ready in
one list; the few others have a rule of their own.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from collectors.modbus.plan import Block, Target
from collectors.modbus.raw import Raw, layers_of, picker, struct_of, swap_bytes, swapped
from collectors.modbus.rules import Scaling, absent_of, fields_of, is_linear, scaling_of, special_rule
from collectors.plausibility import limits
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap
from emsd.readings import Quality

__all__ = ["BlockDecoder", "Decoded"]

Decoded = tuple[list[float | None], int, int]
"""Values in the order of the decoder's names, quality flags, and how many values were rejected."""

_TINY: Final = 1e-30
"""A float nearer to 0 is no measurement: the words of an ordinary number exchanged often make such a one."""
_NOT_AVAILABLE: Final = int(Quality.NOT_AVAILABLE)
_IMPLAUSIBLE: Final = int(Quality.IMPLAUSIBLE)
"""Plain integers: combining members of an IntFlag takes longer than decoding a value."""

_NO_PARAMETERS: Final[Mapping[str, float]] = MappingProxyType({})


class BlockDecoder:
    """Decodes the answers to one block.

    Args:
        block: what is read.
        order: word and byte order, and sentinels by type.
        rated_power_kw: rating of the equipment behind the meter [kW]; None when it is not known.
        parameters: what the device's own parameters are now, by name; a point that depends on another is not available.

    Raises:
        ValueError: a point of the block cannot be decoded as its profile says.
    """

    __slots__ = ("_linear", "_pick", "_special", "_structs", "_swap", "names")

    def __init__(
        self,
        block: Block,
        order: ModbusMap,
        rated_power_kw: float | None,
        parameters: Mapping[str, float] = _NO_PARAMETERS,
    ) -> None:
        layers = layers_of(field for target in block.targets for field in fields_of(target))
        places = {field: place for place, field in enumerate(field for layer in layers for field in layer)}
        self._swap = swapped(order)
        self._structs = tuple(struct_of(layer, block.address, block.count, order) for layer in layers)
        linear: list[tuple[Target, Scaling]] = []
        special: list[tuple[Target, Scaling | None]] = []
        for target in block.targets:
            scaling = scaling_of(target.point, parameters)
            if scaling is not None and is_linear(target.point):
                linear.append((target, scaling))
            else:
                special.append((target, scaling))
        self.names: tuple[str, ...] = tuple(target.point.quantity for target, _ in (*linear, *special))
        """Quantities in the order of the decoded values."""
        self._pick = picker([places[target.address, target.point.type] for target, _ in linear])
        self._linear = [_linear_rule(target, scaling, order, rated_power_kw) for target, scaling in linear]
        self._special = [
            (special_rule(target, places, order, scaling), *limits(target.point.quantity, rated_power_kw))
            for target, scaling in special
        ]

    def decode(self, payload: bytes) -> Decoded:
        """Return values, quality flags and the number of rejected values of one answer.

        Args:
            payload: the registers as they came, two bytes each; exactly as many as the block asks for.
        """
        buffer: bytes | array[int] = swap_bytes(payload) if self._swap else payload
        raws: tuple[Raw, ...] = self._structs[0].unpack(buffer)
        for further in self._structs[1:]:
            raws += further.unpack(buffer)
        values: list[float | None] = []
        quality = rejected = 0
        for raw, (numerator, denominator, add, low, high, absent, tiny) in zip(
            self._pick(raws), self._linear, strict=True
        ):
            value = raw * numerator / denominator + add
            if low <= value <= high and raw not in absent and (raw >= tiny or raw <= -tiny or not raw):
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


def _linear_rule(
    target: Target, scaling: Scaling, order: ModbusMap, rated_power_kw: float | None
) -> tuple[float, float, float, float, float, frozenset[Raw], float]:
    low, high = limits(target.point.quantity, rated_power_kw)
    absent = absent_of(target.point, order)
    tiny = 0 if target.point.type in INTEGER_WIDTH_BITS else _TINY
    return scaling.numerator, scaling.denominator, scaling.add, low, high, absent, tiny
