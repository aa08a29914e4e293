"""Meter events: what happened to a meter, and writing it down."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import structlog
from fastapi import APIRouter, Depends

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import MeterKey, refuse, refuse_unknown_parameters
from emsd.api.problems import Problem, problem_responses
from emsd.api.routers.plant import meter_called
from emsd.api.schemas.event import EventEntry, EventList, NewEvent
from emsd.api.security import Writer
from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.errors import EventRefused
from emsd.readings import instant_us
from emsd.store.meter_events import EventRow, add_event, list_events, withdraw_event

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/meters", tags=["events"], dependencies=[Depends(refuse_unknown_parameters)])

_log = structlog.get_logger(__name__)


@router.get("/{key}/events", summary="What happened to a meter", responses=problem_responses(404, 422, 503))
async def read_meter_events(key: MeterKey, given: Given, configuration: CurrentConfiguration) -> EventList:
    """Return the ledger of a meter with what counts no more, the latest event first."""
    meter = meter_called(configuration.plant, key)
    rows = await list_events(given.pool, meter_ids=[meter.meter_id])
    return EventList(meter=key, events=[_entry(row) for row in rows])


@router.post(
    "/{key}/events",
    status_code=HTTPStatus.CREATED,
    summary="Write down what happened to a meter",
    responses=problem_responses(400, 401, 404, 409, 413, 422, 503),
)
async def write_meter_event(
    key: MeterKey, body: NewEvent, given: Given, configuration: CurrentConfiguration, writer: Writer
) -> EventEntry:
    """Write an event to the ledger, where it stays; needs a token. Intervals follow within seconds.

    409 when it lies in the future, is there already, or supersedes what it cannot.
    """
    meter = meter_called(configuration.plant, key)
    try:
        row = await _write(body, given, meter.meter_id)
    except EventRefused as error:
        raise Problem(HTTPStatus.CONFLICT, "event-refused", str(error)) from error
    _log.info("meter_event_written", meter=key, event_id=row.event_id, kind=row.kind, token=writer.name)
    return _entry(row)


async def _write(body: NewEvent, given: Given, meter_id: int) -> EventRow:
    if body.kind == "withdrawal":
        if body.supersedes is None:
            raise refuse("body.supersedes", "is missing", "write the number of the event that never happened")
        return await withdraw_event(given.pool, body.supersedes, author=body.author, note=body.note, meter_id=meter_id)
    if body.at is None:
        raise refuse("body.at", "is missing", "write when it happened, such as 2026-01-31T08:00:00Z")
    return await add_event(
        given.pool,
        meter_id,
        _event(body, body.at),
        author=body.author,
        note=body.note,
        now=given.now(),
        supersedes=body.supersedes,
    )


def _event(body: NewEvent, at: datetime) -> MeterEvent:
    try:
        return MeterEvent(
            EventKind(body.kind),
            instant_us(at),
            final=CounterPair(body.final_import_kwh, body.final_export_kwh),
            initial=CounterPair(body.initial_import_kwh, body.initial_export_kwh),
            reading=CounterPair(body.import_kwh, body.export_kwh),
            factor=body.factor,
            serial=body.serial,
            until_us=None if body.until is None else instant_us(body.until),
        )
    except ValueError as error:
        problem, _, cure = str(error).partition("; ")
        raise refuse("body", problem, cure or "see docs/meter-events.md") from error


def _entry(row: EventRow) -> EventEntry:
    return EventEntry(
        event_id=row.event_id,
        meter=row.meter_key,
        kind=row.kind,
        at=row.occurred_at,
        detail=row.detail,
        author=row.author,
        note=row.note,
        recorded_at=row.recorded_at,
        supersedes=row.supersedes,
        superseded_by=row.superseded_by,
    )
