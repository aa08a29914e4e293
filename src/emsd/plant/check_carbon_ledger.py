"""Checks of the carbon ledger: what its rules refer to is there."""

from __future__ import annotations

from collections.abc import Iterator

from emsd.plant.draft import Draft
from emsd.plant.source import Finding, list_or_hint

__all__ = ["carbon_ledger_warnings"]


def carbon_ledger_warnings(draft: Draft) -> Iterator[Finding]:
    """Find a residual region without a residual factor: the location-based one would stand in for it."""
    section = draft.source.data.get("carbon") if isinstance(draft.source.data, dict) else None
    region = section.get("residual_region") if isinstance(section, dict) else None
    if not isinstance(region, str):
        return
    residual = {factor.region for factor in draft.carbon_factors.values() if factor.method == "residual"}
    if region not in residual:
        where = ("carbon", "residual_region")
        problem = f"{draft.source.shown(where, region)}has no residual factor"
        cure = list_or_hint(region, residual, "regions with a carbon factor of method residual")
        yield Finding(where, problem, f"{cure}; without one the location-based factor stands in for it")
