"""What a device has set in itself: the powers of ten of its scale registers, its transformer ratios and unit codes.

A device of the simulator chooses them like an electrician would: the finest scale that its largest value fits, current
transformers of 1000/5 A, no voltage transformers, and the first unit that its profile knows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, ModbusPoint, Parameter, RegisterType
from emsd.quantities import BY_NAME, Kind

__all__ = [
    "Exponents",
    "ScaleKey",
    "choose_exponents",
    "choose_parameters",
    "parameter_bits",
    "scale_key",
    "scaling_with",
]

_CURRENT_RATIO = 200.0
"""1000 A / 5 A."""


class ScaleKey(NamedTuple):
    """Which register holds a power of ten: an address, or an offset in a SunSpec model."""

    model: int | None
    place: int
    divide: bool


Exponents = Mapping[ScaleKey, int]
"""What a device writes into its scale registers."""


def scale_key(point: ModbusPoint) -> ScaleKey | None:
    """Return which register holds a point's power of ten."""
    register = point.scale_register
    if register is None:
        return None
    if register.address is not None:
        return ScaleKey(None, register.address, register.divide)
    return ScaleKey(point.model, register.offset or 0, register.divide)


def choose_exponents(layout: ModbusMap, rated_kw: float, nominal_v: float) -> dict[ScaleKey, int]:
    """Return what a device of this size writes into its scale registers: the finest that its largest value fits.

    rated_kw    rated power [kW]
    nominal_v   voltage line to line [V]
    """
    chosen: dict[ScaleKey, int] = {}
    for point in layout.points:
        key = scale_key(point)
        if key is not None:
            power = _finest_power(point, rated_kw, nominal_v)
            chosen[key] = max(chosen.get(key, -9), power)
    return {key: -power if key.divide else power for key, power in chosen.items()}


def choose_parameters(layout: ModbusMap, given: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the value of every parameter of a device, those `given` as they are.

    Raises:
        ConfigurationError: there is no such parameter, or its register cannot hold the value.
    """
    known = {parameter.name: parameter for parameter in layout.parameters}
    unknown = sorted(set(given or ()) - set(known))
    if unknown:
        raise ConfigurationError(
            f"the device has no parameter {', '.join(unknown)}; its profile knows {', '.join(known) or 'none'}"
        )
    values = {name: _usual(parameter, layout) for name, parameter in known.items()} | dict(given or {})
    for name, parameter in known.items():
        _check_fits(parameter, values[name])
    return values


def scaling_with(point: ModbusPoint, parameters: Mapping[str, float]) -> tuple[float, float]:
    """Return scale and offset of a point on a device with these parameters, its scale register left out."""
    scale, add = point.scale, point.add
    if point.choice is not None:
        case = point.choice.cases.get(round(parameters[point.choice.parameter]), point.choice.otherwise)
        if case is None:
            raise ConfigurationError(
                f"{point.quantity} has no meaning while {point.choice.parameter} is "
                f"{parameters[point.choice.parameter]:g}; give the device one of {sorted(point.choice.cases)}"
            )
        scale = scale if case.scale is None else case.scale
        add = add if case.add is None else case.add
    for name in point.times:
        scale *= parameters[name]
    return scale / (parameters[point.divided_by] if point.divided_by else 1.0), add


def _usual(parameter: Parameter, layout: ModbusMap) -> float:
    for point in layout.points:
        if point.choice is not None and point.choice.parameter == parameter.name:
            return float(next(iter(point.choice.cases)))
    value = _CURRENT_RATIO if "current" in parameter.name else 1.0
    low = value if parameter.minimum is None else parameter.minimum
    high = value if parameter.maximum is None else parameter.maximum
    return min(max(value, low), high)


def parameter_bits(parameter: Parameter, value: float) -> tuple[int, int]:
    """Return which bits of its registers a parameter has for itself, and those bits for a value."""
    first, last = parameter.bits or (0, 16 * parameter.type.registers - 1)
    mask = (1 << (last - first + 1)) - 1
    if parameter.type in INTEGER_WIDTH_BITS:
        number = round(value / parameter.scale) & mask
    else:
        single = parameter.type is RegisterType.F32
        number = int.from_bytes(struct.pack(">f" if single else ">d", value / parameter.scale), "big")
    return mask << first, number << first


def _check_fits(parameter: Parameter, value: float) -> None:
    if parameter.type not in INTEGER_WIDTH_BITS:
        return
    first, last = parameter.bits or (0, INTEGER_WIDTH_BITS[parameter.type] - 1)
    raw = value / parameter.scale
    bits = last - first + 1
    signed = parameter.type.value[0] == "i"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if abs(raw - round(raw)) > 1e-6 or not low <= round(raw) <= high:
        raise ConfigurationError(f"parameter {parameter.name} cannot be {value:g}: its register cannot hold that")


def _finest_power(point: ModbusPoint, rated_kw: float, nominal_v: float) -> int:
    floating = point.type in {RegisterType.F32, RegisterType.F64}
    if BY_NAME[point.quantity].kind is Kind.COUNTER or floating:
        return 0
    bits = 16 * point.type.registers - (1 if point.type.value[0] == "i" else 0)
    room = 0.95 * 2**bits * abs(point.scale)
    needed = _largest(point.quantity, rated_kw, nominal_v) / room
    return next((power for power in range(-2, 6) if 10.0**power >= needed), 6)


def _largest(quantity: str, rated_kw: float, nominal_v: float) -> float:
    """Return the largest value that a quantity takes on equipment of this size, in its unit."""
    unit = BY_NAME[quantity].unit
    sizes = {
        "kW": 1.3 * rated_kw,
        "kvar": 1.3 * rated_kw,
        "kVA": 1.3 * rated_kw,
        "A": 1.6 * rated_kw * 1000.0 / (1.732 * min(nominal_v, 600.0)),
        "V": max(1.3 * nominal_v, 1100.0),
        "W/m2": 1600.0,
        "Hz": 70.0,
        "degC": 250.0,
        "%": 200.0,
        "1": 1.1,
    }
    return sizes.get(unit, BY_NAME[quantity].maximum)
