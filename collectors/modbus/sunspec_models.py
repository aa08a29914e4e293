"""The published definitions of SunSpec models, as pysunspec2 ships them: where a point stands, and what it holds.

Source: SunSpec Alliance, model definitions in JSON (github.com/sunspec/models), and the Device Information Model
Specification V1.1 for types and their "not implemented" patterns.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, Literal

import orjson

from emsd.plant.modbus_map import IdentityRegister, ModbusPoint, RegisterType, ScaleRegister
from emsd.plant.sunspec_map import SunspecPoint
from emsd.quantities import BY_NAME

__all__ = ["COMMON_MODEL", "Definition", "DefinitionPoint", "definition", "identity_of", "resolve"]

COMMON_MODEL: Final = 1
"""The model that says who the device is."""

_TYPES: Final[Mapping[str, tuple[RegisterType, tuple[int, ...]]]] = MappingProxyType(
    {
        "int16": (RegisterType.I16, (0x8000,)),
        "uint16": (RegisterType.U16, (0xFFFF,)),
        "raw16": (RegisterType.U16, ()),
        "count": (RegisterType.U16, (0,)),
        "acc16": (RegisterType.U16, (0,)),
        "enum16": (RegisterType.U16, (0xFFFF,)),
        "bitfield16": (RegisterType.U16, (0xFFFF,)),
        "sunssf": (RegisterType.I16, (0x8000,)),
        "int32": (RegisterType.I32, (0x8000_0000,)),
        "uint32": (RegisterType.U32, (0xFFFF_FFFF,)),
        "acc32": (RegisterType.U32, (0,)),
        "enum32": (RegisterType.U32, (0xFFFF_FFFF,)),
        "bitfield32": (RegisterType.U32, (0xFFFF_FFFF,)),
        "int64": (RegisterType.I64, (0x8000_0000_0000_0000,)),
        "uint64": (RegisterType.U64, (0xFFFF_FFFF_FFFF_FFFF,)),
        "acc64": (RegisterType.U64, (0,)),
        "bitfield64": (RegisterType.U64, (0xFFFF_FFFF_FFFF_FFFF,)),
        "float32": (RegisterType.F32, ()),
        "float64": (RegisterType.F64, ()),
    }
)
"""Type of the definitions to what the registers hold and the patterns for "not implemented" (any NaN for floats). An
accumulator of 0 is not accumulating. Some devices write FFFFh.. into accumulators too; `_also_absent` says where."""

_ALSO_ABSENT: Final = MappingProxyType({"acc32": (0xFFFF_FFFF,), "acc64": (0xFFFF_FFFF_FFFF_FFFF,)})
_IDENTITY: Final[tuple[tuple[Literal["serial", "model", "firmware"], str], ...]] = (
    ("serial", "SN"),
    ("model", "Md"),
    ("firmware", "Vr"),
)
_FACTORS: Final = MappingProxyType(
    {
        ("W", "kW"): 1e-3,
        ("VA", "kVA"): 1e-3,
        ("var", "kvar"): 1e-3,
        ("Var", "kvar"): 1e-3,
        ("Wh", "kWh"): 1e-3,
        ("VAh", "kVAh"): 1e-3,
        ("varh", "kvarh"): 1e-3,
        ("Varh", "kvarh"): 1e-3,
        ("Pct", "1"): 1e-2,
        ("Pct", "%"): 1.0,
        ("PF", "1"): 1.0,
        ("", "1"): 1.0,
        ("", "code"): 1.0,
        ("C", "degC"): 1.0,
        ("HPa", "hPa"): 1.0,
        ("mps", "m/s"): 1.0,
    }
)
"""Unit of a definition and of a quantity to the factor between them; equal units need none."""
_MOST_REPEATS: Final = 64


@dataclass(frozen=True, slots=True)
class DefinitionPoint:
    """One point of a model.

    `offset` counts registers from the model's number; `scale_offset` says where its scale factor stands, or
    `scale_power` what it is when the definition fixes it.
    """

    name: str
    offset: int
    registers: int
    type: str
    unit: str = ""
    scale_offset: int | None = None
    scale_power: int = 0

    @property
    def is_number(self) -> bool:
        """Whether it holds a number."""
        return self.type in _TYPES


@dataclass(frozen=True, slots=True)
class Definition:
    """One model: its points by name; those of the n-th instance of a repeating group are `group[n].Name`."""

    number: int
    name: str
    title: str
    points: Mapping[str, DefinitionPoint]


@lru_cache(maxsize=256)
def definition(number: int, length: int | None = None) -> Definition | None:
    """Return the definition of a model; None when there is none for this number.

    Args:
        number: the model's number.
        length: length that the device gives for it [registers], which decides how often a group repeats; None takes
            each repeating group once.
    """
    try:
        text = resources.files("sunspec2.models.json").joinpath(f"model_{number}.json").read_bytes()
    except FileNotFoundError:
        return None
    group = orjson.loads(text)["group"]
    points = {point.name: point for point in _laid_out(group, length)}
    return Definition(number, group["name"], group.get("label", group["name"]), MappingProxyType(points))


def resolve(wanted: Sequence[SunspecPoint], models: Mapping[int, int]) -> tuple[ModbusPoint, ...]:
    """Return the points that a device with these models can deliver, by model and offset.

    Args:
        wanted: quantities, with their points by model.
        models: numbers of the models that the device has; what they map to is not used.

    Raises:
        ValueError: a model has no definition, or no such point.
    """
    found: list[ModbusPoint] = []
    for each in wanted:
        number = next((number for number in each.names if number in models), None)
        if number is not None:
            found.append(_modbus_point(each, number))
    return tuple(found)


def identity_of(models: Mapping[int, int]) -> tuple[IdentityRegister, ...]:
    """Return where a device says who it is: serial number, model and version in its common model.

    Args:
        models: where each model begins.
    """
    common = definition(COMMON_MODEL)
    at = models.get(COMMON_MODEL)
    if common is None or at is None:
        return ()
    return tuple(
        IdentityRegister(
            what=what, address=at + common.points[name].offset, type="text", registers=common.points[name].registers
        )
        for what, name in _IDENTITY
    )


def _modbus_point(wanted: SunspecPoint, number: int) -> ModbusPoint:
    name = wanted.names[number]
    known = definition(number, _long_enough(name))
    if known is None:
        raise ValueError(f"{wanted.quantity}: there is no definition of SunSpec model {number}")
    point = known.points.get(name)
    if point is None or not point.is_number:
        raise ValueError(f"{wanted.quantity}: SunSpec model {number} ({known.name}) has no number {name}")
    kind, absent = _TYPES[point.type]
    return ModbusPoint(
        quantity=wanted.quantity,
        model=number,
        offset=point.offset,
        type=kind,
        scale=wanted.scale * _factor(wanted.quantity, point) * 10.0**point.scale_power,
        add=wanted.add,
        scale_register=None if point.scale_offset is None else ScaleRegister(offset=point.scale_offset),
        not_available=absent + _ALSO_ABSENT.get(point.type, ()),
        states=wanted.states[number] if wanted.states is not None else None,
        interval_s=wanted.interval_s,
        count=wanted.count,
    )


def _factor(quantity: str, point: DefinitionPoint) -> float:
    wanted = BY_NAME[quantity].unit
    if point.unit == wanted:
        return 1.0
    factor = _FACTORS.get((point.unit, wanted))
    if factor is None:
        raise ValueError(f"{quantity} is in {wanted}, but SunSpec point {point.name} in {point.unit or 'no unit'}")
    return factor


def _long_enough(name: str) -> int | None:
    """Return a length of the model in which the instance of a repeating group that `name` speaks of exists."""
    instance = re.search(r"\[(\d+)\]", name)
    return None if instance is None or instance[1] == "0" else 65535


def _laid_out(group: Mapping[str, Any], length: int | None) -> Iterator[DefinitionPoint]:
    end = yield from _points(group, 0, "", {})
    repeating = group.get("groups", [])
    for inner in repeating:
        size = sum(int(point["size"]) for point in inner["points"])
        times = _repeats(inner, length, end, size, last=inner is repeating[-1])
        scales = {point["name"]: _offset_of(group, point["name"]) for point in group["points"]}
        for instance in range(times):
            end = yield from _points(inner, end, f"{inner['name']}[{instance}].", scales)


def _repeats(inner: Mapping[str, Any], length: int | None, end: int, size: int, *, last: bool) -> int:
    count = inner.get("count", 1)
    if isinstance(count, int) and count > 0:
        return count
    if length is None or not last or size == 0:
        return 1
    return min(max(0, (length + 2 - end) // size), _MOST_REPEATS)


def _points(
    group: Mapping[str, Any], start: int, prefix: str, outer_scales: Mapping[str, int]
) -> Generator[DefinitionPoint, None, int]:
    """Yield the points of one instance of a group from `start` on; return where the next one begins."""
    own = {point["name"]: start + _offset_of(group, point["name"]) for point in group["points"]}
    scales = {**outer_scales, **own}
    at = start
    for point in group["points"]:
        factor = point.get("sf")
        yield DefinitionPoint(
            name=prefix + point["name"],
            offset=at,
            registers=int(point["size"]),
            type=point["type"],
            unit=point.get("units", ""),
            scale_offset=scales[factor] if isinstance(factor, str) else None,
            scale_power=factor if isinstance(factor, int) else 0,
        )
        at += int(point["size"])
    return at


def _offset_of(group: Mapping[str, Any], name: str) -> int:
    offset = 0
    for point in group["points"]:
        if point["name"] == name:
            return offset
        offset += int(point["size"])
    raise KeyError(name)
