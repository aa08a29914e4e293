"""One quantity in the registers of a device: from a value to the bits on the wire, and what a reader makes of them.

This is the simulator's own encoding, by the data of the profile alone. It works on arrays: many meters, or many times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from emsd.plant.modbus_map import ModbusMap, ModbusPoint, RegisterType
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from simulator.device_settings import Exponents, choose_parameters, scale_key, scaling_with
from simulator.noise import FloatArray
from simulator.words import BitsArray, WordArray, register_words

__all__ = ["RegisterPoint", "point_of", "whole_counts"]

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
    flags: Mapping[int, RunState] | None = None
    otherwise: RunState | None = None
    plus: tuple[int, ...] = ()
    """Addresses of further registers that share the number with the first."""
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

    @property
    def own_bits(self) -> int | None:
        """Which bits of its registers are its own; None: all of them."""
        if self.flags is not None:
            return sum(1 << bit for bit in self.flags)
        return ((1 << self.width_bits) - 1) << self.bits[0] if self.bits else None

    def raw(self, values: Mapping[str, FloatArray]) -> BitsArray:
        """Return the bits that stand for this point's quantity in `values`; NaN becomes the sentinel.

        A power factor in four quadrants needs reactive_power_kvar beside it.
        """
        value = values[self.quantity]
        if self.encoding == "four_quadrant_power_factor":
            value = _in_four_quadrants(value, values["reactive_power_kvar"])
        if self.states is not None or self.flags is not None:
            value = self._state_codes()[value.astype(np.intp)]
        if self.rollover_at is not None:
            value = np.mod(value, self.rollover_at)
        missing = np.isnan(value)
        bits = self._float_bits(value) if self.type in _FLOAT_TYPES else self._integer_bits(value, missing)
        if self.bits:
            bits = bits << np.uint64(self.bits[0])
        return np.where(missing, np.uint64(self._no_value()), bits) if missing.any() else bits

    def parts(self, raw: BitsArray) -> list[BitsArray]:
        """Return the bits of each of its registers, which share the number: day and night tariff, say."""
        if not self.plus:
            return [raw]
        total = self._number(raw)
        share = np.floor(total * 0.6 / len(self.plus))
        parts = [total - share * len(self.plus), *[share] * len(self.plus)]
        missing = raw == np.uint64(self._no_value())
        return [np.where(missing, raw, self._bits_of(part)) for part in parts]

    def read_back(self, raw: BitsArray) -> FloatArray:
        """Return the value in the quantity's unit that a reader of these bits gets; NaN where it is the sentinel."""
        if self.flags is not None:
            value = np.array([self._state_of_flags(int(each)) for each in raw])
        elif self.states is not None:
            known = {code: RUN_STATE_CODES[state] for code, state in self.states.items()}
            value = np.array([known.get(int(code), np.nan) for code in self._number(raw)])
        else:
            number = self._number(raw)
            if self.encoding == "four_quadrant_power_factor":
                number = np.where(number > 1, 2 - number, np.where(number < -1, -2 - number, number))
            value = number * self.scale + self.add
        return value if self.sentinel is None else np.where(raw == np.uint64(self.sentinel), np.nan, value)

    def words(self, raw: BitsArray) -> WordArray:
        """Return the registers of bits, shape [n, registers], in the order of the device."""
        return register_words(raw, self.registers, words_swapped=self.words_swapped, bytes_swapped=self.bytes_swapped)

    def step_at(self, value: float) -> float:
        """Return the smallest change that shows at a value of a counter, in the quantity's unit; 0 when unknown."""
        step = self.count or 0.0
        if self.type in _FLOAT_TYPES:
            spacing = np.spacing(np.array([value / self.scale], dtype=_FLOAT_TYPES[self.type]))
            step = max(step, abs(float(spacing[0]) * self.scale))
        return step

    def _number(self, raw: BitsArray) -> FloatArray:
        """Return the number that bits stand for, before any scale."""
        if self.bits:
            raw = (raw >> np.uint64(self.bits[0])) & np.uint64((1 << self.width_bits) - 1)
        if self.type in _FLOAT_TYPES:
            return raw.astype(_BIT_TYPES[self.type]).view(_FLOAT_TYPES[self.type]).astype(np.float64)
        return self._signed(raw)

    def _bits_of(self, number: FloatArray) -> BitsArray:
        if self.type in _FLOAT_TYPES:
            return number.astype(_FLOAT_TYPES[self.type]).view(_BIT_TYPES[self.type]).astype(np.uint64)
        return number.astype(np.int64).astype(np.uint64) & np.uint64((1 << self.width_bits) - 1)

    def _float_bits(self, value: FloatArray) -> BitsArray:
        if self.count is not None:
            value = whole_counts(value, self.count) * self.count
        return self._bits_of((value - self.add) / self.scale)

    def _integer_bits(self, value: FloatArray, missing: npt.NDArray[np.bool_]) -> BitsArray:
        signed = self.type.value[0] == "i" and self.flags is None
        lowest = -(1 << (self.width_bits - 1)) if signed else 0
        highest = (1 << (self.width_bits - (1 if signed else 0))) - 1
        number = np.where(missing, 0.0, (value - self.add) / self.scale)
        if self.wraps:
            number = np.mod(np.floor(number + 1e-6), float(highest + 1))
        else:
            number = np.clip(np.rint(number), lowest, highest)
        return self._bits_of(number)

    def _signed(self, raw: BitsArray) -> FloatArray:
        if self.type.value[0] == "u":
            return raw.astype(np.float64)
        unused = np.uint64(64 - self.width_bits)
        return ((raw << unused).astype(np.int64) >> unused.astype(np.int64)).astype(np.float64)

    def _no_value(self) -> int:
        if self.sentinel is not None:
            return self.sentinel
        if self.states is not None:
            unknown = next(code for code in range(1 << self.width_bits) if code not in self.states)
            return unknown << (self.bits[0] if self.bits else 0)
        return _QUIET_NAN.get(self.type, 0)

    def _state_codes(self) -> FloatArray:
        """Return the device's code for each canonical state, NaN where it has none."""
        if self.flags is not None:
            codes = {state: 1 << bit for bit, state in reversed(list(self.flags.items()))}
            if self.otherwise is not None:
                codes.setdefault(self.otherwise, 0)
        else:
            codes = {state: code for code, state in sorted((self.states or {}).items(), reverse=True)}
        best = ((state, *_NEXT_BEST.get(state, ())) for state in RunState)
        return np.array([next((float(codes[s]) for s in choice if s in codes), np.nan) for choice in best])

    def _state_of_flags(self, raw: int) -> float:
        flags = self.flags or {}
        state = next((state for bit, state in flags.items() if raw & 1 << bit), self.otherwise)
        return np.nan if state is None else RUN_STATE_CODES[state]


def _in_four_quadrants(power_factor: FloatArray, reactive: FloatArray) -> FloatArray:
    """Encode as 4Q_FP_PF: with leading current the distance to 1 (or -1) is counted beyond it.

    Source: Schneider Electric iEM3000 user manual DOCA0005EN-04, p. 109.
    """
    leading = np.where(power_factor < 0, -2.0 - power_factor, 2.0 - power_factor)
    return np.where(reactive < 0, leading, power_factor)


def point_of(
    point: ModbusPoint,
    layout: ModbusMap,
    exponents: Exponents,
    address: int,
    parameters: Mapping[str, float] | None = None,
) -> RegisterPoint:
    """Return a profile's point at an absolute address, its power of ten and the device's parameters worked in.

    parameters  every parameter of the device; None: what a device of the simulator has.
    """
    counter = BY_NAME[point.quantity].kind is Kind.COUNTER
    key = scale_key(point)
    power = 0 if key is None else -exponents[key] if key.divide else exponents[key]
    scale, add = scaling_with(point, choose_parameters(layout) if parameters is None else parameters)
    scale *= 10.0**power
    listed = point.not_available if point.not_available is not None else layout.not_available.get(point.type, ())
    whole = point.type not in _FLOAT_TYPES
    return RegisterPoint(
        quantity=point.quantity,
        table=point.table.value,
        address=address,
        type=point.type,
        scale=scale,
        add=add,
        count=(abs(scale) if whole else point.count) if counter else None,
        rollover_at=point.rollover_at,
        sentinel=listed[-1] if listed else None,
        encoding=point.encoding,
        bits=point.bits,
        states=point.states,
        flags=point.flags,
        otherwise=point.otherwise,
        plus=point.plus,
        words_swapped=layout.word_order == "little",
        bytes_swapped=layout.byte_order == "little",
        wraps=counter and whole,
    )
