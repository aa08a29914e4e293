"""What is suspicious in a profile: valid, and yet what people get wrong when they copy a register list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, ModbusPoint, Table
from emsd.plant.profile import Profile
from emsd.plant.source import Finding
from emsd.quantities import BY_NAME, Kind

__all__ = ["doubts"]

_ELECTRICAL_COUNTER: Final = re.compile(r"(reactive_|apparent_)?energy_")
_TOTALS: Final = frozenset({"active_power_kw", "reactive_power_kvar", "apparent_power_kva"})
_ON_THE_WIRE: Final = re.compile(r"\bon the wire\b|\bPDU\b", re.IGNORECASE)
_SIGN: Final = re.compile(r"\b(sign|negative|positive|export|feed|generat|produc|direction|never below)", re.IGNORECASE)
_SMALLEST_RANGE_KW: Final = 100.0
"""A total power that cannot exceed this is below what a feeder of 160 A at 400 V carries."""
_ENTITY_NUMBERS: Final = {Table.HOLDING: range(40_001, 50_000), Table.INPUT: range(30_001, 40_000)}
"""How manuals number the registers of a table: the first digit is the table, and counting begins at 1."""


def doubts(profile: Profile) -> Iterator[Finding]:
    """Find what is probably not meant, each with its place in the profile."""
    if profile.modbus is None:
        return
    if not profile.modbus.sunspec_bases and not any(_ON_THE_WIRE.search(text) for text in profile.notes):
        yield from _entity_numbers(profile.modbus)
    yield from _overlaps(profile.modbus)
    for index, point in enumerate(profile.modbus.points):
        where = ("modbus", "points", index)
        for problem, cure in (*_scale(point), *_sign(profile, point), *_range(point)):
            yield Finding(where, f"{point.quantity} {problem}", cure)


def _entity_numbers(registers: ModbusMap) -> Iterator[Finding]:
    for table, numbers in _ENTITY_NUMBERS.items():
        addresses = [point.address for point in registers.points if point.table is table and point.address is not None]
        if len(addresses) > 1 and all(address in numbers for address in addresses):
            problem = f"has all of its {table} registers at {numbers[0]} and above, as manuals number them"
            wire = f"{addresses[0]} goes on the wire as {addresses[0] - numbers[0]}"
            cure = f"if they are such numbers, {wire}; else say in notes that these are the addresses on the wire"
            yield Finding(("modbus", "points"), problem, cure)


def _overlaps(registers: ModbusMap) -> Iterator[Finding]:
    """Find values that share registers, unless they are fields of one register or the device is read point by point."""
    if registers.one_point_per_request:
        return
    placed = sorted(
        (point.table, point.address, point.address + point.type.registers, index)
        for index, point in enumerate(registers.points)
        if point.address is not None
    )
    for (table, first, end, index), (other_table, other_first, other_end, other_index) in pairwise(placed):
        if table is not other_table or other_first >= end:
            continue
        point, other = registers.points[index], registers.points[other_index]
        if (first, end) == (other_first, other_end) and (_is_field(point) or _is_field(other)):
            continue
        where = ("modbus", "points", max(index, other_index))
        problem = f"{other.quantity} at {other_first} shares registers with {point.quantity} at {first}"
        yield Finding(where, problem, "check both addresses; for a device that is made so, set one_point_per_request")


def _is_field(point: ModbusPoint) -> bool:
    return bool(point.bits or point.states or point.flags)


def _scale(point: ModbusPoint) -> Iterator[tuple[str, str]]:
    quantity = BY_NAME[point.quantity]
    unscaled = "scale" not in point.model_fields_set and not point.parameters and point.scale_register is None
    electrical = quantity.kind is Kind.COUNTER and _ELECTRICAL_COUNTER.match(point.quantity)
    if electrical and unscaled and point.type in INTEGER_WIDTH_BITS:
        problem = f"counts whole {quantity.unit}: it is an integer without a scale"
        yield problem, "most meters count Wh or hundredths; if it is so, write scale: 1"
    if point.scale == 0:
        yield "has scale 0, so it is always the same", "write the factor from raw to its unit"


def _sign(profile: Profile, point: ModbusPoint) -> Iterator[tuple[str, str]]:
    if point.quantity != "active_power_kw":
        return
    if profile.kind == "pv_inverter" and point.scale > 0 and not _speaks_of_sign(profile):
        problem = "of an inverter is positive, which means consumption"
        yield problem, "give it a negative scale, or say in notes which sign the device uses"
    elif profile.kind == "power_meter" and point.type.value[0] == "u" and not _speaks_of_sign(profile):
        problem = f"is {point.type}, so what is fed back would read as a huge consumption or not at all"
        yield problem, "check that it is not signed, and say in notes how the device shows export"


def _speaks_of_sign(profile: Profile) -> bool:
    texts: Sequence[str] = (*profile.notes, *profile.unproven)
    return any(_SIGN.search(text) for text in texts)


def _range(point: ModbusPoint) -> Iterator[tuple[str, str]]:
    width = INTEGER_WIDTH_BITS.get(point.type)
    depends = point.parameters or point.scale_register is not None or point.plus
    if point.quantity not in _TOTALS or width is None or depends or point.bits:
        return
    largest = (2 ** (width - 1 if point.type.value[0] == "i" else width) - 1) * abs(point.scale)
    if largest < _SMALLEST_RANGE_KW:
        unit = BY_NAME[point.quantity].unit
        problem = f"cannot exceed {largest:g} {unit}: it is {point.type} with scale {point.scale:g}"
        yield problem, "check type and scale; larger loads would wrap around"
