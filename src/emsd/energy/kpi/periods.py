"""The key figure of a period from its quarter hours, with coverage and the reason where there is none.

A period's figure is made of sums, never the mean of its quarter hours' figures: a chiller that idles at a COP of 2 for
a night and works at 6 by day has the COP of all its cold over all its electricity.

A quarter hour takes part when every input is known for at least half of it; what is known then stands for the whole
quarter hour, so that inputs measured for different parts of it stay comparable. Figures marked `as_counted` are plain
totals and take all that was counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from emsd.energy.kpi.definitions import KpiDefinition
from emsd.energy.kpi.figures import Quarters
from emsd.energy.series import BoolArray, FloatArray

__all__ = ["STANDSTILL_SHARE", "InputSeries", "KpiValue", "kpi_value"]

TRUSTED_COVERAGE: Final = 0.5
"""A short bucket is trusted from this share on (OpenDSM, sufficiency of hourly data)."""

_DARK_KWH_M2: Final = 0.02 * 0.25
"""Irradiation of a quarter hour at 20 W/m2, below which IEC 61724-1 leaves data out."""

STANDSTILL_SHARE: Final = 0.01
"""Share of its rated power below which a machine stands still: its controls and heaters take less.

Water or air that drifts past the meter of a machine that is off is none of its work; over next to no energy it would be
a coefficient of performance of thousands.
"""

_HOURS_PER_QUARTER: Final = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class InputSeries:
    """One input of one asset in k quarter hours.

    value     float64[k], the amount in the measured part, NaN where nothing is known
    coverage  float64[k], 0..1
    counted   float64[k], with what was spread over longer gaps; None where it is the same
    is_amount whether the value grows with time; a percentage does not
    """

    value: FloatArray
    coverage: FloatArray
    counted: FloatArray | None = None
    is_amount: bool = True

    @property
    def trusted(self) -> BoolArray:
        """Where the input is known well enough, bool[k]."""
        trusted: BoolArray = np.isfinite(self.value) & (self.coverage >= TRUSTED_COVERAGE)
        return trusted


@dataclass(frozen=True, slots=True)
class KpiValue:
    """A key figure of one period; `coverage` 0..1 is the share of the period that it stands for.

    reason  why there is no value; None when there is one
    """

    value: float | None
    coverage: float
    reason: str | None = None


def kpi_value(
    definition: KpiDefinition,
    inputs: Mapping[str, InputSeries],
    facts: Mapping[str, float],
    wanted: BoolArray,
) -> KpiValue:
    """Return a key figure over the quarter hours chosen by `wanted`, bool[k].

    `inputs` and `facts` hold everything that the definition names.
    """
    series = [inputs[name] for name in definition.inputs]
    is_empty = not wanted.any() and definition.when != "idle"
    wanted = wanted & ~_left_out(definition, inputs, facts)
    asked = int(np.count_nonzero(wanted))
    if asked == 0:
        return KpiValue(None, 0.0, _NOTHING_ASKED["always" if is_empty else definition.when])
    amounts = dict(zip(definition.inputs, map(_counted if definition.as_counted else _whole, series), strict=True))
    used = np.logical_and.reduce([wanted, *(np.isfinite(each) for each in amounts.values())])
    if not used.any():
        lacking = [name for name, each in amounts.items() if not (np.isfinite(each) & wanted).any()]
        what = ", ".join(lacking) if lacking else "all inputs at the same time"
        return KpiValue(None, 0.0, f"no measured quarter hour of {what}")
    coverage = float(np.sum(np.minimum.reduce([each.coverage for each in series])[used])) / asked
    amounts = {name: each[used] for name, each in amounts.items()}
    value = definition.compute(Quarters(amounts, facts))
    if value is None:
        return KpiValue(None, coverage, _NO_VALUE)
    return KpiValue(value, coverage)


def _left_out(
    definition: KpiDefinition, inputs: Mapping[str, InputSeries], facts: Mapping[str, float]
) -> BoolArray | np.bool_:
    """Return which quarter hours are known to be no business of the key figure, bool[k]."""
    sun, standstill_kw = inputs.get("irradiation_kwh_m2"), facts.get("standstill_kw")
    if definition.when == "sun" and sun is not None:
        return sun.trusted & (np.nan_to_num(sun.value) < _DARK_KWH_M2)
    if definition.when == "running" and standstill_kw is not None:
        energy_kwh = _whole(inputs["energy_kwh"])
        return np.isfinite(energy_kwh) & (np.nan_to_num(energy_kwh) < standstill_kw * _HOURS_PER_QUARTER)
    return np.False_


_NO_VALUE: Final = "nothing ran or flowed that it could be related to, or too little for the counters' resolution"
_NOTHING_ASKED: Final = {
    "always": "the period holds no quarter hour",
    "idle": "the period holds no idle time; the plant's production.idle_times say when production rests",
    "sun": "the sun did not shine",
    "running": "the machine stood still",
}


def _counted(series: InputSeries) -> FloatArray:
    return series.value if series.counted is None else series.counted


def _whole(series: InputSeries) -> FloatArray:
    """Return what a whole quarter hour has at the mean rate of its measured part, NaN where it is not trusted."""
    trusted = series.trusted
    if not series.is_amount:
        return np.where(trusted, series.value, np.nan)
    return np.divide(series.value, series.coverage, out=np.full_like(series.value, np.nan), where=trusted)
