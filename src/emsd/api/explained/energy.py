"""Energy in the form of every explanation: meters, their readings as a sum, rules, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from emsd.api.explained.form import MOST_PARTS, Part, Rule, Source, added
from emsd.api.explained.schemas import (
    CheckSum,
    ExplainedDirection,
    ExplainedFactor,
    ExplainedMeter,
    ExplainedReading,
    ExplainedRules,
)

__all__ = ["energy_rules", "energy_sources", "meter_part", "meter_parts", "rules_in_words"]

_SPREAD = Rule(
    name="even spread",
    rule="the energy between two good readings is spread evenly over the time between them, so that intervals add up",
)
_COUNTER = Rule(
    name="counter",
    rule="last reading - first reading + current transformers + corrections of special stretches - what lies outside",
)


def meter_parts(meters: Iterable[ExplainedMeter], from_: datetime, to: datetime) -> list[Part]:
    """Return a part for each meter over [from_, to); only the top ones count in the sum."""
    return [meter_part(each, from_, to) for each in meters]


def meter_part(meter: ExplainedMeter, from_: datetime, to: datetime) -> Part:
    """Return import less export of one meter from its readings, with each direction as a sum of readings."""
    directions = [_direction(each) for each in meter.directions]
    counts = "top" in meter.roles
    return Part(
        what=f"meter {meter.meter}" + ("" if counts else f" ({' and '.join(meter.roles)})"),
        figure=added(directions),
        unit="kWh",
        sign="+" if counts else "",
        how=f"= {meter.expression}" if meter.expression is not None else "import - export",
        from_=from_,
        to=to,
        facts={"name": meter.name, "roles": list(meter.roles)},
        parts=directions,
    )


def _direction(each: ExplainedDirection) -> Part:
    how = {
        "counter": "counter",
        "power": "integral of the power between its readings",
        "virtual": "its expression, minute by minute",
        "unknown": "no rules are recorded by which it was accounted",
    }
    facts = {
        "stored_kwh": each.stored_kwh,
        "estimated_kwh": each.estimated_kwh,
        "best_kwh": each.best_kwh,
        "readings": each.sample_count,
        "gaps": each.gap_count,
        "special_stretches": dict(each.special_counts),
    }
    return Part(
        what=each.direction,
        figure=each.figure_kwh,
        unit="kWh",
        sign="-" if each.direction == "export" else "+",
        how=how[each.source],
        facts=facts,
        remark=each.remark,
        parts=[] if each.check_sum is None else list(_summands(each, each.check_sum)),
    )


def _summands(each: ExplainedDirection, check: CheckSum) -> Iterator[Part]:
    yield _reading("last reading", each.last, check.last_kwh, "+")
    yield _reading("first reading", each.first, check.first_kwh, "-")
    if check.ratio_kwh:
        yield Part(what="current transformers", figure=check.ratio_kwh, unit="kWh")
    if check.corrections_kwh or each.special_count:
        specials = [
            Part(
                what=", ".join(special.flags) or "current transformers",
                figure=special.correction_kwh,
                unit="kWh",
                how="counted energy - (reading after - reading before)",
                from_=None if special.before is None else special.before.time,
                to=None if special.after is None else special.after.time,
                facts={"counted_kwh": special.counted_kwh, "pieces_kwh": special.pieces_kwh},
            )
            for special in each.special_stretches
        ]
        yield Part(
            what="corrections of special stretches",
            figure=check.corrections_kwh,
            unit="kWh",
            parts=specials[:MOST_PARTS],
            part_count=each.special_count,
        )
    if check.outside_kwh:
        yield Part(what="outside of the time", figure=check.outside_kwh, unit="kWh", sign="-")


def _reading(what: str, reading: ExplainedReading | None, kwh: float, sign: str) -> Part:
    return Part(
        what=what,
        figure=kwh,
        unit="kWh",
        sign="-" if sign == "-" else "+",
        from_=None if reading is None else reading.time,
        facts={} if reading is None else {"quality": reading.quality},
    )


def energy_rules(meters: Sequence[ExplainedMeter]) -> list[Rule]:
    """Return the rules by which the readings of these meters became energy."""
    own = [
        Rule(name=f"meter {each.meter}", rule=rules_in_words(each.rules)) for each in meters if each.rules is not None
    ]
    return [_COUNTER, _SPREAD, *own]


def energy_sources(meters: Sequence[ExplainedMeter], factors: Iterable[ExplainedFactor]) -> list[Source]:
    """Return the events, versions of the rules and carbon factors behind a figure."""
    sources = [
        Source(
            kind="meter event",
            name=f"{event.kind} of {meter.meter}, number {event.event_id}",
            facts=event.model_dump(mode="json", exclude={"event_id", "kind"}),
        )
        for meter in meters
        for event in meter.events
    ]
    sources += [
        Source(
            kind="version of the rules",
            name=f"{meter.meter}: " + ("none recorded" if used.version is None else f"version {used.version}"),
            facts=used.model_dump(mode="json", exclude={"version"}),
        )
        for meter in meters
        for used in meter.versions
    ]
    return sources + [
        Source(
            kind="carbon factor",
            name=f"{each.region}, {each.method}, version {each.version}",
            facts=each.model_dump(mode="json", by_alias=True, exclude={"region", "method", "version"}),
        )
        for each in factors
        if each.version is not None
    ]


def rules_in_words(rules: ExplainedRules) -> str:
    """Return by what a meter's readings become energy, with the numbers."""
    gap = f"gaps beyond {rules.max_gap_s:g} s"
    if not (rules.has_import or rules.has_export):
        return f"no counter, power integrated by {rules.power_method}, {gap}"
    facts = [
        "rated power unknown" if rules.max_power_kw is None else f"rated {rules.max_power_kw:,g} kW",
        f"believed up to {rules.plausibility_factor:g} times that",
        gap,
        f"one count {rules.count_kwh:g} kWh",
        "no rollover known" if rules.modulus_kwh is None else f"rollover at {rules.modulus_kwh:,g} kWh",
    ]
    return ", ".join(facts)
