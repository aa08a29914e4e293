"""Alarms: what they are now, what they were, and that a person has seen one."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import structlog
from fastapi import APIRouter, Depends, Path, Query

from emsd.alarms.lifecycle import AlarmState
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.routers.plant import meter_called
from emsd.api.schemas.alarms import Acknowledgement, AlarmEntry, AlarmJournal, AlarmList, JournalEntry
from emsd.api.security import Writer
from emsd.plant.models import Priority
from emsd.readings import instant_us
from emsd.store.alarms import AlarmRow, acknowledge, list_alarms, list_journal, read_alarm

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/alarms", tags=["alarms"], dependencies=[Depends(refuse_unknown_parameters)])

_log = structlog.get_logger(__name__)

AlarmId: TypeAlias = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the alarm.", examples=[7])]


@router.get("", summary="Alarms", responses=problem_responses(404, 422, 503))
async def alarms(
    given: Given,
    configuration: CurrentConfiguration,
    state: Annotated[list[AlarmState] | None, Query(max_length=4, description="Only these states.")] = None,
    meter: Annotated[list[str] | None, Query(max_length=100, description="Only of these meters, by key.")] = None,
    priority: Annotated[list[Priority] | None, Query(max_length=3, description="Only these priorities.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most alarms of one answer.")] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="How many to pass over.")] = 0,
) -> AlarmList:
    """Return alarms; those that ask for a person come first, then the more urgent, then the newer."""
    plant = configuration.plant
    meter_ids = list(plant.meters) if meter is None else [meter_called(plant, key).meter_id for key in meter]
    page = await list_alarms(
        given.pool, states=state, meter_ids=meter_ids, priorities=priority, limit=limit, offset=offset
    )
    return AlarmList(alarms=[_entry(row) for row in page.alarms], total=page.total)


@router.get("/{alarm_id}", summary="One alarm", responses=problem_responses(404, 422, 503))
async def alarm(alarm_id: AlarmId, given: Given) -> AlarmEntry:
    """Return one alarm, even when its rule has left the configuration."""
    return _entry(await read_alarm(given.pool, alarm_id))


@router.get("/{alarm_id}/journal", summary="What happened to one alarm", responses=problem_responses(404, 422, 503))
async def journal(
    alarm_id: AlarmId,
    given: Given,
    before: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="Only entries before this journal_id, for the next page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries of one answer.")] = 100,
) -> AlarmJournal:
    """Return the transitions of one alarm, the newest first."""
    await read_alarm(given.pool, alarm_id)
    rows = await list_journal(given.pool, alarm_id=alarm_id, before=before, limit=limit)
    entries = [
        JournalEntry(
            journal_id=row.journal_id,
            time=row.time,
            transition=row.transition,
            from_state=row.from_state,
            to_state=row.to_state,
            value=row.value,
            author=row.author,
            note=row.note,
        )
        for row in rows
    ]
    return AlarmJournal(alarm_id=alarm_id, entries=entries)


@router.post(
    "/{alarm_id}/acknowledge",
    summary="Acknowledge an alarm",
    responses=problem_responses(400, 401, 404, 409, 413, 422, 503),
)
async def acknowledge_alarm(alarm_id: AlarmId, body: Acknowledgement, given: Given, writer: Writer) -> AlarmEntry:
    """Write that a person has seen the alarm; needs a token. 409 when there is nothing to acknowledge."""
    row = await acknowledge(given.pool, alarm_id, author=body.author, note=body.note, now_us=instant_us(given.now()))
    _log.info("alarm_acknowledged", alarm_id=alarm_id, author=body.author, token=writer.name)
    return _entry(row)


def _entry(row: AlarmRow) -> AlarmEntry:
    return AlarmEntry(
        alarm_id=row.alarm_id,
        meter=row.meter_key,
        meter_name=row.meter_name,
        rule=row.rule_key,
        name=row.name,
        priority=row.priority,
        condition=row.condition,
        advice=row.advice,
        state=row.state,
        since=row.since,
        value=row.value,
        retired_at=row.retired_at,
    )
