"""One quantity in the registers of a device: from a value to the bits on the wire, and what a reader makes of them.

This is the simulator's own encoding, by the data of the profile alone. It works on arrays: many meters, or many times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from simulator.noise import FloatArray

__all__ = [
    "BitsArray",
    "Exponents",
    "RegisterPoint",
    "ScaleKey",
    "WordArray",
    "choose_exponents",
    "point_of",
    "whole_counts",
]

BitsArray = npt.NDArray[np.uint64]
WordArray = npt.NDArray[np.uint16]

_FLOAT_TYPES = {RegisterType.F32: np.float32, RegisterType.F64: np.float64}
_BIT_TYPES = {RegisterType.F32: np.uint32, RegisterType.F64: np.uint64}
_QUIET_NAN = {RegisterType.F32: 0x7FC00000, RegisterType.F64: 0x7FF8000000000000}

# What a device says instead, when it has no code for a state.
_NEXT_BEST = {
    RunState.LOADED: (RunState.RUNNING,),
    RunState.UNLOADED: (RunState.RUNNING, RunState.STANDBY),
    RunState.RUNNING: (RunState.LOADED,),
    RunState.OFF: (RunState.STANDBY,),
    RunState.STANDBY: (RunState.OFF,),
}


class ScaleKey(NamedTuple):
    """Which register holds a power of ten: an address, or an offset in a SunSpec model."""

    model: int | None
    place: int
    divide: bool


Exponents = Mapping[ScaleKey, int]
"""What a device writes into its scale registers."""


def whole_counts(value: FloatArray, count: float) -> FloatArray:
    """Return how many counts a counter has completed; a millionth below a whole one is rounding."""
    return np.floor(value / count + 1e-6)


@dataclass(frozen=True, slots=True)
class RegisterPoint:
    """One quantity of one device; `scale` includes the power of ten of its scale register."""

    quantity: str
    table: str
    address: int
    type: RegisterType
    scale: float = 1.0
    add: float = 0.0
    count: float | None = None
    """One count in the quantity's unit; None for gauges."""
    rollover_at: float | None = None
    sentinel: int | None = None
    encoding: Literal["plain", "four_quadrant_power_factor"] = "plain"
    bits: tuple[int, int] | None = None
    states: Mapping[int, RunState] | None = None
    words_swapped: bool = False
    bytes_swapped: bool = False
    wraps: bool = False
    """Whether it is a counter, which begins again at 0 when its register is full; a gauge stays at the end."""

    @property
    def registers(self) -> int:
        """How many registers it takes."""
        return self.type.registers

    @property
    def width_bits(self) -> int:
        """How many bits its number has."""
        return self.bits[1] - self.bits[0] + 1 if self.bits else 16 * self.registers

    def raw(self, values: Mapping[str, FloatArray]) -> BitsArray:
        """Return the bits that stand for this point's quantity in `values`; NaN becomes the sentinel.

        A power factor in four quadrants needs reactive_power_kvar beside it.
        """
        value = values[self.quantity]
        if self.encoding == "four_quadrant_power_factor":
            value = _in_four_quadrants(value, values["reactive_power_kvar"])
        if self.states is not None:
            value = self._state_codes()[value.astype(np.intp)]
        if self.rollover_at is not None:
            value = np.mod(value, self.rollover_at)
        missing = np.isnan(value)
        bits = self._float_bits(value) if self.type in _FLOAT_TYPES else self._integer_bits(value, missing)
        if missing.any():
            bits = np.where(missing, np.uint64(self._no_value()), bits)
        return bits << np.uint64(self.bits[0]) if self.bits else bits

    def read_back(self, raw: BitsArray) -> FloatArray:
        """Return the value in the quantity's unit that a reader of these bits gets; NaN where it is the sentinel."""
        if self.bits:
            raw = (raw >> np.uint64(self.bits[0])) & np.uint64((1 << self.width_bits) - 1)
        if self.type in _FLOAT_TYPES:
            number = raw.astype(_BIT_TYPES[self.type]).view(_FLOAT_TYPES[self.type]).astype(np.float64)
        else:
            number = self._signed(raw)
        if self.states is not None:
            known = {code: RUN_STATE_CODES[state] for code, state in self.states.items()}
            return np.array([known.get(int(code), np.nan) for code in number])
        if self.encoding == "four_quadrant_power_factor":
            number = np.where(number > 1, 2 - number, np.where(number < -1, -2 - number, number))
        value = number * self.scale + self.add
        if self.sentinel is not None:
            value = np.where(raw == np.uint64(self.sentinel), np.nan, value)
        return value

    def words(self, raw: BitsArray) -> WordArray:
        """Return the registers of bits, shape [n, registers], in the order of the device."""
        shifts = np.arange(self.registers - 1, -1, -1, dtype=np.uint64) * np.uint64(16)
        words = ((raw[:, None] >> shifts) & np.uint64(0xFFFF)).astype(np.uint16)
        if self.words_swapped:
            words = words[:, ::-1]
        return words.byteswap() if self.bytes_swapped else words

    def step_at(self, value: float) -> float:
        """Return the smallest change that shows at a value of a counter, in the quantity's unit; 0 when unknown."""
        step = self.count or 0.0
        if self.type in _FLOAT_TYPES:
            spacing = np.spacing(np.array([value / self.scale], dtype=_FLOAT_TYPES[self.type]))
            step = max(step, abs(float(spacing[0]) * self.scale))
        return step

    def _float_bits(self, value: FloatArray) -> BitsArray:
        if self.count is not None:
            value = whole_counts(value, self.count) * self.count
        number = ((value - self.add) / self.scale).astype(_FLOAT_TYPES[self.type])
        return number.view(_BIT_TYPES[self.type]).astype(np.uint64)

    def _integer_bits(self, value: FloatArray, missing: npt.NDArray[np.bool_]) -> BitsArray:
        signed = self.type.value[0] == "i"
        lowest = -(1 << (self.width_bits - 1)) if signed else 0
        highest = (1 << (self.width_bits - (1 if signed else 0))) - 1
        number = np.where(missing, 0.0, (value - self.add) / self.scale)
        if self.wraps:
            number = np.mod(np.floor(number + 1e-6), float(highest + 1))
        else:
            number = np.clip(np.rint(number), lowest, highest)
        mask = np.uint64((1 << self.width_bits) - 1)
        return number.astype(np.int64).astype(np.uint64) & mask

    def _signed(self, raw: BitsArray) -> FloatArray:
        if self.type.value[0] == "u":
            return raw.astype(np.float64)
        unused = np.uint64(64 - self.width_bits)
        return ((raw << unused).astype(np.int64) >> unused.astype(np.int64)).astype(np.float64)

    def _no_value(self) -> int:
        if self.sentinel is not None:
            return self.sentinel
        return _QUIET_NAN.get(self.type, 0)

    def _state_codes(self) -> FloatArray:
        """Return the device's code for each canonical state, NaN where it has none."""
        codes = {state: code for code, state in sorted((self.states or {}).items(), reverse=True)}
        best = ((state, *_NEXT_BEST.get(state, ())) for state in RunState)
        return np.array([next((float(codes[s]) for s in choice if s in codes), np.nan) for choice in best])


def _in_four_quadrants(power_factor: FloatArray, reactive: FloatArray) -> FloatArray:
    """Encode as 4Q_FP_PF: with leading current the distance to 1 (or -1) is counted beyond it.

    Source: Schneider Electric iEM3000 user manual DOCA0005EN-04, p. 109.
    """
    leading = np.where(power_factor < 0, -2.0 - power_factor, 2.0 - power_factor)
    return np.where(reactive < 0, leading, power_factor)


def point_of(point: ModbusPoint, layout: ModbusMap, exponents: Exponents, address: int) -> RegisterPoint:
    """Return a profile's point at an absolute address, with its scale register's power of ten worked in."""
    counter = BY_NAME[point.quantity].kind is Kind.COUNTER
    key = scale_key(point)
    power = 0 if key is None else -exponents[key] if key.divide else exponents[key]
    scale = point.scale * 10.0**power
    listed = point.not_available if point.not_available is not None else layout.not_available.get(point.type, ())
    whole = point.type not in _FLOAT_TYPES
    return RegisterPoint(
        quantity=point.quantity,
        table=point.table.value,
        address=address,
        type=point.type,
        scale=scale,
        add=point.add,
        count=(abs(scale) if whole else point.count) if counter else None,
        rollover_at=point.rollover_at,
        sentinel=listed[-1] if listed else None,
        encoding=point.encoding,
        bits=point.bits,
        states=point.states,
        words_swapped=layout.word_order == "little",
        bytes_swapped=layout.byte_order == "little",
        wraps=counter and whole,
    )


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


def _finest_power(point: ModbusPoint, rated_kw: float, nominal_v: float) -> int:
    if BY_NAME[point.quantity].kind is Kind.COUNTER or point.type in _FLOAT_TYPES:
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
