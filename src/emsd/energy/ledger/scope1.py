"""Scope 1: what the site itself emits, from its activities."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from emsd.energy.ledger.activities import Activity, emitted_kg
from emsd.energy.ledger.exact import CONTEXT, figure
from emsd.energy.ledger.inputs import LedgerInputs
from emsd.energy.ledger.results import AreaFigure, GasFigure

__all__ = ["areas", "gases", "kg_between", "part_between"]

_MICROSECOND: Final = timedelta(microseconds=1)


def part_between(activity: Activity, from_: datetime, to: datetime) -> Decimal:
    """Return the share 0..1 of an activity's period that lies in [from_, to): its amount was used evenly."""
    overlap = min(to, activity.period_to) - max(from_, activity.period_from)
    whole = activity.period_to - activity.period_from
    return CONTEXT.divide(Decimal(max(0, overlap // _MICROSECOND)), Decimal(whole // _MICROSECOND))


def kg_between(inputs: LedgerInputs, from_: datetime, to: datetime) -> Decimal | None:
    """Return the emissions of [from_, to) [kg CO2e]; None when no activity lies there."""
    found: Decimal | None = None
    for each in inputs.activities:
        part = part_between(each.activity, from_, to)
        if part:
            kg = sum((emitted_kg(each, term) * term.gwp for term in each.terms), Decimal(0))
            found = (found or Decimal(0)) + part * kg
    return found


def gases(inputs: LedgerInputs) -> tuple[GasFigure, ...]:
    """Return the emissions of the period by substance, process and gas."""
    sums: dict[tuple[str, str | None, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for each in inputs.activities:
        part = part_between(each.activity, inputs.period_from, inputs.period_to)
        for term in each.terms:
            emitted = part * emitted_kg(each, term)
            total = sums[each.activity.substance, each.activity.process, term.gas]
            total[0] += emitted
            total[1] += emitted * term.gwp
    return tuple(
        GasFigure(substance=substance, process=process, gas=gas, emitted_kg=figure(emitted), kg_co2e=figure(kg))
        for (substance, process, gas), (emitted, kg) in sorted(
            sums.items(), key=lambda item: (item[0][0], item[0][1] or "", item[0][2])
        )
    )


def areas(inputs: LedgerInputs) -> tuple[AreaFigure, ...]:
    """Return the emissions of the period by the area that each activity was entered for."""
    sums: dict[str | None, Decimal] = defaultdict(Decimal)
    for each in inputs.activities:
        part = part_between(each.activity, inputs.period_from, inputs.period_to)
        sums[each.activity.area] += part * sum((emitted_kg(each, term) * term.gwp for term in each.terms), Decimal(0))
    return tuple(
        AreaFigure(area=area, kg_co2e=figure(kg)) for area, kg in sorted(sums.items(), key=lambda item: item[0] or "")
    )
