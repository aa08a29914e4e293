"""The registers of a device model: which can be read, what stands in them, and how the device refuses.

A layout belongs to a profile and the powers of ten in its scale registers; units of equal size share one. The image of
a unit is one run of words, made of segments: each segment is a range of addresses that the device answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from emsd.plant.modbus_map import ForbiddenRange, ModbusMap, Parameter
from emsd.plant.profile import Profile
from simulator.device_settings import Exponents, choose_parameters, parameter_bits
from simulator.identities import identity_text, identity_words
from simulator.noise import FloatArray
from simulator.points import RegisterPoint, point_of
from simulator.segments import Place, Segment, overlaps, place_of, places_alone, places_of, scale_table, segments_of
from simulator.sunspec import Chain, chain_of, string_words
from simulator.words import WordArray, words_of

__all__ = ["ILLEGAL_ADDRESS", "ILLEGAL_FUNCTION", "ILLEGAL_VALUE", "Layout", "Span", "wanted_quantities"]

# Exception codes: Modbus application protocol V1.1b3, section 7.
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3

_TABLE_OF_FUNCTION = {3: "holding", 4: "input"}
_PLANS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Quirks:
    """How a device model differs from what its profile can say; sources stand in the profile."""

    whole_values_only: bool = False
    unlisted_refused: bool = False
    tables_alike: bool = False
    """Holding and input registers are the same."""


_QUIRKS: Mapping[str, _Quirks] = {
    "eastron_sdm630": _Quirks(whole_values_only=True),
    "ingersoll_rand_xe": _Quirks(unlisted_refused=True),
    "kipp_zonen_smp": _Quirks(tables_alike=True),
    "siemens_pac3200": _Quirks(whole_values_only=True),
}


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of an image that answer a read."""

    start: int
    stop: int


@dataclass(slots=True)
class Layout:
    """Built once for each device model and size; see `Layout.of`."""

    profile: Profile
    points: tuple[RegisterPoint, ...]
    template: WordArray
    segments: tuple[Segment, ...]
    max_registers: int
    align_registers: int
    forbidden: tuple[ForbiddenRange, ...]
    quirks: _Quirks
    alone: Mapping[Place, int]
    """Registers that mean something else when they are read by themselves, and where that stands in the image."""
    chain: Chain | None = None
    _places: tuple[tuple[int, ...], ...] = ()
    _plans: dict[tuple[int, int, int], Span | int] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile, exponents: Exponents, parameters: Mapping[str, float] | None = None) -> Layout:
        """Lay out a profile with a `modbus` map.

        parameters  what the device has set for some or all of its parameters, where it is not the usual.

        Raises:
            ConfigurationError: the profile needs a SunSpec model that the simulator does not know, or a parameter
                cannot be what is given.
            ValueError: it has no `modbus` map.
        """
        layout = profile.modbus
        if layout is None:
            raise ValueError(f"profile {profile.profile} has no registers")
        settings = choose_parameters(layout, parameters)
        chain = chain_of(layout, exponents) if layout.sunspec_bases else None
        points = tuple(
            point_of(
                point,
                layout,
                exponents,
                chain.address(point) if chain and point.model is not None else point.address or 0,
                settings,
            )
            for point in layout.points
        )
        quirks = _QUIRKS.get(profile.profile, _Quirks())
        alone: list[Place] = []
        if chain is not None:
            points += chain.extras
            segments = [Segment("holding", chain.base, chain.base + len(chain.words), 0, exact=False)]
            template = chain.words.copy()
        else:
            places, alone = places_of(points, layout, exponents)
            segments = segments_of(places, layout, gap=0 if quirks.unlisted_refused else layout.max_gap_registers)
            length = sum(s.stop - s.start for s in segments) + sum(count for _, _, count in alone)
            template = np.full(length, _hole(layout), dtype=np.uint16)
        built = cls(
            profile,
            points,
            template,
            tuple(segments),
            layout.max_registers,
            layout.align_registers,
            layout.forbidden,
            quirks,
            places_alone(segments, alone),
            chain,
        )
        built._places = tuple(
            tuple(built._position(point.table, address) for address in (point.address, *point.plus)) for point in points
        )
        for point, positions in zip(points, built._places, strict=True):
            if point.own_bits is not None:
                built.template[positions[0] : positions[0] + point.registers] = 0
        built._write_scales(layout, exponents)
        for parameter in layout.parameters:
            built._write_parameter(parameter, settings[parameter.name], layout)
        return built

    def _write_scales(self, layout: ModbusMap, exponents: Exponents) -> None:
        for key, power in exponents.items():
            address = self.chain.scale_address(key) if self.chain and key.model is not None else key.place
            table = "holding" if self.chain else scale_table(layout, key.place)
            self.template[self._position(table, address)] = words_of(power & 0xFFFF, 1, layout)[0]

    def _write_parameter(self, parameter: Parameter, value: float, layout: ModbusMap) -> None:
        registers = parameter.type.registers
        position = self._position(parameter.table.value, parameter.address)
        own, bits = parameter_bits(parameter, value)
        self.template[position : position + registers] &= ~words_of(own, registers, layout)
        self.template[position : position + registers] |= words_of(bits, registers, layout)

    def image_template(self, serial: int) -> WordArray:
        """Return the registers of one unit that never change, zero or "no value" where a point will stand."""
        image = self.template.copy()
        if self.chain is not None:
            start = self.chain.starts[1] - self.chain.base
            for offset, words in string_words(self.profile.manufacturer, self.profile.model, str(serial)):
                image[start + offset : start + offset + len(words)] = words
            return image
        layout = self.profile.modbus
        for register in layout.identity if layout else ():
            place = place_of(register)
            # A register that is a setting too says the setting.
            if layout is None or overlaps(place, [place_of(each) for each in layout.parameters]):
                continue
            words = identity_words(register, identity_text(register, self.profile, serial), layout)
            position = self.alone[place] if place in self.alone else self._position(place[0], place[1])
            image[position : position + len(words)] = words
        return image

    def images(self, values: Mapping[str, FloatArray], templates: WordArray) -> WordArray:
        """Return the registers of m units, [m, words], from the values of their quantities, each [m]."""
        image = templates.copy()
        for point, positions in zip(self.points, self._places, strict=True):
            for raw, position in zip(point.parts(point.raw(values)), positions, strict=True):
                words = point.words(raw)
                target = image[:, position : position + point.registers]
                own = point.own_bits
                if own is None:
                    target[:] = words
                else:
                    target &= ~point.words(np.array([own], dtype=np.uint64))
                    target |= words
        return image

    def turn_words(self, image: WordArray) -> None:
        """Turn the words of every number of several registers round in the image of one unit, in place."""
        for point, positions in zip(self.points, self._places, strict=True):
            for position in positions:
                image[position : position + point.registers] = image[position : position + point.registers][::-1].copy()

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
        if not 1 <= count <= min(self.max_registers, 125) or count % self.align_registers:
            return ILLEGAL_VALUE
        if address % self.align_registers or self._is_forbidden(table, address, count):
            return ILLEGAL_ADDRESS
        if (table, address, count) in self.alone:
            position = self.alone[table, address, count]
            return Span(2 * position, 2 * (position + count))
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

    def _is_forbidden(self, table: str, address: int, count: int) -> bool:
        return any(
            each.table == table and each.first < address + count and each.last >= address for each in self.forbidden
        )

    def _splits(self, address: int, count: int) -> bool:
        edges = (address, address + count)
        starts = ((start, point.registers) for point in self.points for start in (point.address, *point.plus))
        return any(start < edge < start + length for start, length in starts for edge in edges)

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


def _hole(layout: ModbusMap) -> int:
    """What reads in a register between two points: no value where the device has such a word, else 0."""
    return next((raw[0] for kind, raw in layout.not_available.items() if kind.registers == 1 and raw), 0)
