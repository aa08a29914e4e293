"""The power factor of a billing period, and what it does to the bill."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

__all__ = ["STANDARD_ADJUSTMENTS", "adjustment_percent", "adjustments_from_steps", "power_factor"]

_STEPS: Final = 101
"""A table has one entry for each power factor 0.00, 0.01, ... 1.00."""


def power_factor(active_kwh: float, reactive_kvarh: float) -> float | None:
    """Return kWh / sqrt(kWh^2 + kvarh^2) of a period, 0..1; None when nothing was drawn.

    1000 kWh and 500 kvarh are .8944. Bills that count reactive energy in both directions want the sum of the absolute
    values here.
    """
    apparent_kvah = math.hypot(active_kwh, reactive_kvarh)
    return active_kwh / apparent_kvah if apparent_kvah > 0 and active_kwh >= 0 else None


def adjustment_percent(factor: float, table: Sequence[float], *, rounded: bool = True) -> float:
    """Return by how many percent the bill changes; below 0 it is reduced.

    rounded     the power factor is rounded half up to two decimals first, as the Chinese rule says; else a step is
                reached only when the power factor is: 0.8951 is below 0.90
    """
    # 0.575 x 100 is 57.49999999999999 in binary; what a person would call a half is one.
    hundredths = round(factor * 100, 9)
    return table[min(_STEPS - 1, math.floor(hundredths + 0.5 if rounded else hundredths))]


def adjustments_from_steps(steps: Mapping[float, float]) -> tuple[float, ...]:
    """Return the table of 101 entries in which each step holds from its power factor up to the next one.

    steps   lowest power factor 0..1 of the step -> percent; below the lowest step its percent holds too
    """
    ordered = sorted((round(factor * 100), percent) for factor, percent in steps.items())
    table = [ordered[0][1]] * _STEPS
    for begin, percent in ordered:
        table[begin:] = [percent] * (_STEPS - begin)
    return tuple(table)


# Reductions and surcharges in percent of the month's electricity charge, in steps of 0.01. Source: Ministry of Water
# Resources and Electric Power and State Price Bureau of China, Measures for adjusting electricity charges by power
# factor, (83) Shui Dian Cai Zi No. 215, 2 December 1983, tables 1 to 3.
_REDUCED: Final[Mapping[float, Sequence[float]]] = {
    # from the standard upwards; the last holds up to 1.00
    0.90: (0.0, 0.15, 0.30, 0.45, 0.60, 0.75),
    0.85: (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.80, 0.95, 1.10),
    0.80: (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.30),
}
_RAISED: Final[Sequence[float]] = (
    # from 0.01 below the standard downwards, the same for every standard
    *(0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0),
    *(11.0, 12.0, 13.0, 14.0, 15.0),
)
_RAISED_FURTHER_PERCENT: Final = 2.0
"""What each further 0.01 costs."""


def _published(standard: float, reduced: Sequence[float]) -> tuple[float, ...]:
    place = round(standard * 100)
    table = [-reduced[min(step - place, len(reduced) - 1)] if step >= place else 0.0 for step in range(_STEPS)]
    for below in range(1, place + 1):
        further = max(0, below - len(_RAISED))
        table[place - below] = _RAISED[min(below, len(_RAISED)) - 1] + _RAISED_FURTHER_PERCENT * further
    return tuple(table)


STANDARD_ADJUSTMENTS: Final = MappingProxyType(
    {standard: _published(standard, reduced) for standard, reduced in _REDUCED.items()}
)
"""The Chinese tables by their standard power factor: .90 for industry above 160 kVA at high voltage, .85 for other
industry from 100 kVA, .80 for agriculture. Percent for each power factor 0.00, 0.01, ... 1.00."""
