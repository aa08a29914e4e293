"""The carbon ledger, and its certificates and contracts."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias

import structlog
from fastapi import APIRouter, Depends, Path, Query

from emsd.api.carbon_schemas import (
    AreaEntry,
    CertificateEntered,
    CertificateEntry,
    CertificateList,
    EventEntry,
    EventList,
    EventRequest,
    GasEntry,
    InstrumentUse,
    LedgerAnswer,
    LedgerFactor,
    LedgerFigures,
    NewCertificate,
)
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import refuse, refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.security import Writer
from emsd.energy.ledger import Figures, LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.exact import Record
from emsd.errors import UnknownEntry
from emsd.store.carbon import read_ledger_inputs
from emsd.store.carbon_areas import AreaElectricity, read_area_electricity
from emsd.store.certificates import (
    NewEvent,
    NewInstrument,
    add_event,
    add_instrument,
    list_events,
    list_instruments,
    valid_until,
)

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/carbon", tags=["carbon"], dependencies=[Depends(refuse_unknown_parameters)])

_log = structlog.get_logger(__name__)

InstrumentId: TypeAlias = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the certificate or contract.")]
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


@router.get("/certificates", summary="Certificates and contracts", responses=problem_responses(422, 503))
async def certificates(given: Given) -> CertificateList:
    """Return every certificate and contract with what is left of it, in the order of production."""
    rows = await list_instruments(given.pool, given.site_id)
    return CertificateList(
        certificates=[
            CertificateEntry(**{name: getattr(row, name) for name in CertificateEntry.model_fields}) for row in rows
        ]
    )


@router.post(
    "/certificates",
    summary="Enter a certificate or contract",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(400, 401, 409, 413, 422, 503),
)
async def enter_certificate(body: NewCertificate, given: Given, writer: Writer) -> CertificateEntered:
    """Enter a certificate, a batch of one serial or a contract; needs a token. 409 when its serial is there already."""
    valid_to = valid_until(body.produced_to) if body.valid_to is None else body.valid_to
    fields = body.model_dump(exclude={"valid_to"})
    number = await add_instrument(given.pool, given.site_id, NewInstrument(valid_to=valid_to, **fields))
    _log.info("certificate_entered", number=number, serial=body.serial, author=body.author, token=writer.name)
    return CertificateEntered(number=number)


@router.get(
    "/certificates/{instrument_id}/events",
    summary="What was done with a certificate or contract",
    responses=problem_responses(404, 422, 503),
)
async def events(instrument_id: InstrumentId, given: Given) -> EventList:
    """Return the journal of one certificate or contract, the oldest entry first."""
    if not await list_instruments(given.pool, given.site_id, instrument_id):
        raise UnknownEntry(f"there is no certificate or contract {instrument_id}")
    rows = await list_events(given.pool, given.site_id, instrument_id)
    return EventList(
        instrument_id=instrument_id,
        events=[EventEntry(**{name: getattr(row, name) for name in EventEntry.model_fields}) for row in rows],
    )


@router.post(
    "/certificates/{instrument_id}/events",
    summary="Retire, sell or cancel",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(400, 401, 404, 409, 413, 422, 503),
)
async def enter_event(
    instrument_id: InstrumentId, body: EventRequest, given: Given, writer: Writer
) -> CertificateEntered:
    """Use a certificate or contract for a period, sell or cancel it; needs a token. 409 when not so much is left."""
    is_retired = body.kind == "retire"
    if (body.period_from is not None, body.period_to is not None) != (is_retired, is_retired):
        raise refuse("body.period_from", "and period_to belong to retire", "give both there, and none elsewhere")
    if body.period_from is not None and body.period_to is not None and body.period_to <= body.period_from:
        raise refuse("body.period_to", "is not after period_from", "let the use begin before it ends")
    happened_at = given.now() if body.happened_at is None else body.happened_at
    event = NewEvent(instrument_id=instrument_id, happened_at=happened_at, **body.model_dump(exclude={"happened_at"}))
    number = await add_event(given.pool, given.site_id, event)
    _log.info(
        "certificate_event", number=number, kind=body.kind, instrument=instrument_id, author=body.author,
        token=writer.name,
    )  # fmt: skip
    return CertificateEntered(number=number)


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
            LedgerFactor(**_floats(use))
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
