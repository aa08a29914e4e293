"""Energy of a virtual meter: a linear combination of other meters' energy, minute by minute.

What is combined is import less export. Where the result is positive it is the virtual meter's import, where it is
negative its export: a view on several meters has no two directions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import US_PER_HOUR, FlagArray, FloatArray, IncrementFlag

__all__ = ["MissingPolicy", "VirtualEnergy", "VirtualInput", "combine"]

MissingPolicy: TypeAlias = Literal["unknown", "partial"]

_FULL_COVERAGE = 0.999
"""Coverage is stored as a 32-bit float; from here on a bucket is measured as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class VirtualInput:
    """One meter of an expression in k buckets; NaN where nothing is known.

    factor         what its energy is multiplied by
    net_kwh        float64[k] [kWh], import less export
    estimated_kwh  float64[k] [kWh], the estimated part of import and export together
    coverage       float64[k], 0..1
    power_avg_kw   float64[k] [kW]
    flags          uint8[k], bits of IncrementFlag
    """

    factor: float
    net_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray
    power_avg_kw: FloatArray
    flags: FlagArray


@dataclass(frozen=True, slots=True, eq=False)
class VirtualEnergy:
    """What k buckets of a virtual meter hold; NaN where nothing is known.

    net_kwh        float64[k] [kWh], import less export
    estimated_kwh  float64[k] [kWh], the part of it, without sign, that inputs spread over too long gaps
    coverage       float64[k], 0..1
    power_avg_kw   float64[k] [kW], mean power; extremes of a sum are not known from means
    known_inputs   int64[k], how many inputs knew their energy
    flags          uint8[k], those of the inputs, and PARTIAL where some of them are left out
    """

    net_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray
    power_avg_kw: FloatArray
    known_inputs: NDArray[np.int64]
    flags: FlagArray


def combine(inputs: Sequence[VirtualInput], missing: MissingPolicy, width_us: int) -> VirtualEnergy:
    """Return the sum of factor x energy of the inputs in k buckets of `width_us` [us].

    missing "unknown"  a bucket is known where every input is; its coverage is the least of theirs
    missing "partial"  what is known is combined; its coverage is the mean of theirs, an unknown one counting as 0

    Raises ValueError when there are no inputs.
    """
    if not inputs:
        raise ValueError("a virtual meter needs at least one input")
    net = np.array([each.factor * each.net_kwh for each in inputs])
    power = np.array([each.factor * _power_kw(each, width_us) for each in inputs])
    coverage = np.array([np.where(np.isnan(each.net_kwh), 0.0, each.coverage) for each in inputs])
    estimated = np.array([abs(each.factor) * each.estimated_kwh for each in inputs])
    known = np.isfinite(net)
    count = known.sum(axis=0)
    wanted = count == len(inputs) if missing == "unknown" else count > 0
    flags = np.bitwise_or.reduce(np.array([each.flags for each in inputs], dtype=np.uint8), axis=0)
    flags = np.where(wanted & (count < len(inputs)), flags | np.uint8(IncrementFlag.PARTIAL), flags)
    with_power = np.isfinite(power)
    has_power = wanted & (with_power | ~known).all(axis=0)
    net_kwh = np.where(wanted, np.where(known, net, 0.0).sum(axis=0), np.nan)
    return VirtualEnergy(
        net_kwh=net_kwh,
        estimated_kwh=np.where(
            wanted, np.minimum(np.abs(net_kwh), np.where(known, estimated, 0.0).sum(axis=0)), np.nan
        ),
        coverage=coverage.min(axis=0) if missing == "unknown" else coverage.mean(axis=0),
        power_avg_kw=np.where(has_power, np.where(known, np.nan_to_num(power), 0.0).sum(axis=0), np.nan),
        known_inputs=count,
        flags=flags.astype(np.uint8),
    )


def _power_kw(each: VirtualInput, width_us: int) -> FloatArray:
    """Mean power of an input: of its samples, else of its energy where that was measured over the whole bucket."""
    by_energy = np.where(each.coverage >= _FULL_COVERAGE, each.net_kwh * (US_PER_HOUR / width_us), np.nan)
    return np.where(np.isfinite(each.power_avg_kw), each.power_avg_kw, by_energy)
