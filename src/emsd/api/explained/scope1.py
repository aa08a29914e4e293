"""Scope 1 explained: every activity with its amount, what of it is emitted, and what that warms."""

from __future__ import annotations

from decimal import Decimal

from emsd.api.explained.form import Part, Source, first_parts, times
from emsd.energy.ledger.activities import ResolvedActivity, Term, emitted_kg
from emsd.energy.ledger.inputs import LedgerInputs
from emsd.energy.ledger.scope1 import part_between

__all__ = ["scope1_parts", "scope1_sources"]


def scope1_parts(inputs: LedgerInputs) -> list[Part]:
    """Return a part for each activity that lies in the period, with one for each gas that it emits."""
    return [
        _activity(each, inputs)
        for each in inputs.activities
        if part_between(each.activity, inputs.period_from, inputs.period_to)
    ]


def _activity(resolved: ResolvedActivity, inputs: LedgerInputs) -> Part:
    entry = resolved.activity
    inside = part_between(entry, inputs.period_from, inputs.period_to)
    gases = [_gas(resolved, term, inside) for term in resolved.terms]
    facts = {
        "kind": entry.kind,
        "process": entry.process,
        "area": entry.area,
        "asset": entry.asset,
        "share_in_the_period": float(inside),
        "document": entry.document,
        "author": entry.author,
    }
    return Part(
        what=f"{entry.substance}, entry {entry.reference} version {entry.version}",
        figure=float(sum((_kg(resolved, term, inside) for term in resolved.terms), Decimal(0))),
        unit="kgCO2e",
        how=times((float(resolved.amount), resolved.unit), (float(inside), "of its time")),
        from_=entry.period_from,
        to=entry.period_to,
        facts={name: value for name, value in facts.items() if value is not None},
        remark="" if inside == 1 else "it reaches beyond the period; its amount was used evenly over its time",
        parts=first_parts(gases),
    )


def _gas(resolved: ResolvedActivity, term: Term, inside: Decimal) -> Part:
    factors: list[tuple[float | None, str]] = [(float(resolved.amount), resolved.unit)]
    if resolved.heel:
        factors.append((float(1 - resolved.heel), "used, without the heel"))
    factors.append((float(term.kg_per_unit), f"kg/{resolved.unit} emitted"))
    if term.abated_share:
        factors.append((float(1 - term.abated_share * term.destruction), "not destroyed"))
    if inside != 1:
        factors.append((float(inside), "of its time"))
    factors.append((float(term.gwp), "GWP"))
    return Part(
        what=term.gas,
        figure=float(_kg(resolved, term, inside)),
        unit="kgCO2e",
        how=times(*factors),
        facts={
            "emitted_kg": float(inside * emitted_kg(resolved, term)),
            "abated_share": float(term.abated_share),
            "destruction": float(term.destruction),
            "gwp": float(term.gwp),
            "source": term.source,
        },
    )


def _kg(resolved: ResolvedActivity, term: Term, inside: Decimal) -> Decimal:
    return inside * emitted_kg(resolved, term) * term.gwp


def scope1_sources(inputs: LedgerInputs) -> list[Source]:
    """Return the entries as they were made, with author and document."""
    return [
        Source(
            kind="activity",
            name=f"{each.activity.reference}, version {each.activity.version}",
            facts=each.activity.model_dump(mode="json", exclude_none=True),
        )
        for each in inputs.activities
        if part_between(each.activity, inputs.period_from, inputs.period_to)
    ]
