"""Activities that emit: fuel that was burned, process gas that was used, gas that was lost.

`resolve` turns what a person wrote into terms whose every number has a source, so that a statement that holds them
can be computed again when the tables of a later version say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from emsd.energy.ledger.exact import CONTEXT, Exact, Instant, Record
from emsd.energy.ledger.fuels import FUELS, convert
from emsd.energy.ledger.gases import DEFAULT_HEEL, DESTRUCTION, DESTRUCTION_SOURCE, PROCESSES, ProcessDefault
from emsd.energy.ledger.gwp import GASES, GWP_SOURCES, GwpSet, gwp100

__all__ = ["Activity", "ActivityKind", "ResolvedActivity", "Term", "check_activity", "emitted_kg", "resolve"]

ActivityKind: TypeAlias = Literal["fuel", "process_gas", "release"]
_NONE: Final = Decimal(0)
_ALL: Final = Decimal(1)


class Activity(Record):
    """One entry of Scope 1.

    reference               what the source document calls it; a later entry of the same reference replaces it
    kind, substance         fuel: a name of FUELS, or any with a factor of its own; process_gas, release: a gas
    process                 of a process gas: etch, chamber_clean_remote, chamber_clean_in_situ, cvd, other
    period_from, period_to  the time over which the amount was used, evenly
    amount, unit            fuels in the fuel's unit or one that converts to it, gases as mass
    heel                    share left in the bottle; None: 0.10 for a process gas
    utilization             U, share that the process uses up; None: the published default
    abated_share            a, share of the use that goes through tools with abatement; None: none of it
    destruction             d, share destroyed there; None: the published default
    factor_kg_per_unit      emissions of one unit [kg CO2e], instead of a published factor; wants factor_source
    is_void                 it replaces an entry that should not have been made
    """

    reference: str
    version: int
    kind: ActivityKind
    substance: str
    process: str | None = None
    period_from: Instant
    period_to: Instant
    area: str | None = None
    asset: str | None = None
    amount: Exact
    unit: str
    heel: Exact | None = None
    utilization: Exact | None = None
    abated_share: Exact | None = None
    destruction: Exact | None = None
    factor_kg_per_unit: Exact | None = None
    factor_source: str | None = None
    document: str
    author: str
    note: str = ""
    is_void: bool = False


class Term(Record):
    """One gas that an activity emits: amount x (1 - heel) x kg_per_unit x (1 - abated_share x destruction) x gwp."""

    gas: str
    kg_per_unit: Exact
    abated_share: Exact
    destruction: Exact
    gwp: Exact
    source: str


class ResolvedActivity(Record):
    """An activity, its amount in the unit that its terms are for, and the terms."""

    activity: Activity
    amount: Exact
    unit: str
    heel: Exact
    terms: tuple[Term, ...]


def check_activity(activity: Activity) -> Iterator[tuple[str, str]]:
    """Yield (field, what is wrong and what to write) for everything that keeps an activity from being computed."""
    if activity.period_to <= activity.period_from:
        yield "period_to", "is not after period_from; write the first instant that no longer belongs to it"
    if activity.amount < 0:
        yield "amount", "is negative; write what was used"
    for name in ("heel", "utilization", "abated_share", "destruction"):
        value: Decimal | None = getattr(activity, name)
        if value is not None and not 0 <= value <= 1:
            yield name, f"{value} is not 0..1; write a share, such as 0.9"
    if (activity.factor_kg_per_unit is None) != (activity.factor_source is None):
        yield "factor_source", "and factor_kg_per_unit go together; a factor of your own needs its source"
    if activity.factor_kg_per_unit is not None and activity.factor_kg_per_unit < 0:
        yield "factor_kg_per_unit", "is negative; write emissions [kg CO2e] of one unit"
    if activity.kind != "process_gas":
        for name in ("process", "heel", "utilization", "abated_share", "destruction"):
            if getattr(activity, name) is not None:
                yield name, "belongs to a process gas; leave it out"
    yield from _check_substance(activity)


def _check_substance(activity: Activity) -> Iterator[tuple[str, str]]:
    if activity.kind == "fuel":
        if activity.factor_kg_per_unit is not None:
            return
        fuel = FUELS.get(activity.substance)
        if fuel is None:
            yield "substance", f"{activity.substance!r} is no known fuel; write {', '.join(FUELS)}, or a factor"
        else:
            yield from _check_unit(activity, fuel.unit)
        return
    if activity.factor_kg_per_unit is not None:
        yield "factor_kg_per_unit", "belongs to a fuel; gases go by their GWP"
    if activity.substance not in GASES:
        yield "substance", f"{activity.substance!r} is no known gas; write one of {', '.join(GASES)}"
        return
    yield from _check_unit(activity, "kg")
    if activity.kind == "process_gas":
        yield from _check_process(activity)


def _check_process(activity: Activity) -> Iterator[tuple[str, str]]:
    gas = activity.substance
    if (gas, activity.process) not in PROCESSES and activity.utilization is None:
        known = ", ".join(process for known_gas, process in PROCESSES if known_gas == gas)
        yield (
            "process",
            f"{activity.process!r} has no default for {gas}; "
            + (f"write {known}, or utilization" if known else "write utilization, the share that the process uses up"),
        )
    if activity.abated_share and activity.destruction is None and gas not in DESTRUCTION:
        yield "destruction", f"has no default for {gas}; write the share that the abatement destroys"


def _check_unit(activity: Activity, unit: str) -> Iterator[tuple[str, str]]:
    try:
        convert(Decimal(1), activity.unit, unit)
    except ValueError as error:
        yield "unit", str(error)


def resolve(activity: Activity, gwp_set: GwpSet) -> ResolvedActivity:
    """Return an activity with every number that its emissions need.

    Raises:
        ValueError: it cannot be computed; `check_activity` says why.
    """
    wrong = "; ".join(f"{field} {problem}" for field, problem in check_activity(activity))
    if wrong:
        raise ValueError(f"activity {activity.reference}: {wrong}")
    if activity.kind == "fuel":
        return _fuel(activity, gwp_set)
    amount = convert(activity.amount, activity.unit, "kg")
    if activity.kind == "release":
        term = _term(activity.substance, _ALL, gwp_set, "all of it is emitted")
        return ResolvedActivity(activity=activity, amount=amount, unit="kg", heel=_NONE, terms=(term,))
    heel = DEFAULT_HEEL if activity.heel is None else activity.heel
    return ResolvedActivity(
        activity=activity, amount=amount, unit="kg", heel=heel, terms=tuple(_process_terms(activity, gwp_set))
    )


def emitted_kg(resolved: ResolvedActivity, term: Term) -> Decimal:
    """Return how much of one gas an activity emits [kg]; times the term's GWP it is kg CO2e."""
    used = CONTEXT.multiply(resolved.amount, _ALL - resolved.heel)
    passed = _ALL - CONTEXT.multiply(term.abated_share, term.destruction)
    return CONTEXT.multiply(CONTEXT.multiply(used, term.kg_per_unit), passed)


def _fuel(activity: Activity, gwp_set: GwpSet) -> ResolvedActivity:
    if activity.factor_kg_per_unit is not None:
        amount, unit = activity.amount, activity.unit
        # What its publisher states is CO2e as a whole.
        terms = [_burned("CO2", activity.factor_kg_per_unit, _ALL, activity.factor_source or "")]
    else:
        fuel = FUELS[activity.substance]
        amount, unit = convert(activity.amount, activity.unit, fuel.unit), fuel.unit
        terms = [
            _burned(gas, kg, gwp100(gas, gwp_set), _source_of(fuel.source, gas, gwp_set))
            for gas, kg in fuel.kg_per_unit.items()
        ]
    return ResolvedActivity(activity=activity, amount=amount, unit=unit, heel=_NONE, terms=tuple(terms))


def _burned(gas: str, kg_per_unit: Decimal, gwp: Decimal, source: str) -> Term:
    return Term(gas=gas, kg_per_unit=kg_per_unit, abated_share=_NONE, destruction=_NONE, gwp=gwp, source=source)


def _source_of(source: str, gas: str, gwp_set: GwpSet) -> str:
    return source if gas == "CO2" else f"{source}; GWP: {GWP_SOURCES[gwp_set]}"


def _process_terms(activity: Activity, gwp_set: GwpSet) -> Iterator[Term]:
    gas = activity.substance
    default = PROCESSES.get((gas, activity.process or ""))
    measured = activity.utilization
    if measured is not None:
        by_products = default.by_products if default else {}
        default = ProcessDefault(_ALL - measured, by_products, f"utilization as entered: {activity.document}")
    if default is None:
        raise ValueError(f"activity {activity.reference}: no utilization of {gas} is known")
    abated = activity.abated_share or _NONE
    for name, rate in {gas: default.emitted, **default.by_products}.items():
        given = activity.destruction if name == gas else None
        destruction = given if given is not None else DESTRUCTION.get(name, _NONE)
        source = default.source
        if abated:
            source += f"; destruction: {DESTRUCTION_SOURCE if given is None else activity.document}"
        yield _term(name, rate, gwp_set, source, abated, destruction if abated else _NONE)


def _term(
    gas: str, rate: Decimal, gwp_set: GwpSet, source: str, abated: Decimal = _NONE, destruction: Decimal = _NONE
) -> Term:
    return Term(
        gas=gas,
        kg_per_unit=rate,
        abated_share=abated,
        destruction=destruction,
        gwp=gwp100(gas, gwp_set),
        source=_source_of(source, gas, gwp_set),
    )
