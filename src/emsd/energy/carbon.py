"""Carbon dioxide of electricity: energy times the factor that was valid when it was used.

Factors are data: which region, which method, valid from when to when, published by whom. A revision is a new
version beside the old one, so that what was reported with the old one can still be computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["CarbonFactor", "CarbonMethod", "Emissions", "EnergyPeriod", "emissions_kg", "factor_at", "factor_cuts"]

CarbonMethod: TypeAlias = Literal["location", "market", "residual"]

_SMALLEST_PERIOD = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class CarbonFactor:
    """Emissions of a kilowatt-hour in one region by one method over [valid_from, valid_to).

    method       "location": the grid where the energy is used; "market": what the supplier states; "residual": the grid
                 without what others have claimed, for use that no certificate or contract covers
    valid_to     None while no end is known
    kg_per_kwh   [kg CO2 / kWh]
    source       the publication, in words
    version      the highest one counts; a revision leaves its predecessors as they were

    Raises ValueError when a time is naive, the validity is empty or the factor negative.
    """

    region: str
    method: CarbonMethod
    valid_from: datetime
    valid_to: datetime | None
    kg_per_kwh: float
    source: str
    version: int = 1

    def __post_init__(self) -> None:
        for bound in (self.valid_from, self.valid_to):
            if bound is not None and bound.tzinfo is None:
                raise ValueError(f"carbon factor of {self.region}: {bound.isoformat()} has no time zone")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError(f"carbon factor of {self.region}: valid_to {self.valid_to} is not after valid_from")
        if not self.kg_per_kwh >= 0:
            raise ValueError(f"carbon factor of {self.region}: {self.kg_per_kwh} kg/kWh must not be negative")

    def is_valid_at(self, instant: datetime) -> bool:
        """Say whether the instant is in [valid_from, valid_to)."""
        return self.valid_from <= instant and (self.valid_to is None or instant < self.valid_to)


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


def factor_at(factors: Iterable[CarbonFactor], instant: datetime) -> CarbonFactor | None:
    """Return the factor valid at an instant, None when there is none.

    Of several the highest version counts, among equal versions the one valid since latest. Raises ValueError when
    the candidates are of different regions or methods, since these must never be mixed.
    """
    valid = [factor for factor in factors if factor.is_valid_at(instant)]
    kinds = {(factor.region, factor.method) for factor in valid}
    if len(kinds) > 1:
        names = ", ".join(f"{region} ({method})" for region, method in sorted(kinds))
        raise ValueError(f"carbon factors of {names} are mixed; choose one region and one method")
    return max(valid, key=lambda factor: (factor.version, factor.valid_from), default=None)


def factor_cuts(factors: Iterable[CarbonFactor], from_: datetime, to: datetime) -> list[datetime]:
    """Return in order the instants inside (from_, to) at which a factor begins or ends to be valid."""
    bounds = {bound for factor in factors for bound in (factor.valid_from, factor.valid_to) if bound is not None}
    return sorted(bound for bound in bounds if from_ < bound < to)


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
