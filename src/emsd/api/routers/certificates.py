"""Certificates and contracts of the carbon ledger, and the journal of what is done with them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, TypeAlias

import structlog
from fastapi import APIRouter, Depends, Path

from emsd.api.dependencies import Given
from emsd.api.parameters import refuse, refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.schemas.certificate import (
    CertificateEntered,
    CertificateEntry,
    CertificateList,
    EventEntry,
    EventList,
    EventRequest,
    NewCertificate,
)
from emsd.api.security import Writer
from emsd.errors import UnknownEntry
from emsd.store.certificate_journal import NewEvent, add_event, list_events
from emsd.store.certificates import NewInstrument, add_instrument, list_instruments, valid_until

__all__ = ["router"]

router = APIRouter(
    prefix="/api/v1/carbon/certificates", tags=["carbon"], dependencies=[Depends(refuse_unknown_parameters)]
)

_log = structlog.get_logger(__name__)

InstrumentId: TypeAlias = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the certificate or contract.")]


@router.get("", summary="Certificates and contracts", responses=problem_responses(422, 503))
async def certificates(given: Given) -> CertificateList:
    """Return every certificate and contract with what is left of it, in the order of production."""
    rows = await list_instruments(given.pool, given.site_id)
    return CertificateList(
        certificates=[
            CertificateEntry(**{name: getattr(row, name) for name in CertificateEntry.model_fields}) for row in rows
        ]
    )


@router.post(
    "",
    summary="Enter a certificate or contract",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(400, 401, 409, 413, 422, 503),
)
async def enter_certificate(body: NewCertificate, given: Given, writer: Writer) -> CertificateEntered:
    """Enter a certificate, a batch of one serial or a contract; needs a token. 409 when its serial is there already."""
    valid_to = valid_until(body.kind, body.produced_to) if body.valid_to is None else body.valid_to
    fields = body.model_dump(exclude={"valid_to"})
    number = await add_instrument(given.pool, given.site_id, NewInstrument(valid_to=valid_to, **fields))
    _log.info("certificate_entered", number=number, serial=body.serial, author=body.author, token=writer.name)
    return CertificateEntered(number=number)


@router.get(
    "/{instrument_id}/events",
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
    "/{instrument_id}/events",
    summary="Retire, sell, cancel or take back",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(400, 401, 404, 409, 413, 422, 503),
)
async def enter_event(
    instrument_id: InstrumentId, body: EventRequest, given: Given, writer: Writer
) -> CertificateEntered:
    """Use a certificate or contract for a period, sell, cancel or take it back; needs a token.

    409 when not so much is left. `void` takes back an entry that was a mistake, all of it, before any of it was used.
    """
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
