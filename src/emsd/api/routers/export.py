"""Long tables as files: readings, intervals and meter events, streamed from the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse_unknown_parameters, time_range
from emsd.api.problems import raise_unknown
from emsd.api.routers.plant import meter_called
from emsd.api.tables import (
    ExportSlots,
    Slots,
    TableFormatParameter,
    TableResponse,
    accepted_format,
    file_name,
    table_responses,
)
from emsd.energy.windows import Tier
from emsd.export import TableFormat, TableSchema, rows_at_once
from emsd.export.tables import events_table, intervals_table, readings_table
from emsd.quantities import BY_NAME
from emsd.store.export import Pages, open_events, open_intervals, open_readings
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/export", tags=["export"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=3660)

Meters: TypeAlias = Annotated[
    list[str] | None,
    Query(max_length=1000, alias="meter", description="Key of a meter; repeat it for more; absent: all."),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every export is asked with."""

    pool: Pool
    plant: PlantView
    slots: ExportSlots
    span: TimeRange
    table_format: TableFormat
    meter_keys: list[str] | None

    def meters(self, *, energy_only: bool = False) -> dict[int, str]:
        """Return the keys of the chosen meters by id; answers 404, naming keys that are close, for an unknown one."""
        if self.meter_keys is not None:
            return {meter_called(self.plant, key).meter_id: key for key in dict.fromkeys(self.meter_keys)}
        every = self.plant.meters.values()
        return {each.meter_id: each.key for each in every if each.measures_energy or not energy_only}

    def answer(
        self, schema: TableSchema, open_rows: Callable[..., AbstractAsyncContextManager[Pages]], what: str
    ) -> TableResponse:
        """Return the table that `open_rows` reads, with pages that fit it."""
        return TableResponse(
            self.table_format,
            schema,
            partial(open_rows, page_rows=rows_at_once(schema)),
            name=file_name(what, self.span.from_, self.span.to),
            slots=self.slots,
        )


async def _asked(
    request: Request,
    given: Given,
    configuration: CurrentConfiguration,
    slots: Slots,
    from_: FromTime = None,
    to: ToTime = None,
    table_format: TableFormatParameter = None,
    meters: Meters = None,
) -> _Asked:
    span = time_range(
        from_,
        to,
        now=given.now(),
        default=timedelta(days=1),
        longest=_LONGEST,
        cure="ask for at most ten years",
    )
    chosen = table_format or accepted_format(request) or TableFormat.CSV
    return _Asked(given.pool, configuration.plant, slots, span, chosen, meters)


Asked: TypeAlias = Annotated[_Asked, Depends(_asked)]


@router.get(
    "/readings",
    summary="Readings as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_readings(
    asked: Asked,
    quantity: Annotated[
        list[str],
        Query(
            min_length=1,
            max_length=120,
            description="Quantity, one column; repeat it for more.",
            examples=[["active_power_kw"]],
        ),
    ],
) -> TableResponse:
    """Return every reading as it is stored, one row each: time, meter, quality flags, and a column for each quantity.

    Rows come by UTC day, then meter, then time. A row without any of the quantities comes when its quality says why.
    Without `from` it is the last day.
    """
    chosen = [BY_NAME.get(name) or raise_unknown("quantity", name, BY_NAME) for name in dict.fromkeys(quantity)]
    meters, (begin, end) = asked.meters(), (asked.span.from_, asked.span.to)
    schema = readings_table(asked.plant, list(meters.values()), chosen, begin, end)
    return asked.answer(schema, partial(open_readings, asked.pool, meters, chosen, begin, end), "readings")


@router.get(
    "/intervals",
    summary="Intervals as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_intervals(
    asked: Asked,
    tier: Annotated[Tier, Query(description="Width: minute, quarter of an hour, local day.")] = "15m",
) -> TableResponse:
    """Return energy, power and coverage of every interval that begins in the range, one row each.

    Rows come by meter and time within a UTC day of minutes, 7 days of quarter hours, or 366 local days. Without `from`
    it is the last day.
    """
    meters, (begin, end) = asked.meters(energy_only=True), (asked.span.from_, asked.span.to)
    schema = intervals_table(asked.plant, list(meters.values()), tier, begin, end)
    return asked.answer(schema, partial(open_intervals, asked.pool, meters, tier, begin, end), f"intervals-{tier}")


@router.get(
    "/events",
    summary="Meter events as a table",
    response_class=Response,
    responses=table_responses(404, 422),
)
async def export_events(asked: Asked) -> TableResponse:
    """Return what happened to meters, swaps, resets and the like, in order of time; without `from` the last day."""
    meters, (begin, end) = asked.meters(), (asked.span.from_, asked.span.to)
    schema = events_table(asked.plant, list(meters.values()), begin, end)
    return asked.answer(schema, partial(open_events, asked.pool, meters, begin, end), "events")
