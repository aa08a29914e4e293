"""The carbon factors behind a figure, each with the energy that it is multiplied with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import groupby

from emsd.api.explained.form import known_sum
from emsd.api.explained.schemas import ExplainedFactor
from emsd.energy.factors import CarbonFactor, FactorTimeline
from emsd.energy.rollup import NOTHING, CarbonBasis, EnergySums, ScopeSums
from emsd.energy.windows import Segment
from emsd.store import explain as table
from emsd.store.scopes import ScopeMeters

__all__ = ["explained_factors"]


def explained_factors(
    segments: Sequence[Segment],
    factors: FactorTimeline,
    meters: ScopeMeters,
    stored: Mapping[int, table.StoredEnergy],
    basis: CarbonBasis,
) -> list[ExplainedFactor]:
    """Return each factor with the energy of the time in which it applies; hours of one publication together."""
    explained = []
    for _, group in groupby(segments, key=lambda segment: _publication(factors.at(segment.from_))):
        part = list(group)
        kwh = [_kwh([each], meters, stored, basis) for each in part]
        applied = [factors.at(each.from_) for each in part]
        kg = known_sum(
            None if factor is None or energy is None else energy * factor.kg_per_kwh
            for factor, energy in zip(applied, kwh, strict=True)
        )
        energy_kwh = _kwh(part, meters, stored, basis)
        explained.append(_explained(part, applied, energy_kwh, kg))
    return explained


def _explained(
    part: Sequence[Segment], applied: Sequence[CarbonFactor | None], energy_kwh: float | None, kg: float | None
) -> ExplainedFactor:
    first, last = applied[0], applied[-1]
    mean = None if first is None else first.kg_per_kwh
    if first is not None and first.resolution == "hour" and kg is not None and energy_kwh:
        mean = kg / energy_kwh
    return ExplainedFactor(
        from_=part[0].from_,
        to=part[-1].to,
        region=None if first is None else first.region,
        method=None if first is None else first.method,
        version=None if first is None else first.version,
        resolution=None if first is None else first.resolution,
        kg_per_kwh=mean,
        source=None if first is None else first.source,
        valid_from=None if first is None else first.valid_from,
        valid_to=None if last is None else last.valid_to,
        energy_kwh=energy_kwh,
        kg_co2=None if first is None else kg,
    )


def _publication(factor: CarbonFactor | None) -> object:
    """Return what a factor is told together with: itself, or all hours of its series."""
    if factor is None or factor.resolution == "period":
        return factor
    return factor.region, factor.method, factor.version, factor.source


def _kwh(
    part: Sequence[Segment], meters: ScopeMeters, stored: Mapping[int, table.StoredEnergy], basis: CarbonBasis
) -> float | None:
    sums = reduce(
        ScopeSums.__add__,
        [ScopeSums(top=_sum(stored[each], part)) for each in meters.top]
        + [ScopeSums(generation=_sum(stored[each], part)) for each in meters.generation],
        NOTHING,
    )
    if basis == "grid_import":
        return sums.top.import_kwh
    kwh = sums.top.net_kwh
    if kwh is not None and meters.generation:
        return None if sums.generation.export_kwh is None else kwh + sums.generation.export_kwh
    return kwh


def _sum(stored: table.StoredEnergy, segments: Iterable[Segment]) -> EnergySums:
    return reduce(EnergySums.__add__, (stored.segments.get(each, EnergySums()) for each in segments), EnergySums())
