"""One meter explained: computed anew from its readings or its inputs, and held against the interval tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Final

from emsd.api.dependencies import Configuration
from emsd.api.explained.counters import DIRECTIONS, MeterRules, evidence_of_meter, rules_from
from emsd.api.explained.direction import Told, explained_direction, without_readings
from emsd.api.explained.schemas import (
    ExplainedDirection,
    ExplainedEvent,
    ExplainedMeter,
    ExplainedRules,
    ExplainedVersion,
    Role,
)
from emsd.api.explained.tiers import tier_differences, with_tiers
from emsd.api.explained.virtual import virtual_sums
from emsd.energy.rollup import EnergySums
from emsd.energy.windows import Segment
from emsd.readings import instant_us, to_datetime
from emsd.store import explain as table
from emsd.store.meter_events import read_events
from emsd.store.pool import Session
from emsd.store.retention import Horizons
from emsd.store.versions import AccountingVersion
from emsd.store.virtual_meters import VirtualRow

__all__ = ["Question", "explained_meter"]

_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Question:
    """The time that is asked for, cut as the interval tables are, and what all meters have in common."""

    configuration: Configuration
    from_: datetime
    to: datetime
    segments: Sequence[Segment]
    horizons: Horizons
    virtual: Mapping[int, VirtualRow]


async def explained_meter(
    connection: Session,
    question: Question,
    meter_id: int,
    roles: list[Role],
    stored: table.StoredEnergy,
    version: AccountingVersion | None,
) -> ExplainedMeter:
    """Return one meter with its rules, events and both directions; `stored` is what the tables hold of it."""
    row = question.configuration.plant.meters.get(meter_id)
    virtual = await table.read_virtual_inputs(connection, meter_id)
    total = reduce(EnergySums.__add__, stored.segments.values(), EnergySums())
    kwh = dict(zip(DIRECTIONS, (total.import_kwh, total.export_kwh), strict=True))
    used = await table.read_used_versions(connection, meter_id, question.from_, question.to)
    events: list[table.AppliedEvent] = []
    rules = None if version is None or virtual is not None else rules_from(meter_id, version.rules)
    if rules is not None:
        told = await _told(connection, question, rules, used, version)
        # What is stored of a direction that nobody measures now was measured by other rules.
        named = [each for each in DIRECTIONS if each in told.evidence or kwh[each] is not None]
        directions = [await explained_direction(connection, told, name, kwh[name]) for name in named or ["import"]]
        events = await table.read_applied_events(connection, meter_id, *told.reach_us)
    elif meter_id in question.virtual:
        directions = await _virtual(connection, question, question.virtual[meter_id], kwh)
    else:
        directions = await _unaccounted(connection, question, meter_id, kwh)
    zone = question.configuration.plant.zone
    differences = await tier_differences(connection, meter_id, (question.from_, question.to), question.horizons, zone)
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
        directions=with_tiers(directions, differences),
    )


async def _told(
    connection: Session,
    question: Question,
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
    days = (question.from_.astimezone(zone).date(), (question.to - _INSTANT).astimezone(zone).date())
    minutes, days_waiting = await table.read_waiting(connection, rules.meter_id, begin, end, days)
    reasons = []
    if minutes:
        reasons.append(f"{minutes} minutes have readings that accounting has not carried over yet")
    if days_waiting:
        reasons.append(f"{days_waiting} local days wait to be built from their quarter hours")
    if raw is not None and question.from_ < raw:
        reasons.append(f"raw readings before {raw.isoformat()} have been dropped after their time of retention")
    reasons += _dropped(question)
    others = sum(each.quarter_hours for each in used if version is None or each.version_id != version.version_id)
    if others:
        reasons.append(f"{others} quarter hours were made by other rules than today's; emsd recompute makes them anew")
    return replace(told, reasons=reasons)


def _dropped(question: Question) -> list[str]:
    """Say which intervals of the time are gone, so that the tables have less than the readings."""
    kept_since = {"1m": question.horizons.minutes, "15m": question.horizons.quarters}
    names = {"1m": "minutes", "15m": "quarter hours"}
    return [
        f"intervals of {names[tier]} before {since.isoformat()} have been dropped after their time of retention"
        for tier, since in kept_since.items()
        if since is not None and any(each.tier == tier and each.from_ < since for each in question.segments)
    ]


async def _virtual(
    connection: Session, question: Question, row: VirtualRow, kwh: Mapping[str, float | None]
) -> list[ExplainedDirection]:
    """Compute a virtual meter anew from the minutes of its inputs."""
    sums = await virtual_sums(connection, row, question.from_, question.to)
    reasons = []
    if sums.partial_minutes:
        reasons.append(f"{sums.partial_minutes} minutes leave out inputs that are not known")
    if row.pending_before is not None and question.from_ < row.pending_before:
        reasons.append(f"what lies before {row.pending_before.isoformat()} waits to be computed by its expression")
    minutes = question.horizons.minutes
    if minutes is not None and question.from_ < minutes:
        reasons.append(f"minutes of its inputs before {minutes.isoformat()} have been dropped")
    made = {
        "import": (sums.import_kwh, sums.estimated_import_kwh, kwh["import"]),
        "export": (sums.export_kwh, sums.estimated_export_kwh, kwh["export"]),
    }
    span = (question.from_, question.to)
    return [
        await without_readings(connection, row.meter_id, span, name, "virtual", each, reasons)
        for name, each in made.items()
    ]


async def _unaccounted(
    connection: Session, question: Question, meter_id: int, kwh: Mapping[str, float | None]
) -> list[ExplainedDirection]:
    """Tell what is stored of a meter whose rules nobody recorded; it cannot be computed anew."""
    reasons = ["it was never accounted since rules are recorded; emsd recompute does it"]
    return [
        await without_readings(
            connection, meter_id, (question.from_, question.to), name, "unknown", (None, None, each),
            [] if each is None else reasons,
        )
        for name, each in kwh.items()
    ]  # fmt: skip


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
