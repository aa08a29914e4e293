"""The explanation of a figure as the API and the command line tell it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from typing import Final

from emsd.api.dependencies import Configuration
from emsd.api.explain_schemas import (
    ExplainedDirection,
    ExplainedEnergy,
    ExplainedEvent,
    ExplainedMeter,
    ExplainedRules,
    ExplainedVersion,
    Role,
)
from emsd.api.explained_carbon import explained_factors
from emsd.api.explained_direction import Told, explained_direction
from emsd.api.explaining import DIRECTIONS, MeterRules, evidence_of_meter, rules_from
from emsd.api.rolling import of_full_minutes
from emsd.energy.carbon import factor_cuts
from emsd.energy.rollup import CarbonBasis, EnergySums
from emsd.energy.windows import Segment, split_by_tier
from emsd.readings import instant_us, to_datetime
from emsd.store import explain as table
from emsd.store.meter_events import read_events
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot
from emsd.store.retention import Horizons, read_horizons
from emsd.store.scopes import ScopeKind, ScopeMeters, meters_of_scope
from emsd.store.versions import AccountingVersion, latest_versions

__all__ = ["explain_energy", "explained_meter_ids"]

_DEEPEST: Final = 20
"""Virtual meters of virtual ones; the plant's check refuses a loop."""


@dataclass(frozen=True, slots=True)
class _Question:
    """The time that is asked for, cut as the interval tables are, and what all meters have in common."""

    configuration: Configuration
    from_: datetime
    to: datetime
    segments: Sequence[Segment]
    horizons: Horizons


def explained_meter_ids(configuration: Configuration, scope: ScopeKind, key: str | None) -> set[int]:
    """Return the meters behind a figure of a scope, those of generation too."""
    meters = meters_of_scope(configuration.plant, scope, key)
    return {*meters.top, *meters.generation}


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
    factors = of_full_minutes(each for each in configuration.factors if each.method == "location")
    segments = split_by_tier(from_, to, plant.zone, factor_cuts(factors, from_, to))
    async with snapshot(pool, "explain a figure") as connection:
        question = _Question(configuration, from_, to, segments, await read_horizons(connection))
        roles = await _roles(connection, meters)
        stored = await table.read_stored(connection, list(roles), segments)
        versions = await latest_versions(connection, list(roles))
        explained = [
            await _meter(connection, question, meter_id, roles[meter_id], stored[meter_id], versions.get(meter_id))
            for meter_id in roles
        ]
    top = [each for each in explained if "top" in each.roles]
    basis: CarbonBasis = "grid_import" if scope == "site" else "consumption"
    used = explained_factors(segments, factors, meters, stored, basis)
    kg = [each.kg_co2 for each in used if each.kg_co2 is not None]
    imported, exported = (_total(top, direction, "figure_kwh") for direction in DIRECTIONS)
    return ExplainedEnergy(
        scope=scope,
        key=key,
        from_=from_,
        to=to,
        time_zone=plant.site.time_zone,
        import_kwh=imported,
        export_kwh=exported,
        net_kwh=EnergySums(imported, exported).net_kwh,
        stored_import_kwh=_total(top, "import", "stored_kwh"),
        stored_export_kwh=_total(top, "export", "stored_kwh"),
        agrees=all(direction.agrees for meter in explained for direction in meter.directions),
        carbon_basis=basis,
        kg_co2=math.fsum(kg) if kg else None,
        factors=used,
        meters=explained,
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


async def _meter(
    connection: Session,
    question: _Question,
    meter_id: int,
    roles: list[Role],
    stored: table.StoredEnergy,
    version: AccountingVersion | None,
) -> ExplainedMeter:
    row = question.configuration.plant.meters.get(meter_id)
    virtual = await table.read_virtual_inputs(connection, meter_id)
    total = reduce(EnergySums.__add__, stored.segments.values(), EnergySums())
    used = await table.read_used_versions(connection, meter_id, question.from_, question.to)
    events: list[table.AppliedEvent] = []
    directions: list[ExplainedDirection] = []
    rules = None if version is None or virtual is not None else rules_from(meter_id, version.rules)
    if rules is None:
        directions = [
            _as_stored(name, kwh) for name, kwh in zip(DIRECTIONS, (total.import_kwh, total.export_kwh), strict=True)
        ]
    else:
        told = await _told(connection, question, rules, used, version)
        directions = [
            await explained_direction(connection, told, name, kwh)
            for name, kwh in zip(DIRECTIONS, (total.import_kwh, total.export_kwh), strict=True)
            if name in told.evidence
        ]
        events = await table.read_applied_events(connection, meter_id, *told.reach_us)
    return ExplainedMeter(
        meter=str(meter_id) if row is None else row.key,
        name="" if row is None else row.name,
        roles=roles,
        expression=None if virtual is None else virtual[0],
        rules=None if rules is None else _rules(rules),
        versions=[_version(each, version) for each in used],
        events=[
            ExplainedEvent(
                event_id=each.event_id,
                kind=each.kind,
                time=each.occurred_at,
                detail=dict(each.detail),
                author=each.author,
                note=each.note,
                recorded_at=each.recorded_at,
            )
            for each in events
        ],
        directions=directions,
    )


async def _told(
    connection: Session,
    question: _Question,
    rules: MeterRules,
    used: Sequence[table.UsedVersion],
    version: AccountingVersion | None,
) -> Told:
    """Compute one meter again, and collect why the interval tables might say something else."""
    zone = question.configuration.plant.zone
    raw = question.horizons.raw
    effective = (await read_events(connection, [rules.meter_id])).get(rules.meter_id, ())
    kept_from_us = 0 if raw is None else instant_us(raw)
    evidence = await evidence_of_meter(
        connection, rules, effective, question.from_, question.to, kept_from_us=kept_from_us
    )
    told = Told(rules, question.from_, question.to, evidence)
    # A reading that has come beside the time changes the stretch that reaches into it.
    begin, end = (to_datetime(time_us) for time_us in told.reach_us)
    days = (question.from_.astimezone(zone).date(), question.to.astimezone(zone).date())
    minutes, days_waiting = await table.read_waiting(connection, rules.meter_id, begin, end, days)
    reasons = []
    if minutes:
        reasons.append(f"{minutes} minutes have readings that accounting has not carried over yet")
    if days_waiting:
        reasons.append(f"{days_waiting} local days wait to be built from their quarter hours")
    if raw is not None and question.from_ < raw:
        reasons.append(f"raw readings before {raw.isoformat()} have been dropped after their time of retention")
    others = sum(each.quarter_hours for each in used if version is None or each.version_id != version.version_id)
    if others:
        reasons.append(f"{others} quarter hours were made by other rules than today's; emsd recompute makes them anew")
    return replace(told, reasons=reasons)


def _as_stored(direction: str, kwh: float | None) -> ExplainedDirection:
    """What can be said of a direction that has no readings of its own."""
    return ExplainedDirection(
        direction="import" if direction == "import" else "export",
        source="virtual",
        figure_kwh=kwh,
        estimated_kwh=0.0,
        stored_kwh=kwh,
        agrees=True,
        remark="computed minute by minute from other meters; see those",
        best_kwh=None,
        first=None,
        last=None,
        sample_count=0,
        check_sum=None,
        special_stretches=[],
        special_count=0,
        special_counts={},
        gaps=[],
        gap_count=0,
    )


def _rules(rules: MeterRules) -> ExplainedRules:
    return ExplainedRules(
        **asdict(rules.counter),
        has_import=rules.has_import,
        has_export=rules.has_export,
        power_method=rules.power_method,
    )


def _version(used: table.UsedVersion, todays: AccountingVersion | None) -> ExplainedVersion:
    return ExplainedVersion(
        version=used.version_id,
        code_version=used.code_version,
        since=used.since,
        quarter_hours=used.quarter_hours,
        is_todays=todays is not None and used.version_id == todays.version_id,
    )


def _total(meters: Iterable[ExplainedMeter], direction: str, name: str) -> float | None:
    """Add up a figure of the meters that know it; None when none does."""
    known = [
        kwh
        for meter in meters
        for each in meter.directions
        if each.direction == direction and (kwh := getattr(each, name)) is not None
    ]
    return math.fsum(known) if known else None
