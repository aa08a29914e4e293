"""Long tables as files: readings, intervals and meter events, streamed from the database."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse_unknown_parameters, time_range
from emsd.api.problems import raise_unknown
from emsd.api.routers.plant import meter_called
from emsd.api.tables import (
    Slots,
    TableFormatParameter,
    TableResponse,
    accepted_format,
    file_name,
    table_responses,
)
from emsd.energy.windows import Tier
from emsd.export import TableFormat, rows_at_once
from emsd.export.tables import events_table, intervals_table, readings_table
from emsd.quantities import BY_NAME
from emsd.store.export import open_events, open_intervals, open_readings
from emsd.store.plant_view import PlantView

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/export", tags=["export"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=3660)

Meters: TypeAlias = Annotated[
    list[str] | None,
    Query(max_length=1000, alias="meter", description="Key of a meter; repeat it for more; absent: all."),
]


async def _span(given: Given, from_: FromTime = None, to: ToTime = None) -> TimeRange:
    return time_range(
        from_,
        to,
        now=given.now(),
        default=timedelta(days=1),
        longest=_LONGEST,
        cure="ask for at most ten years",
    )


Span: TypeAlias = Annotated[TimeRange, Depends(_span)]


async def _format(request: Request, table_format: TableFormatParameter = None) -> TableFormat:
    return table_format or accepted_format(request) or TableFormat.CSV


Format: TypeAlias = Annotated[TableFormat, Depends(_format)]


@router.get(
    "/readings",
    summary="Readings as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_readings(
    given: Given,
    configuration: CurrentConfiguration,
    slots: Slots,
    span: Span,
    table_format: Format,
    quantity: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=120,
            description="Quantity, one column; repeat it for more.",
            examples=[["active_power_kw"]],
        ),
    ],
    meters: Meters = None,
) -> TableResponse:
    """Return every reading as it is stored, one row each: time, meter, quality flags, and a column for each quantity.

    Rows come by UTC day, then meter, then time. A row without any of the quantities comes when its quality says why.
    Without `from` it is the last day.
    """
    plant = configuration.plant
    chosen = [BY_NAME.get(name) or raise_unknown("quantity", name, BY_NAME) for name in dict.fromkeys(quantity)]
    keys = _meters(plant, meters, energy_only=False)
    schema = readings_table(plant, list(keys.values()), chosen, span.from_, span.to)
    rows = partial(open_readings, given.pool, keys, chosen, span.from_, span.to, page_rows=rows_at_once(schema))
    return TableResponse(table_format, schema, rows, name=file_name("readings", span.from_, span.to), slots=slots)


@router.get(
    "/intervals",
    summary="Intervals as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_intervals(
    given: Given,
    configuration: CurrentConfiguration,
    slots: Slots,
    span: Span,
    table_format: Format,
    tier: Annotated[Tier, Query(description="Width: minute, quarter of an hour, local day.")] = "15m",
    meters: Meters = None,
) -> TableResponse:
    """Return energy, power and coverage of every interval that begins in the range, one row each.

    Rows come by meter and time within a UTC day of minutes, 7 days of quarter hours, or 366 local days. Without `from`
    it is the last day.
    """
    plant = configuration.plant
    keys = _meters(plant, meters, energy_only=True)
    schema = intervals_table(plant, list(keys.values()), tier, span.from_, span.to)
    rows = partial(open_intervals, given.pool, keys, tier, span.from_, span.to, page_rows=rows_at_once(schema))
    name = file_name(f"intervals-{tier}", span.from_, span.to)
    return TableResponse(table_format, schema, rows, name=name, slots=slots)


@router.get(
    "/events",
    summary="Meter events as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_events(
    given: Given,
    configuration: CurrentConfiguration,
    slots: Slots,
    span: Span,
    table_format: Format,
    meters: Meters = None,
) -> TableResponse:
    """Return what happened to meters, swaps, resets and the like, in order of time; without `from` the last day."""
    plant = configuration.plant
    keys = _meters(plant, meters, energy_only=False)
    schema = events_table(plant, list(keys.values()), span.from_, span.to)
    rows = partial(open_events, given.pool, keys, span.from_, span.to, page_rows=rows_at_once(schema))
    return TableResponse(table_format, schema, rows, name=file_name("events", span.from_, span.to), slots=slots)


def _meters(plant: PlantView, keys: list[str] | None, *, energy_only: bool) -> dict[int, str]:
    """Return the keys of the chosen meters by id; answers 404, naming keys that are close, for an unknown one."""
    if keys is not None:
        return {meter_called(plant, key).meter_id: key for key in dict.fromkeys(keys)}
    return {each.meter_id: each.key for each in plant.meters.values() if each.measures_energy or not energy_only}
