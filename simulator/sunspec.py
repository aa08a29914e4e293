"""The chain of models in a SunSpec device: marker, common model, the models with the profile's points, end.

Registers that no point fills are "not implemented", as pysunspec2 writes them from the published model definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from simulator.device_settings import Exponents, ScaleKey
from simulator.points import RegisterPoint
from simulator.sunspec_profile import empty_model
from simulator.words import WordArray

__all__ = ["Chain", "chain_of", "string_words"]

_COMMON: Final = 1
_NAMEPLATE: Final = 120
_PHOTOVOLTAIC: Final = 4
_INVERTERS: Final = frozenset({101, 102, 103, 111, 112, 113})
_MANDATORY: Final[Mapping[int, tuple[tuple[str, str, str, float], ...]]] = {
    **dict.fromkeys(_INVERTERS, (("", "A", "current_total_a", 1.0),)),
    160: (("module", "DCA", "dc_current_a", 1.0), ("module", "DCW", "dc_power_kw", 1000.0)),
}
"""By model: repeating group, point, what it shows, and the definition's units in one of the quantity's."""
_DEFAULT_POWERS: Final = {"dc_power_kw": 2}


@dataclass(frozen=True, slots=True)
class Chain:
    """A device's registers from `base` on, and where its models begin."""

    base: int
    words: WordArray
    starts: Mapping[int, int]
    extras: tuple[RegisterPoint, ...]

    def address(self, point: ModbusPoint) -> int:
        """Return the absolute address of a point given by model and offset."""
        return self.starts[point.model or 0] + (point.offset or 0)

    def scale_address(self, key: ScaleKey) -> int:
        """Return the absolute address of a scale register."""
        return self.starts[key.model or 0] + key.place


def chain_of(layout: ModbusMap, exponents: Exponents) -> Chain:
    """Lay out the model chain that a profile's points need, in the order of the points, the common model first.

    An inverter has its nameplate (model 120) too.

    Raises:
        ConfigurationError: a model has no definition.
    """
    models = [_COMMON, *dict.fromkeys(p.model for p in layout.points if p.model not in {None, _COMMON})]
    if _INVERTERS.intersection(models):
        models.insert(1, _NAMEPLATE)
    base = layout.sunspec_bases[0]
    words = _ascii("SunS", 2)
    starts: dict[int, int] = {}
    for number in models:
        starts[number or 0] = base + len(words)
        words += _registers(number or 0)
    words += [0xFFFF, 0]
    image = np.array(words, dtype=np.uint16)
    return Chain(base, image, starts, tuple(_also_shown(layout, exponents, starts, base, image)))


def _registers(number: int) -> list[int]:
    model = empty_model(number)
    for name in ("Evt", "Evt1", "Evt2"):
        if name in model.points:
            model.points[name].value = 0  # no event
    if number == _NAMEPLATE:
        model.points["DERTyp"].cvalue = _PHOTOVOLTAIC
    if number == 160:
        model.points["N"].value = 1
        model.groups["module"][0].points["ID"].value = 1
        model.groups["module"][0].points["IDStr"].value = "MPPT 1"
    raw: bytes = model.get_mb()
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def _also_shown(
    layout: ModbusMap, exponents: Exponents, starts: Mapping[int, int], base: int, image: WordArray
) -> Iterator[RegisterPoint]:
    """Yield what a device's models must have although the profile does not read it."""
    taken = {(point.model, point.offset) for point in layout.points}
    for number in starts:
        for group, name, quantity, divisor in _MANDATORY.get(number, ()):
            model = empty_model(number)
            point = (model.groups[group][0] if group else model).points[name]
            if (number, point.offset) in taken:
                continue
            if point.pdef["type"] == "float32":
                kind, power, sentinel = RegisterType.F32, 0, None
            else:
                kind, sentinel = RegisterType.U16, 0xFFFF
                place = model.points[point.pdef["sf"]].offset
                key = ScaleKey(number, place, divide=False)
                power = exponents.get(key, _DEFAULT_POWERS.get(quantity, 0))
                image[starts[number] + place - base] = power & 0xFFFF
            yield RegisterPoint(
                quantity=quantity,
                table="holding",
                address=starts[number] + point.offset,
                type=kind,
                scale=10.0**power / divisor,
                sentinel=sentinel,
            )


def string_words(manufacturer: str, model: str, serial: str) -> list[tuple[int, list[int]]]:
    """Return (offset in model 1, registers) of manufacturer, model, version and serial number."""
    return [
        (2, _ascii(manufacturer, 16)),
        (18, _ascii(model, 16)),
        (42, _ascii("simulated", 8)),
        (50, _ascii(serial, 16)),
    ]


def _ascii(text: str, registers: int) -> list[int]:
    raw = text.encode("ascii", "replace")[: 2 * registers].ljust(2 * registers, b"\0")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]
