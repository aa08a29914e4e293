"""Carbon dioxide of electricity: energy times the factor that was valid when it was used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from emsd.energy.factors import CarbonFactor, CarbonMethod, FactorTimeline, factor_at, factor_cuts

__all__ = [
    "CarbonFactor",
    "CarbonMethod",
    "Emissions",
    "EnergyPeriod",
    "FactorTimeline",
    "emissions_kg",
    "factor_at",
    "factor_cuts",
]

_SMALLEST_PERIOD = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)


class EnergyPeriod(NamedTuple):
    """Energy [kWh] of [from_, to); None when it is not known."""

    from_: datetime
    to: datetime
    energy_kwh: float | None


class Emissions(NamedTuple):
    """Emissions [kg CO2] and the share 0..1 of the known energy that had a factor.

    kg is None, never 0, when no known energy had a factor; coverage is None when no energy is known.
    """

    kg: float | None
    coverage: float | None


def emissions_kg(periods: Iterable[EnergyPeriod], factors: Sequence[CarbonFactor]) -> Emissions:
    """Return the emissions of energy by period.

    A period takes the factor valid at its beginning, so periods must be cut at `factor_cuts`; only a single minute, the
    smallest interval, may hold a change. Energy without a factor lowers the coverage. Coverage is weighted by
    energy, or by time when all energy is 0. Raises ValueError when the factor changes within a longer period.
    """
    kg = 0.0
    energy, energy_with_factor = 0.0, 0.0
    time_s, time_with_factor_s = 0.0, 0.0
    for from_, to, energy_kwh in periods:
        if energy_kwh is None or to <= from_:
            continue
        factor = factor_at(factors, from_)
        if to - from_ > _SMALLEST_PERIOD and factor_at(factors, to - _MICROSECOND) != factor:
            raise ValueError(f"the carbon factor changes between {from_} and {to}; cut the period at factor_cuts")
        length_s = (to - from_).total_seconds()
        energy += abs(energy_kwh)
        time_s += length_s
        if factor is not None:
            kg += energy_kwh * factor.kg_per_kwh
            energy_with_factor += abs(energy_kwh)
            time_with_factor_s += length_s
    if time_s == 0:
        return Emissions(None, None)
    coverage = energy_with_factor / energy if energy else time_with_factor_s / time_s
    return Emissions(kg if coverage else None, coverage)
