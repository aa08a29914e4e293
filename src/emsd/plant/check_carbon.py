"""Checks of carbon factors: at most one for every day, region and method, and none forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from itertools import pairwise

from emsd.plant.check_carbon_ledger import carbon_ledger_warnings
from emsd.plant.draft import Draft
from emsd.plant.models import CarbonFactorEntry
from emsd.plant.source import Finding

__all__ = ["carbon_warnings", "check_carbon"]


def check_carbon(draft: Draft) -> Iterator[Finding]:
    """Find periods that end before they begin, and periods of one region and method that overlap."""
    for index, factor in draft.carbon_factors.items():
        if factor.valid_to is not None and factor.valid_to <= factor.valid_from:
            problem = f"{factor.valid_to} is not after valid_from {factor.valid_from}"
            yield Finding(
                ("carbon_factors", index, "valid_to"), problem, "write the first day on which it no longer applies"
            )
    for series in _series(draft):
        earlier = series[0][1]
        for index, later in series[1:]:
            if _end(earlier) > later.valid_from:
                problem = f"{later.valid_from} overlaps the factor of {_name(earlier)} from {earlier.valid_from}"
                cure = f"end that one with valid_to: {later.valid_from}"
                yield Finding(("carbon_factors", index, "valid_from"), problem, cure)
            earlier = max(earlier, later, key=_end)


def carbon_warnings(draft: Draft) -> Iterator[Finding]:
    """Find days without a factor between two periods, and a site without any factor."""
    for series in _series(draft):
        for (_, earlier), (index, later) in pairwise(series):
            if earlier.valid_to is not None and earlier.valid_to < later.valid_from:
                problem = f"leaves {_name(later)} without a factor from {earlier.valid_to} to {later.valid_from}"
                where = ("carbon_factors", index, "valid_from")
                yield Finding(where, problem, "emissions of these days will be missing; add a factor")
    site = draft.site
    if site is not None and all(factor.region != site.carbon_region for factor in draft.carbon_factors.values()):
        region = ("site", "carbon_region")
        problem = f"{draft.source.shown(region, site.carbon_region)}has no carbon factor"
        yield Finding(region, problem, "emissions will be missing; add one under carbon_factors")
    yield from carbon_ledger_warnings(draft)


def _series(draft: Draft) -> Iterator[list[tuple[int, CarbonFactorEntry]]]:
    """Yield the factors of each region and method in the order of their periods."""
    groups: dict[tuple[str, str], list[tuple[int, CarbonFactorEntry]]] = defaultdict(list)
    for index, factor in draft.carbon_factors.items():
        groups[factor.region, factor.method].append((index, factor))
    for group in groups.values():
        yield sorted(group, key=lambda indexed: indexed[1].valid_from)


def _end(factor: CarbonFactorEntry) -> date:
    return factor.valid_to or date.max


def _name(factor: CarbonFactorEntry) -> str:
    return f"{factor.region} ({factor.method})"
