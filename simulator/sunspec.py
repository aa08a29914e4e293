"""The chain of models in a SunSpec device: marker, common model, the models with the profile's points, end.

Source of layouts: SunSpec Information Model Specification and its published model definitions 1, 103 and 160. Offsets
count from a model's ID register.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import RunState
from simulator.points import Exponents, RegisterPoint, ScaleKey, WordArray

__all__ = ["Chain", "chain_of", "string_words"]

_NOT_IMPLEMENTED = {"u": 0xFFFF, "i": 0x8000, "a": 0, "b": 0xFFFF, "z": 0}

# One letter for each register after ID and length: unsigned or enumerated, signed or scale factor, accumulator,
# bit field, and z for what reads 0 (no event).
_SHAPES: Mapping[int, str] = MappingProxyType(
    {
        103: "uuuu i uuuuuu i i i u i i i i i i i aa i u i u i i i iiii i uu zzzz bbbbbbbb".replace(" ", ""),
        160: "iiii zz u u u zzzzzzzz u u u aa bb i u bb".replace(" ", ""),
    }
)

_COMMON_LENGTH = 66
_STATES = MappingProxyType(
    {1: RunState.OFF, 3: RunState.STARTING, 4: RunState.RUNNING, 5: RunState.THROTTLED, 7: RunState.FAULT}
)


@dataclass(frozen=True, slots=True)
class _Extra:
    """A point of a model that a device has although the profile does not read it."""

    quantity: str
    model: int
    offset: int
    type: RegisterType
    scale: float = 1.0
    scale_offset: int | None = None


_U16, _I16, _U32 = RegisterType.U16, RegisterType.I16, RegisterType.U32

# Mandatory points of model 103, and the first tracker of model 160.
_EXTRAS = (
    _Extra("current_total_a", 103, 2, _U16, 1.0, 6),
    _Extra("current_l1_a", 103, 3, _U16, 1.0, 6),
    _Extra("current_l2_a", 103, 4, _U16, 1.0, 6),
    _Extra("current_l3_a", 103, 5, _U16, 1.0, 6),
    _Extra("voltage_l1_n_v", 103, 10, _U16, 1.0, 13),
    _Extra("voltage_l2_n_v", 103, 11, _U16, 1.0, 13),
    _Extra("voltage_l3_n_v", 103, 12, _U16, 1.0, 13),
    _Extra("active_power_kw", 103, 14, _I16, -0.001, 15),
    _Extra("frequency_hz", 103, 16, _U16, 1.0, 17),
    _Extra("energy_export_kwh", 103, 24, _U32, 0.001, 26),
    _Extra("cabinet_temperature_c", 103, 33, _I16, 1.0, 37),
    _Extra("run_state", 103, 38, _U16),
    _Extra("dc_current_a", 160, 19, _U16, 1.0, 2),
    _Extra("dc_voltage_v", 160, 20, _U16, 1.0, 3),
    _Extra("dc_power_kw", 160, 21, _U16, 0.001, 4),
)
_DEFAULT_POWER = {"A": 0, "V": -1, "kW": 2, "Hz": -2, "kWh": 0, "degC": 0}
_UNIT = {"current": "A", "voltage": "V", "power": "kW", "frequency": "Hz", "energy": "kWh", "temperature": "degC"}


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
    """Lay out the model chain that a profile's points need, every other register not implemented.

    Raises:
        ConfigurationError: a point lies in a model whose layout is not known here.
    """
    models = sorted({point.model for point in layout.points if point.model not in {None, 1}})
    unknown = [str(model) for model in models if model not in _SHAPES]
    if unknown:
        known = ", ".join(map(str, (1, *_SHAPES)))
        raise ConfigurationError(
            f"the simulator has no layout of SunSpec model {', '.join(unknown)}; use points of {known} only"
        )
    base = layout.sunspec_bases[0]
    words = [*_ascii("SunS", 2), 1, _COMMON_LENGTH, *[0] * (_COMMON_LENGTH - 2), 1, _NOT_IMPLEMENTED["i"]]
    starts = {1: base + 2}
    for model in models:
        shape = _SHAPES[model or 0]
        starts[model or 0] = base + len(words)
        block = [_NOT_IMPLEMENTED[letter] for letter in shape]
        if model == 160:
            block[6], block[8], block[9:17] = 1, 1, _ascii("MPPT 1", 8)
        words += [model or 0, len(shape), *block]
    words += [0xFFFF, 0]
    image = np.array(words, dtype=np.uint16)
    extras = tuple(_extras(layout, exponents, starts, base, image))
    return Chain(base, image, starts, extras)


def _extras(
    layout: ModbusMap, exponents: Exponents, starts: Mapping[int, int], base: int, image: WordArray
) -> Iterable[RegisterPoint]:
    """Yield the points that the profile leaves out; writes scale factors that only they need into `image`."""
    taken = {(point.model, point.offset) for point in layout.points}
    for extra in _EXTRAS:
        if extra.model not in starts or (extra.model, extra.offset) in taken:
            continue
        scale = extra.scale
        if extra.scale_offset is not None:
            key = ScaleKey(extra.model, extra.scale_offset, divide=False)
            power = exponents.get(key, _DEFAULT_POWER[_unit_of(extra.quantity)])
            image[starts[extra.model] + extra.scale_offset - base] = power & 0xFFFF
            scale *= 10.0**power
        yield RegisterPoint(
            quantity=extra.quantity,
            table="holding",
            address=starts[extra.model] + extra.offset,
            type=extra.type,
            scale=scale,
            sentinel=0x8000 if extra.type is _I16 else 0xFFFF,
            states=_STATES if extra.quantity == "run_state" else None,
            wraps=extra.quantity == "energy_export_kwh",
        )


def _unit_of(quantity: str) -> str:
    return next(unit for word, unit in _UNIT.items() if word in quantity)


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
