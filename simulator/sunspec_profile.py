"""From a profile that names SunSpec points to one with the points of the models that a simulated device has.

Offsets, types and scale factors come from pysunspec2's own device model, not from the code that the collectors use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sunspec2.device import Model

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import ModbusPoint, RegisterType, ScaleRegister
from emsd.plant.profile import Profile
from emsd.plant.sunspec_map import SunspecPoint
from emsd.quantities import BY_NAME

__all__ = ["USUAL_MODELS", "empty_model", "with_points"]

USUAL_MODELS: Final = (103, 160, 203, 302, 303, 307)
"""What a simulated device has of the models that its profile names, unless it is told otherwise; in this order."""

_GROUPS: Final[Mapping[int, dict[str, Any]]] = {160: {"module": [{}]}, 302: {"repeating": [{}]}, 303: {"temp": [{}]}}
"""Repeating groups of which a device has one."""

_TYPES: Final = {
    "int16": RegisterType.I16,
    "uint16": RegisterType.U16,
    "enum16": RegisterType.U16,
    "int32": RegisterType.I32,
    "uint32": RegisterType.U32,
    "acc32": RegisterType.U32,
    "uint64": RegisterType.U64,
    "acc64": RegisterType.U64,
    "float32": RegisterType.F32,
}
_NOT_IMPLEMENTED: Final = {"int16": 0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF, "int32": 1 << 31, "uint32": 2**32 - 1}
_THOUSANDS: Final = frozenset({"kW", "kVA", "kvar", "kWh"})


def empty_model(number: int) -> Model:
    """Return a model of the device with every point not implemented.

    Raises:
        ConfigurationError: there is no such model.
    """
    model = Model(number, data=_GROUPS.get(number, {}))
    if model.gdef is None:
        raise ConfigurationError(
            f"there is no definition of SunSpec model {number}; name one of the SunSpec Alliance's"
        )
    return model


def with_points(profile: Profile, models: Sequence[int] = USUAL_MODELS) -> Profile:
    """Return the profile of a device that has these models, in this order in its chain.

    A profile without SunSpec names stays as it is.

    Raises:
        ConfigurationError: none of the models carries anything that the profile reads.
    """
    layout = profile.modbus
    if layout is None or not layout.sunspec:
        return profile
    points = list(layout.points)
    for number in models:
        for wanted in layout.sunspec:
            carried = next((each for each in wanted.names if each in models), None)
            if carried == number:
                points.append(_point(wanted, number))
    if not points:
        shown = ", ".join(map(str, models))
        raise ConfigurationError(f"none of the SunSpec models {shown} carries what profile {profile.profile} reads")
    return profile.model_copy(update={"modbus": layout.model_copy(update={"points": tuple(points), "sunspec": ()})})


def _point(wanted: SunspecPoint, number: int) -> ModbusPoint:
    model = empty_model(number)
    group, dot, name = wanted.names[number].partition("].")
    inside = model.groups[group.partition("[")[0]][0] if dot else model
    known = inside.points[name if dot else group]
    kind, factor = known.pdef["type"], known.pdef.get("sf")
    scale = wanted.scale
    if BY_NAME[wanted.quantity].unit in _THOUSANDS:
        scale /= 1000.0
    elif known.pdef.get("units") == "Pct" and BY_NAME[wanted.quantity].unit == "1":
        scale /= 100.0
    register = None
    if isinstance(factor, str):
        register = ScaleRegister(offset=(inside.points.get(factor) or model.points[factor]).offset)
    elif isinstance(factor, int):
        scale *= 10.0**factor
    absent = _NOT_IMPLEMENTED.get(kind)
    return ModbusPoint(
        quantity=wanted.quantity,
        model=number,
        offset=known.offset,
        type=_TYPES[kind],
        scale=scale,
        add=wanted.add,
        scale_register=register,
        not_available=() if absent is None else (absent,),
        states=wanted.states[number] if wanted.states else None,
        interval_s=wanted.interval_s,
        count=wanted.count,
    )
