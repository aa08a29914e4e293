"""How a raw number becomes a value: worked out once for each point and the parameters its device has now.

`value = raw * scale * 10^(scale register) * parameters / parameter + add`. Most points are linear: a known parameter
only changes their ratio. The others are a rule of their own. A point that depends on a parameter that is not known has
no value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collectors.modbus.plan import Target
from collectors.modbus.raw import Field, Raw, absent_raws, bit_field
from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import RUN_STATE_CODES

__all__ = ["Scaling", "SpecialRule", "absent_of", "fields_of", "is_linear", "scaling_of", "special_rule"]

SpecialRule = Callable[[Sequence[Raw]], float | None]
"""From all raw numbers of a block to one value; None where there is none."""

_POWERS_OF_TEN: Final = range(-10, 11)
"""Exponents that a scale register may hold (SunSpec Device Information Model: sunssf is -10..10). All else, 8000h among
it, says that the value is not available."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Raw to canonical unit, as a fraction: dividing by 1000 is exact where multiplying by 0.001 is not."""

    numerator: float
    denominator: float
    add: float

    @classmethod
    def of(cls, scale: float, add: float) -> Scaling:
        """Return scale and offset, the scale as one over a whole number where it is one."""
        inverse = 1.0 / scale if scale else 0.0
        nearest = round(inverse)
        if nearest and abs(inverse - nearest) <= 1e-9 * abs(nearest):
            return cls(math.copysign(1.0, scale), float(abs(nearest)), add)
        return cls(scale, 1.0, add)

    def times(self, factor: float) -> Scaling:
        """Return what scales by `factor` more."""
        return Scaling(self.numerator * factor, self.denominator, self.add)

    def over(self, divisor: float) -> Scaling:
        """Return what scales by `divisor` less."""
        return Scaling(self.numerator, self.denominator * divisor, self.add)

    def value(self, raw: Raw) -> float:
        """Return the value of a raw number."""
        return raw * self.numerator / self.denominator + self.add


def is_linear(point: ModbusPoint) -> bool:
    """Return whether one raw number, a ratio and an offset make the value."""
    special = (point.states, point.flags, point.bits, point.scale_register)
    return all(each is None for each in special) and not point.plus and point.encoding == "plain"


def fields_of(target: Target) -> tuple[Field, ...]:
    """Return the numbers that a point is made of: its own, those that are added to it, and its scale register."""
    kind = target.point.type
    own = ((target.address, kind), *((address, kind) for address in target.point.plus))
    return own if target.scale_address is None else (*own, (target.scale_address, RegisterType.I16))


def absent_of(point: ModbusPoint, order: ModbusMap) -> frozenset[Raw]:
    """Return the raw numbers by which a point says that it has no value.

    Raises:
        ValueError: a pattern of the profile does not fit the point's type.
    """
    patterns = point.not_available if point.not_available is not None else order.not_available.get(point.type, ())
    try:
        return absent_raws(point.type, patterns)
    except ValueError as error:
        raise ValueError(f"{point.quantity}: {error}") from None


def scaling_of(point: ModbusPoint, parameters: Mapping[str, float]) -> Scaling | None:
    """Return how to scale a point while its device has these parameters; None when they do not tell."""
    scale, add = point.scale, point.add
    if point.choice is not None:
        chosen = parameters.get(point.choice.parameter, math.nan)
        case = point.choice.cases.get(int(chosen)) if math.isfinite(chosen) and chosen == int(chosen) else None
        # What is not known, or no number, selects nothing; a known value beside the cases is what `otherwise` is for.
        if case is None and math.isfinite(chosen):
            case = point.choice.otherwise
        if case is None:
            return None
        scale = scale if case.scale is None else case.scale
        add = add if case.add is None else case.add
    scaling = Scaling.of(scale, add)
    for name in point.times:
        factor = parameters.get(name, math.nan)
        if not math.isfinite(factor):
            return None
        scaling = scaling.times(factor)
    if point.divided_by is not None:
        divisor = parameters.get(point.divided_by, math.nan)
        if not math.isfinite(divisor) or divisor == 0.0:
            return None
        scaling = scaling.over(divisor)
    return scaling


def special_rule(target: Target, places: Mapping[Field, int], order: ModbusMap, scaling: Scaling | None) -> SpecialRule:
    """Return the rule of a point that is not linear, or whose scaling is not known.

    Args:
        target: the point at its place.
        places: where each number of the block stands among the raw numbers that the rule is given.
        order: sentinels by type.
        scaling: how to scale it; None: it has no value for now.

    Raises:
        ValueError: the point cannot be decoded as its profile says.
    """
    point = target.point
    absent = absent_of(point, order)
    own = [places[field] for field in fields_of(target)]
    if point.states is not None or point.flags is not None:
        return _state(point, own[0], absent)
    if scaling is None:
        return lambda _raws: None
    if target.scale_address is not None:
        divide = point.scale_register is not None and point.scale_register.divide
        return _by_scale_register(own[0], own[-1], absent, scaling, divide=divide)
    if point.plus:
        return _sum(own, absent, scaling)
    if point.encoding == "four_quadrant_power_factor":
        return _power_factor(own[0], absent, scaling)
    take = _take(point, point.bits) if point.bits else None
    return _plain(own[0], absent, scaling, take)


def _take(point: ModbusPoint, bits: tuple[int, int] | None) -> Callable[[Raw], int]:
    try:
        return bit_field(point.type, bits)
    except ValueError as error:
        raise ValueError(f"{point.quantity}: {error}") from None


def _plain(place: int, absent: frozenset[Raw], scaling: Scaling, take: Callable[[Raw], int] | None) -> SpecialRule:
    def plain(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        if raw in absent:
            return None
        return scaling.value(raw if take is None else take(raw))

    return plain


def _state(point: ModbusPoint, place: int, absent: frozenset[Raw]) -> SpecialRule:
    take = _take(point, point.bits)
    if point.flags is None:
        codes = {raw: RUN_STATE_CODES[state] for raw, state in (point.states or {}).items()}

        def state_of(raws: Sequence[Raw]) -> float | None:
            raw = raws[place]
            return None if raw in absent else codes.get(take(raw))

        return state_of
    one_bit = [(_take(point, (bit, bit)), RUN_STATE_CODES[state]) for bit, state in point.flags.items()]
    otherwise = None if point.otherwise is None else RUN_STATE_CODES[point.otherwise]

    def first_flag(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        if raw in absent:
            return None
        return next((code for is_set, code in one_bit if is_set(raw)), otherwise)

    return first_flag


def _by_scale_register(
    place: int, scale_place: int, absent: frozenset[Raw], scaling: Scaling, *, divide: bool
) -> SpecialRule:
    by_code: dict[int, Scaling] = {}
    for code in _POWERS_OF_TEN:
        exponent = -code if divide else code
        by_code[code] = scaling.times(10.0**exponent) if exponent >= 0 else scaling.over(10.0**-exponent)

    def scaled(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        by = by_code.get(int(raws[scale_place]))
        return None if by is None or raw in absent else by.value(raw)

    return scaled


def _sum(places: Sequence[int], absent: frozenset[Raw], scaling: Scaling) -> SpecialRule:
    """Add raw numbers, so that integers stay exact; a part without a value leaves the whole without one."""

    def total(raws: Sequence[Raw]) -> float | None:
        parts = [raws[place] for place in places]
        return None if not absent.isdisjoint(parts) else scaling.value(sum(parts))

    return total


def _power_factor(place: int, absent: frozenset[Raw], scaling: Scaling) -> SpecialRule:
    """Undo Schneider's 4Q_FP_PF: x < -1 is -2 - x, x > 1 is 2 - x (iEM3000 user manual DOCA0005EN-04, p. 109)."""

    def power_factor(raws: Sequence[Raw]) -> float | None:
        raw = raws[place]
        if raw in absent:
            return None
        coded = scaling.value(raw)
        if coded > 1.0:
            return 2.0 - coded
        return -2.0 - coded if coded < -1.0 else coded

    return power_factor
