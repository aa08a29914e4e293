"""The carbon ledger."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import refuse, refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.schemas.carbon import AreaEntry, GasEntry, InstrumentUse, LedgerAnswer, LedgerFigures
from emsd.api.schemas.energy import UsedFactor
from emsd.energy.ledger import Figures, LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.exact import Record
from emsd.store.carbon import read_ledger_inputs
from emsd.store.carbon_areas import AreaElectricity, read_area_electricity

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/carbon", tags=["carbon"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST_DAYS: Final = 1100
_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)


@router.get("/ledger", summary="The carbon ledger", responses=problem_responses(409, 422, 503))
async def ledger(
    given: Given,
    configuration: CurrentConfiguration,
    from_: Annotated[
        date | None, Query(alias="from", description="First local day; absent: 1 January.", examples=["2026-01-01"])
    ] = None,
    to: Annotated[
        date | None, Query(description="First local day after it; absent: tomorrow.", examples=["2027-01-01"])
    ] = None,
) -> LedgerAnswer:
    """Return Scope 1 and Scope 2 by both methods, by month and by area, with coverage and what is missing.

    Local days of the site, at most 1,100; a period that is running ends at the last quarter of an hour. What is
    reported is a statement; this is what the database says now.
    """
    plant = configuration.plant
    now = given.now()
    today = now.astimezone(plant.zone).date()
    end_day = date.fromordinal(today.toordinal() + 1) if to is None else to
    first_day = today.replace(month=1, day=1) if from_ is None else from_
    _check_days(first_day, end_day)
    inputs = await read_ledger_inputs(given.pool, given.site_id, first_day, end_day, now=now)
    results = await asyncio.to_thread(compute, inputs)
    areas = await read_area_electricity(given.pool, plant, inputs)
    return _answer(inputs, results, areas)


def _check_days(first_day: date, end_day: date) -> None:
    for field, day in (("query.from", first_day), ("query.to", end_day)):
        if not _FIRST <= day <= _LAST:
            raise refuse(field, "is not between the years 2000 and 2100", "check the year")
    if end_day <= first_day:
        raise refuse("query.from", f"{first_day} is not before the end {end_day}", "let it begin before it ends")
    if (end_day - first_day).days > _LONGEST_DAYS:
        raise refuse("query.from", f"the period is longer than {_LONGEST_DAYS} days", "ask for less")


def _answer(inputs: LedgerInputs, results: LedgerResults, areas: list[AreaElectricity]) -> LedgerAnswer:
    return LedgerAnswer(
        from_=inputs.period_from,
        to=inputs.period_to,
        time_zone=inputs.site.time_zone,
        carbon_region=inputs.site.carbon_region,
        residual_region=inputs.site.residual_region,
        gwp_set=inputs.gwp_set,
        matching=inputs.matching,
        total=_figures(results.total),
        months=[_figures(month) for month in results.months],
        scope1=[GasEntry(**_floats(each)) for each in results.scope1],
        areas=_areas(results, areas),
        instruments=[
            InstrumentUse(**{name: _floats(each)[name] for name in InstrumentUse.model_fields})
            for each in results.instruments
        ],
        factors=[
            UsedFactor(**_floats(use))
            for column in (inputs.location, inputs.supplier, inputs.residual)
            for use in column.uses
        ],
        missing=list(results.missing),
    )


def _areas(results: LedgerResults, areas: list[AreaElectricity]) -> list[AreaEntry]:
    scope1 = {each.area: float(each.kg_co2e) for each in results.scope1_by_area}
    found = [
        AreaEntry(
            area=each.key,
            name=each.name,
            consumption_kwh=each.consumption_kwh,
            location_kg=each.location_kg,
            coverage=each.coverage,
            scope1_kg=scope1.pop(each.key, None),
        )
        for each in areas
    ]
    return found + [
        AreaEntry(area=area, name=None, consumption_kwh=None, location_kg=None, coverage=None, scope1_kg=kg)
        for area, kg in scope1.items()
    ]


def _figures(figures: Figures) -> LedgerFigures:
    return LedgerFigures(**_floats(figures))


def _floats(record: Record) -> dict[str, object]:
    """Return the fields of a record, exact decimals as numbers of JSON."""
    fields = ((name, getattr(record, name)) for name in type(record).model_fields)
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in fields}
