"""Pure arithmetic of the two machines whose controllers tell more than their feeder does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.noise import FloatArray, IntArray, Stream, uniform

__all__ = [
    "CHILLED_WATER_C",
    "REFERENCE_COP",
    "SPECIFIC_POWER_KW_MIN_M3",
    "UNLOADED_SHARE",
    "ChillerState",
    "CompressorCycle",
    "chiller_cooling",
    "chiller_power_share",
    "compressor_cycle",
    "condenser_water_c",
    "cooling_share",
]

UNLOADED_SHARE = 0.28
"""Power of an unloaded screw compressor, of its loaded power."""

SPECIFIC_POWER_KW_MIN_M3 = 6.6
"""Loaded power for each m3/min of free air [kW/(m3/min)]; oil-injected packages take 6.0 to 7.8."""

CHILLED_WATER_C = 7.0
"""Set-point of the chilled water [C]."""

REFERENCE_COP = 5.5

# Curves of the DOE-2 electric chiller model for a centrifugal machine of COP 5.50, x = leaving chilled water [C],
# y = entering condenser water [C]. Source: Modelica Buildings library, Fluid.Chillers.Data.ElectricEIR.
_CAPACITY = (0.257896, 0.0389016, -0.00021708, 0.0468684, -0.00094284, -0.00034344)
_INPUT = (0.933884, -0.058212, 0.00450036, 0.00243, 0.000486, -0.001215)
_PART_LOAD = (0.222903, 0.313387, 0.463710)


class ChillerState(NamedTuple):
    """A chiller at work: heat taken from the water, and power drawn, each of the reference cooling capacity."""

    cooling_share: FloatArray
    power_share: FloatArray

    @property
    def cop(self) -> FloatArray:
        """Cooling for each unit of power."""
        return self.cooling_share / self.power_share


def _biquadratic(c: tuple[float, ...], x: FloatArray, y: FloatArray) -> FloatArray:
    return c[0] + c[1] * x + c[2] * x**2 + c[3] * y + c[4] * y**2 + c[5] * x * y


def chiller_cooling(leaving_c: FloatArray, condenser_c: FloatArray, part_load: FloatArray) -> ChillerState:
    """Return cooling and power of a chiller, both as a share of its reference cooling capacity.

    leaving_c     leaving chilled water [C]
    condenser_c   entering condenser water [C]
    part_load     cooling / cooling available at these temperatures, 0..1

    Source: DOE-2 electric chiller model, P = Qref CAPFT EIRFT EIRFPLR / COPref.
    """
    capacity = _biquadratic(_CAPACITY, leaving_c, condenser_c)
    ratio = _biquadratic(_INPUT, leaving_c, condenser_c)
    part = _PART_LOAD[0] + _PART_LOAD[1] * part_load + _PART_LOAD[2] * part_load**2
    return ChillerState(part_load * capacity, capacity * ratio * part / REFERENCE_COP)


def condenser_water_c(wet_bulb_c: FloatArray) -> FloatArray:
    """Return the water that a cooling tower sends back [C]: 3.5 K above the wet bulb, never below 18."""
    return np.maximum(wet_bulb_c + 3.5, 18.0)


def chiller_power_share(wet_bulb_c: FloatArray, part_load: FloatArray) -> FloatArray:
    """Return the power of a chiller, of its rated power, when it makes water of CHILLED_WATER_C."""
    leaving = np.full_like(part_load, CHILLED_WATER_C)
    state = chiller_cooling(leaving, condenser_water_c(wet_bulb_c), part_load)
    return np.minimum(state.power_share * REFERENCE_COP, 1.0)


def cooling_share(wet_bulb_c: FloatArray, part_load: FloatArray) -> FloatArray:
    """Return the heat that such a chiller takes out of its water, of its reference cooling capacity."""
    leaving = np.full_like(part_load, CHILLED_WATER_C)
    return chiller_cooling(leaving, condenser_water_c(wet_bulb_c), part_load).cooling_share


class CompressorCycle(NamedTuple):
    """A compressor on knots: loaded (1) or not (0), and how full the receiver is (0 at the lower pressure)."""

    loaded: FloatArray
    receiver: FloatArray


def compressor_cycle(source: Stream, knot: IntArray, period: int, mean_load: float) -> CompressorCycle:
    """Return load and receiver pressure of a fixed-speed compressor that loads once in every `period` knots.

    The share of a cycle that is loaded varies from cycle to cycle around `mean_load`. While loaded the pressure
    rises to the upper set-point, while unloaded it falls back: both ends are the same for every cycle.
    """
    cycle = knot // period
    phase = knot - cycle * period
    wish = mean_load + 0.30 * (uniform(source, cycle) - 0.5) + 0.16 * (uniform(source, cycle // 40) - 0.5)
    length = np.clip(np.rint(wish * period), 2, period - 2)
    loaded = ((phase >= 1) & (phase <= length)).astype(np.float64)
    receiver = np.where(phase <= length, phase / length, (period - phase) / (period - length))
    return CompressorCycle(loaded, receiver)
