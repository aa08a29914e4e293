"""Carbon factors, and the one answer to which of them applies at an instant, whoever asks: ledger, windows, footprint.

Factors are data: which region, which method, valid from when to when, published by whom. A revision is a new version
beside the old one, so that what was reported with the old one can still be computed. Where a factor of the hour is
known it applies; else that of the period.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias, overload

import numpy as np

from emsd.energy.series import BUCKET_1M_US, FloatArray, TimeArray, ceil_us, datetime_from_us, datetime_to_us

__all__ = ["CarbonFactor", "CarbonMethod", "FactorTimeline", "HourlyFactor", "Resolution", "factor_at", "factor_cuts"]

CarbonMethod: TypeAlias = Literal["location", "market", "residual"]
Resolution: TypeAlias = Literal["period", "hour"]

_FOR_EVER_US: Final = datetime_to_us(datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class CarbonFactor:
    """Emissions of a kilowatt-hour in one region by one method over [valid_from, valid_to).

    method       "location": the grid where the energy is used; "market": what the supplier states; "residual": the grid
                 without what others have claimed, for use that no certificate or contract covers
    valid_to     None while no end is known
    kg_per_kwh   [kg CO2 / kWh]
    source       the publication, in words
    version      the highest one counts; a revision leaves its predecessors as they were
    resolution   "hour": one of a series by the hour (or the quarter), which goes before what is known of the period

    Raises ValueError when a time is naive, the validity is empty or the factor negative.
    """

    region: str
    method: CarbonMethod
    valid_from: datetime
    valid_to: datetime | None
    kg_per_kwh: float
    source: str
    version: int = 1
    resolution: Resolution = "period"

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

    @property
    def precedence(self) -> tuple[bool, int, datetime]:
        """What decides between several that are valid: the hour, the highest version, the one valid since latest."""
        return self.resolution == "hour", self.version, self.valid_from


@dataclass(frozen=True, slots=True)
class HourlyFactor:
    """A row of a list of factors by the hour [kg/kWh]: it holds over [begins_at, ends_at), both on quarter hours."""

    begins_at: datetime
    ends_at: datetime
    kg_per_kwh: Decimal
    source: str


class FactorTimeline(Sequence[CarbonFactor]):
    """Factors of one region and method, laid out in time, so that a year of hours is looked up by bisection.

    It holds the factors that it was made of, in order of `CarbonFactor.precedence`. A validity that begins or ends
    within a minute, the smallest interval, counts from the next full one. Raises ValueError when the factors are of
    different regions or methods, since these must never be mixed.
    """

    def __init__(self, factors: Iterable[CarbonFactor] = ()) -> None:
        self._factors = tuple(sorted(factors, key=lambda each: each.precedence))
        _require_one_kind(self._factors)
        begins_us = [ceil_us(datetime_to_us(each.valid_from), BUCKET_1M_US) for each in self._factors]
        ends_us = [
            _FOR_EVER_US if each.valid_to is None else ceil_us(datetime_to_us(each.valid_to), BUCKET_1M_US)
            for each in self._factors
        ]
        edges_us = np.unique(np.array([*begins_us, *ends_us], dtype=np.int64))
        winner = np.full(edges_us.size, -1, dtype=np.int64)
        firsts, lasts = np.searchsorted(edges_us, begins_us), np.searchsorted(edges_us, ends_us)
        for place, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
            winner[first:last] = place
        # What is the same on both sides of an edge does not change there.
        changes = np.flatnonzero(np.diff(winner, prepend=-1))
        self._edges_us: list[int] = edges_us[changes].tolist()
        self._winner: list[int] = winner[changes].tolist()
        self._edge_array_us, self._winner_array = edges_us[changes], winner[changes]

    @overload
    def __getitem__(self, index: int) -> CarbonFactor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CarbonFactor]: ...
    def __getitem__(self, index: int | slice) -> CarbonFactor | Sequence[CarbonFactor]:
        return self._factors[index]

    def __len__(self) -> int:
        return len(self._factors)

    def __iter__(self) -> Iterator[CarbonFactor]:
        return iter(self._factors)

    @property
    def is_hourly(self) -> bool:
        """Whether any of the factors is one of the hour."""
        return bool(self._factors) and self._factors[-1].resolution == "hour"

    def at(self, instant: datetime) -> CarbonFactor | None:
        """Return the factor that applies at an instant, None where there is none."""
        place = bisect_right(self._edges_us, datetime_to_us(instant)) - 1
        return None if place < 0 or self._winner[place] < 0 else self._factors[self._winner[place]]

    def cuts(self, from_: datetime, to: datetime) -> list[datetime]:
        """Return in order the instants inside (from_, to) at which another factor begins to apply, or none does."""
        first, last = (
            bisect_right(self._edges_us, datetime_to_us(from_)),
            bisect_left(self._edges_us, datetime_to_us(to)),
        )
        return [datetime_from_us(edge) for edge in self._edges_us[first:last]]

    def places_at(self, instants_us: TimeArray) -> TimeArray:
        """Return which factor applies at each instant, int64[k]: a place in this sequence, -1 where there is none."""
        if not self._edges_us:
            return np.full(instants_us.size, -1, dtype=np.int64)
        places = np.searchsorted(self._edge_array_us, instants_us, side="right") - 1
        return np.where(places < 0, -1, self._winner_array[np.maximum(places, 0)]).astype(np.int64)

    def kg_per_kwh_at(self, instants_us: TimeArray) -> FloatArray:
        """Return the factor at each instant, float64[k] [kg CO2 / kWh], NaN where there is none."""
        places = self.places_at(instants_us)
        known = np.array([*(each.kg_per_kwh for each in self._factors), np.nan])
        return np.asarray(known[places], dtype=np.float64)


def factor_at(factors: Iterable[CarbonFactor], instant: datetime) -> CarbonFactor | None:
    """Return the factor that applies at an instant, None when there is none; see `CarbonFactor.precedence`.

    A `FactorTimeline` answers by bisection, anything else is gone through. Raises ValueError when the candidates are of
    different regions or methods, since these must never be mixed.
    """
    if isinstance(factors, FactorTimeline):
        return factors.at(instant)
    valid = [factor for factor in factors if factor.is_valid_at(instant)]
    _require_one_kind(valid)
    return max(valid, key=lambda factor: factor.precedence, default=None)


def factor_cuts(factors: Iterable[CarbonFactor], from_: datetime, to: datetime) -> list[datetime]:
    """Return in order the instants inside (from_, to) at which a factor begins or ends to be valid."""
    if isinstance(factors, FactorTimeline):
        return factors.cuts(from_, to)
    bounds = {bound for factor in factors for bound in (factor.valid_from, factor.valid_to) if bound is not None}
    return sorted(bound for bound in bounds if from_ < bound < to)


def _require_one_kind(factors: Iterable[CarbonFactor]) -> None:
    kinds = {(factor.region, factor.method) for factor in factors}
    if len(kinds) > 1:
        names = ", ".join(f"{region} ({method})" for region, method in sorted(kinds))
        raise ValueError(f"carbon factors of {names} are mixed; choose one region and one method")
