"""The explanation of energy as the API and the command line tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from emsd.api.dependencies import Configuration
from emsd.api.explained.carbon import explained_factors
from emsd.api.explained.counters import DIRECTIONS
from emsd.api.explained.energy import energy_rules, energy_sources, meter_parts
from emsd.api.explained.form import judged, known_sum
from emsd.api.explained.meter import Question, explained_meter
from emsd.api.explained.schemas import (
    ExplainedEnergy,
    ExplainedFactor,
    ExplainedMeter,
    Role,
)
from emsd.energy.carbon import factor_cuts
from emsd.energy.rollup import CarbonBasis, EnergySums
from emsd.energy.windows import split_by_tier
from emsd.store import explain as table
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot
from emsd.store.retention import read_horizons
from emsd.store.scopes import ScopeKind, ScopeMeters, meters_of_scope
from emsd.store.versions import latest_versions
from emsd.store.virtual_meters import read_virtual_meters

__all__ = ["explain_energy", "explained_meter_ids"]

_DEEPEST: Final = 20
"""Virtual meters of virtual ones; the plant's check refuses a loop."""


async def explained_meter_ids(pool: Pool, configuration: Configuration, scope: ScopeKind, key: str | None) -> set[int]:
    """Return the meters behind a figure of a scope: those that count, those of generation, and all inputs of these.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with snapshot(pool, "look up the meters behind a figure") as connection:
        return set(await _roles(connection, meters_of_scope(configuration.plant, scope, key)))


async def explain_energy(
    pool: Pool, configuration: Configuration, scope: ScopeKind, key: str | None, from_: datetime, to: datetime
) -> ExplainedEnergy:
    """Compute the energy of a scope in [from_, to), full minutes, again from raw readings, and tell how.

    Raises:
        StoreUnavailable: the database cannot be reached now.
        ValueError: a bound is no full minute.
    """
    plant = configuration.plant
    from_, to = from_.astimezone(UTC), to.astimezone(UTC)
    meters = meters_of_scope(plant, scope, key)
    factors = configuration.location
    segments = split_by_tier(from_, to, plant.zone, factor_cuts(factors, from_, to))
    async with snapshot(pool, "explain a figure") as connection:
        virtual = {row.meter_id: row for row in await read_virtual_meters(connection)}
        question = Question(configuration, from_, to, segments, await read_horizons(connection), virtual)
        roles = await _roles(connection, meters)
        stored = await table.read_stored(connection, list(roles), segments)
        versions = await latest_versions(connection, list(roles))
        explained = [
            await explained_meter(
                connection, question, meter_id, roles[meter_id], stored[meter_id], versions.get(meter_id)
            )
            for meter_id in roles
        ]
    basis: CarbonBasis = "grid_import" if scope == "site" else "consumption"
    used = explained_factors(segments, factors, meters, stored, basis)
    return _answer(configuration, (scope, key), (from_, to), explained, used, basis)


def _answer(
    configuration: Configuration,
    asked: tuple[ScopeKind, str | None],
    span: tuple[datetime, datetime],
    explained: Sequence[ExplainedMeter],
    used: Sequence[ExplainedFactor],
    basis: CarbonBasis,
) -> ExplainedEnergy:
    (scope, key), (from_, to) = asked, span
    top = [each for each in explained if "top" in each.roles]
    imported, exported, stored_imported, stored_exported = (
        _total(top, direction, name) for name in ("figure_kwh", "stored_kwh") for direction in DIRECTIONS
    )
    figure = EnergySums(stored_imported, stored_exported).net_kwh
    recomputed = EnergySums(imported, exported).net_kwh
    differing = [
        f"{each.direction} of {meter.meter}: {each.remark}"
        for meter in explained
        for each in meter.directions
        if not each.agrees
    ]
    agrees, remark = judged(figure, recomputed, "kWh", differing)
    return ExplainedEnergy(
        kind="energy",
        of=f"import less export of {scope.replace('_', ' ')} {key or ''}".rstrip(),
        field="/api/v1/energy/sums net_kwh",
        from_=from_,
        to=to,
        time_zone=configuration.plant.site.time_zone,
        figure=figure,
        unit="kWh",
        recomputed=recomputed,
        # Import and export may both be wrong by as much.
        agrees=agrees and not differing,
        remark=remark,
        parts=meter_parts(explained, from_, to),
        rules=energy_rules(explained),
        sources=energy_sources(explained, used),
        scope=scope,
        key=key,
        import_kwh=imported,
        export_kwh=exported,
        net_kwh=recomputed,
        stored_import_kwh=stored_imported,
        stored_export_kwh=stored_exported,
        carbon_basis=basis,
        kg_co2=known_sum(each.kg_co2 for each in used),
        without_factor_kwh=known_sum(each.energy_kwh for each in used if each.version is None) or 0.0,
        factors=list(used),
        meters=list(explained),
    )


async def _roles(connection: Session, meters: ScopeMeters) -> dict[int, list[Role]]:
    """Return the meters behind a figure and what they are there for; those behind virtual meters come after them."""
    roles: dict[int, list[Role]] = {}
    for meter_id in meters.top:
        roles.setdefault(meter_id, []).append("top")
    for meter_id in meters.generation:
        roles.setdefault(meter_id, []).append("generation")
    level = list(roles)
    for _ in range(_DEEPEST):
        found = [await table.read_virtual_inputs(connection, meter_id) for meter_id in level]
        level = [each for one in found if one is not None for each in one[1] if "input" not in roles.get(each, ())]
        for meter_id in dict.fromkeys(level):
            roles.setdefault(meter_id, []).append("input")
    return roles


def _total(meters: Iterable[ExplainedMeter], direction: str, name: str) -> float | None:
    """Add up a figure of the meters that know it; None when none does."""
    return known_sum(
        getattr(each, name) for meter in meters for each in meter.directions if each.direction == direction
    )
