"""Live values as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import refuse_unknown_parameters
from emsd.api.problems import Problem, problem_responses
from emsd.api.routers.plant import meter_called
from emsd.api.routers.values import quality_names
from emsd.api.schemas.values import LiveEvent
from emsd.ingest.live import LiveValues
from emsd.readings import Reading

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["values"], dependencies=[Depends(refuse_unknown_parameters)])

_RETRY_MS: Final = 2000


async def _live(given: Given) -> LiveValues:
    if given.live is None:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no-live-values",
            "this process collects nothing, so it has no live values; ask the process that collects",
        )
    return given.live


async def _meter_ids(
    configuration: CurrentConfiguration,
    meter: Annotated[
        list[str] | None, Query(max_length=1000, description="Key of a meter; repeat it for more; absent: all.")
    ] = None,
) -> list[int] | None:
    return None if meter is None else [meter_called(configuration.plant, key).meter_id for key in meter]


@router.get(
    "/live",
    summary="Live values as server-sent events",
    response_class=EventSourceResponse,
    responses=problem_responses(404, 422, 503),
)
async def live_values(
    configuration: CurrentConfiguration,
    live: Annotated[LiveValues, Depends(_live)],
    meter_ids: Annotated[list[int] | None, Depends(_meter_ids)],
) -> AsyncIterator[ServerSentEvent]:
    """Send one event `reading` for every reading as it arrives, until the client goes away.

    The id of an event is its time in microseconds since 1970 UTC. A comment comes every 15 s when nothing else does. A
    client that reads too slowly misses readings, and slows nobody down.
    """
    keys = {meter.meter_id: meter.key for meter in configuration.plant.meters.values()}
    async with live.subscribe(meter_ids) as readings:
        yield ServerSentEvent(comment="emsd live values", retry=_RETRY_MS)
        async for reading in readings:
            if reading.meter_id in keys:
                yield _event(keys[reading.meter_id], reading)


def _event(key: str, reading: Reading) -> ServerSentEvent:
    event = LiveEvent(
        meter=key, time=reading.time, values=dict(reading.items()), quality=quality_names(reading.quality)
    )
    return ServerSentEvent(raw_data=event.model_dump_json(), event="reading", id=str(reading.time_us))
