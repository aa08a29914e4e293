"""Which values of a quantity are believed: the vocabulary's range, narrowed by what the metered equipment can draw."""

from __future__ import annotations

from typing import Final

from emsd.quantities import BY_NAME

__all__ = ["limits"]

RATED_MARGIN: Final = 1.25
"""Active power up to this multiple of the rating is believed: overload and the tolerance of a nameplate."""

_ACTIVE: Final = frozenset(
    {"active_power_kw", "active_power_l1_kw", "active_power_l2_kw", "active_power_l3_kw", "dc_power_kw"}
)
_WITH_REACTIVE: Final = frozenset({"reactive_power_kvar", "apparent_power_kva"})
_SMALLEST_POWER_FACTOR: Final = 0.5
"""Ratings are in kW; at this power factor the apparent power is twice the active power, and that is still believed."""


def limits(quantity: str, rated_power_kw: float | None) -> tuple[float, float]:
    """Return the smallest and the largest plausible value of `quantity`, in its unit.

    Args:
        quantity: name in the vocabulary.
        rated_power_kw: rating of the equipment behind the meter [kW]; None when it is not known.

    Raises:
        KeyError: the quantity is not in the vocabulary.
    """
    known = BY_NAME[quantity]
    low, high = known.minimum, known.maximum
    if rated_power_kw is None:
        return low, high
    if quantity in _ACTIVE:
        bound = RATED_MARGIN * rated_power_kw
    elif quantity in _WITH_REACTIVE:
        bound = RATED_MARGIN * rated_power_kw / _SMALLEST_POWER_FACTOR
    else:
        return low, high
    return max(low, -bound), min(high, bound)
