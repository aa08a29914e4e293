"""Which registers a device has: ranges that it answers, and registers that mean something else when read alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emsd.plant.modbus_map import IdentityRegister, ModbusMap, Parameter
from simulator.device_settings import Exponents
from simulator.points import RegisterPoint

__all__ = ["Place", "Segment", "overlaps", "place_of", "places_alone", "places_of", "scale_table", "segments_of"]

Place = tuple[str, int, int]
"""Table, first register and length of what stands in a device."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of registers that the device answers, and where it stands in the image."""

    table: str
    start: int
    stop: int
    position: int
    exact: bool
    """Answers only a read of all of it."""


def place_of(register: Parameter | IdentityRegister) -> Place:
    """Return where a setting or an identity stands."""
    length = register.length if isinstance(register, IdentityRegister) else register.type.registers
    return register.table.value, register.address, length


def overlaps(place: Place, others: Iterable[Place]) -> bool:
    """Return whether a place shares a register with one of the others."""
    table, start, length = place
    return any(table == other and start < begin + count and begin < start + length for other, begin, count in others)


def scale_table(layout: ModbusMap, scale_address: int) -> str:
    """Return the table of a scale register: that of the points that it scales."""
    for point in layout.points:
        if point.scale_register and point.scale_register.address == scale_address:
            return point.table.value
    raise KeyError(scale_address)


def places_of(
    points: Iterable[RegisterPoint], layout: ModbusMap, exponents: Exponents
) -> tuple[list[Place], list[Place]]:
    """Return what a device has, and apart from it the identities that hide behind the values of points.

    Carlo Gavazzi's EM340 answers a read of register 11 alone with its identification code, although 11 is the second
    half of a voltage.
    """
    values = {(p.table, address, p.registers) for p in points for address in (p.address, *p.plus)}
    scales = {(scale_table(layout, key.place), key.place, 1) for key in exponents if key.model is None}
    settings = {place_of(parameter) for parameter in layout.parameters}
    identities = {place_of(register) for register in layout.identity}
    alone = {place for place in identities - values if overlaps(place, values)}
    return sorted(values | scales | settings | (identities - alone)), sorted(alone)


def places_alone(segments: Iterable[Segment], alone: Iterable[Place]) -> dict[Place, int]:
    """Return the position in the image of what is read alone: behind all segments."""
    position = sum(segment.stop - segment.start for segment in segments)
    places: dict[Place, int] = {}
    for place in alone:
        places[place] = position
        position += place[2]
    return places


def segments_of(places: Iterable[Place], layout: ModbusMap, *, gap: int) -> list[Segment]:
    """Merge what stands in a device into readable ranges, across holes of up to `gap` registers."""
    ranges: list[tuple[str, int, int]] = []
    for table, start, length in places:
        if ranges and not layout.one_point_per_request and ranges[-1][0] == table and start - ranges[-1][2] <= gap:
            ranges[-1] = (table, ranges[-1][1], max(ranges[-1][2], start + length))
        else:
            ranges.append((table, start, start + length))
    segments: list[Segment] = []
    position = 0
    for table, start, stop in ranges:
        segments.append(Segment(table, start, stop, position, exact=layout.one_point_per_request))
        position += stop - start
    return segments
