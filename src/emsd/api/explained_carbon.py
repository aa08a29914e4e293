"""The carbon factors behind a figure, each with the energy that it is multiplied with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import groupby

from emsd.api.explain_schemas import ExplainedFactor
from emsd.energy.carbon import CarbonFactor, factor_at
from emsd.energy.rollup import NOTHING, CarbonBasis, EnergySums, ScopeSums
from emsd.energy.windows import Segment
from emsd.store import explain as table
from emsd.store.scopes import ScopeMeters

__all__ = ["explained_factors"]


def explained_factors(
    segments: Sequence[Segment],
    factors: Sequence[CarbonFactor],
    meters: ScopeMeters,
    stored: Mapping[int, table.StoredEnergy],
    basis: CarbonBasis,
) -> list[ExplainedFactor]:
    """Return each factor with the energy of the time in which it was valid."""
    explained = []
    for factor, group in groupby(segments, key=lambda segment: factor_at(factors, segment.from_)):
        part = list(group)
        sums = reduce(
            ScopeSums.__add__,
            [ScopeSums(top=_sum(stored[each], part)) for each in meters.top]
            + [ScopeSums(generation=_sum(stored[each], part)) for each in meters.generation],
            NOTHING,
        )
        kwh = sums.top.import_kwh
        if basis == "consumption":
            kwh = sums.top.net_kwh
            if kwh is not None and meters.generation:
                kwh = None if sums.generation.export_kwh is None else kwh + sums.generation.export_kwh
        explained.append(
            ExplainedFactor(
                from_=part[0].from_,
                to=part[-1].to,
                region=None if factor is None else factor.region,
                method=None if factor is None else factor.method,
                version=None if factor is None else factor.version,
                kg_per_kwh=None if factor is None else factor.kg_per_kwh,
                source=None if factor is None else factor.source,
                valid_from=None if factor is None else factor.valid_from,
                valid_to=None if factor is None else factor.valid_to,
                energy_kwh=kwh,
                kg_co2=None if factor is None or kwh is None else kwh * factor.kg_per_kwh,
            )
        )
    return explained


def _sum(stored: table.StoredEnergy, segments: Iterable[Segment]) -> EnergySums:
    return reduce(EnergySums.__add__, (stored.segments.get(each, EnergySums()) for each in segments), EnergySums())
