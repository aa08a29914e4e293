"""The registers of a device model: which can be read, what stands in them, and how the device refuses.

A layout belongs to a profile and the powers of ten in its scale registers; units of equal size share one. The image of
a unit is one run of words, made of segments: each segment is a range of addresses that the device answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from emsd.plant.modbus_map import ModbusMap
from emsd.plant.profile import Profile
from simulator.noise import FloatArray
from simulator.points import Exponents, RegisterPoint, WordArray, point_of
from simulator.sunspec import Chain, chain_of, string_words

__all__ = ["ILLEGAL_ADDRESS", "ILLEGAL_FUNCTION", "ILLEGAL_VALUE", "Layout", "Span", "wanted_quantities"]

# Exception codes: Modbus application protocol V1.1b3, section 7.
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3

_TABLE_OF_FUNCTION = {3: "holding", 4: "input"}
_PLANS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Quirks:
    """How a device model differs from an ordinary one; sources stand in its profile."""

    even_reads_only: bool = False
    whole_values_only: bool = False
    unlisted_refused: bool = False
    tables_alike: bool = False
    """Holding and input registers are the same."""


_QUIRKS: Mapping[str, _Quirks] = {
    "eastron_sdm630": _Quirks(even_reads_only=True, whole_values_only=True),
    "ingersoll_rand_xe": _Quirks(unlisted_refused=True),
    "kipp_zonen_smp": _Quirks(tables_alike=True),
}


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of an image that answer a read."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Segment:
    table: str
    start: int
    stop: int
    position: int
    exact: bool
    """Answers only a read of all of it."""


@dataclass(slots=True)
class Layout:
    """Built once for each device model and size; see `Layout.of`."""

    profile: Profile
    points: tuple[RegisterPoint, ...]
    template: WordArray
    segments: tuple[_Segment, ...]
    max_registers: int
    quirks: _Quirks
    chain: Chain | None = None
    _places: tuple[int, ...] = ()
    _plans: dict[tuple[int, int, int], Span | int] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, exponents: Exponents) -> Layout:
        """Lay out a profile with a `modbus` map.

        Raises:
            ConfigurationError: the profile needs a SunSpec model that the simulator does not know.
            ValueError: it has no `modbus` map.
        """
        layout = profile.modbus
        if layout is None:
            raise ValueError(f"profile {profile.profile} has no registers")
        quirks = _QUIRKS.get(profile.profile, _Quirks())
        chain = chain_of(layout, exponents) if layout.sunspec_bases else None
        points = tuple(
            point_of(p, layout, exponents, chain.address(p) if chain and p.model is not None else p.address or 0)
            for p in layout.points
        )
        if chain is not None:
            points += chain.extras
            segments = [_Segment("holding", chain.base, chain.base + len(chain.words), 0, exact=False)]
            template = chain.words.copy()
        else:
            scales = [(_table_of(layout, key.place), key.place) for key in exponents if key.model is None]
            segments = _segments(points, scales, layout, quirks)
            template = np.full(sum(s.stop - s.start for s in segments), _hole(layout), dtype=np.uint16)
        built = cls(profile, points, template, tuple(segments), layout.max_registers, quirks, chain)
        built._write_scales(layout, exponents)
        built._places = tuple(built._position(point.table, point.address) for point in points)
        return built

    def _write_scales(self, layout: ModbusMap, exponents: Exponents) -> None:
        for key, power in exponents.items():
            address = self.chain.scale_address(key) if self.chain and key.model is not None else key.place
            table = "holding" if self.chain else _table_of(layout, key.place)
            word = np.array([power & 0xFFFF], dtype=np.uint16)
            if layout.byte_order == "little":
                word = word.byteswap()
            self.template[self._position(table, address)] = word[0]

    def image_template(self, serial: str) -> WordArray:
        """Return the registers of one unit that never change, zero or "no value" where a point will stand."""
        image = self.template.copy()
        if self.chain is not None:
            start = self.chain.starts[1] - self.chain.base
            for offset, words in string_words(self.profile.manufacturer, self.profile.model, serial):
                image[start + offset : start + offset + len(words)] = words
        return image

    def images(self, values: Mapping[str, FloatArray], templates: WordArray) -> WordArray:
        """Return the registers of m units, [m, words], from the values of their quantities, each [m]."""
        image = templates.copy()
        for point, position in zip(self.points, self._places, strict=True):
            words = point.words(point.raw(values))
            target = image[:, position : position + point.registers]
            if point.bits:
                first, last = point.bits
                low = np.uint64(((1 << (last - first + 1)) - 1) << first)
                target &= ~point.words(np.array([low], dtype=np.uint64))
                target |= words
            else:
                target[:] = words
        return image

    def plan(self, function: int, address: int, count: int) -> Span | int:
        """Return which bytes of an image answer a read, or the exception code by which the device refuses it."""
        key = (function, address, count)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            known = self._plans[key] = self._plan(function, address, count)
        return known

    def _plan(self, function: int, address: int, count: int) -> Span | int:
        tables = {segment.table for segment in self.segments}
        table = _TABLE_OF_FUNCTION.get(function, "")
        if self.quirks.tables_alike and table:
            table = next(iter(tables))
        if table not in tables:
            return ILLEGAL_FUNCTION
        if not 1 <= count <= min(self.max_registers, 125) or (self.quirks.even_reads_only and count % 2):
            return ILLEGAL_VALUE
        for segment in self.segments:
            if segment.table != table or not segment.start <= address < segment.stop:
                continue
            if segment.exact:
                if address == segment.start:
                    whole = count == segment.stop - segment.start
                    return Span(2 * segment.position, 2 * (segment.position + count)) if whole else ILLEGAL_VALUE
                continue
            if address + count > segment.stop or (self.quirks.whole_values_only and self._splits(address, count)):
                return ILLEGAL_ADDRESS
            start = segment.position + address - segment.start
            return Span(2 * start, 2 * (start + count))
        return ILLEGAL_ADDRESS

    def _splits(self, address: int, count: int) -> bool:
        edges = (address, address + count)
        return any(p.address < edge < p.address + p.registers for p in self.points for edge in edges)

    def _position(self, table: str, address: int) -> int:
        for segment in self.segments:
            inside = address == segment.start if segment.exact else segment.start <= address < segment.stop
            if segment.table == table and inside:
                return segment.position + address - segment.start
        raise KeyError(f"{table} register {address} of {self.profile.profile}")


def wanted_quantities(layout: Layout) -> tuple[str, ...]:
    """Return the quantities that the points of a layout need, each once."""
    names = dict.fromkeys(point.quantity for point in layout.points)
    if any(point.encoding == "four_quadrant_power_factor" for point in layout.points):
        names["reactive_power_kvar"] = None
    return tuple(names)


def _table_of(layout: ModbusMap, scale_address: int) -> str:
    """A scale register stands in the table of the points that it scales."""
    for point in layout.points:
        if point.scale_register and point.scale_register.address == scale_address:
            return point.table.value
    raise KeyError(scale_address)


def _hole(layout: ModbusMap) -> int:
    """What reads in a register between two points: no value where the device has such a word, else 0."""
    return next((raw[0] for kind, raw in layout.not_available.items() if kind.registers == 1 and raw), 0)


def _segments(
    points: Sequence[RegisterPoint], scales: Sequence[tuple[str, int]], layout: ModbusMap, quirks: _Quirks
) -> list[_Segment]:
    """Merge points into readable ranges across holes that the profile reads through."""
    places = sorted({(p.table, p.address, p.registers) for p in points} | {(table, at, 1) for table, at in scales})
    gap = 0 if quirks.unlisted_refused else layout.max_gap_registers
    ranges: list[tuple[str, int, int]] = []
    for table, start, length in places:
        if ranges and not layout.one_point_per_request and ranges[-1][0] == table and start - ranges[-1][2] <= gap:
            ranges[-1] = (table, ranges[-1][1], max(ranges[-1][2], start + length))
        else:
            ranges.append((table, start, start + length))
    segments: list[_Segment] = []
    position = 0
    for table, start, stop in ranges:
        segments.append(_Segment(table, start, stop, position, exact=layout.one_point_per_request))
        position += stop - start
    return segments
