"""Energy and carbon of groups of meters, by month, day or quarter hour, over long times."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from emsd.api.asked_scope import ScopeAsked
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.schemas.sums import EnergySums
from emsd.api.sums import FIGURES, Group, PeriodSums, SumsQuestion, groups_of, open_sums
from emsd.api.tables import Slots, TableResponse, accepted_format, file_name, table_responses
from emsd.energy.period_sums import Per
from emsd.energy.windows import local_day_bounds, settled_minute
from emsd.export import Batch, Row, TableFormat, in_batches
from emsd.export.tables import sums_table
from emsd.store.plant_view import PlantView
from emsd.store.scopes import ScopeKind

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["energy"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=3660)
_MOST_FIGURES: Final = 20_000
"""Groups x periods of an answer in JSON, which is held in memory; tables have no limit."""

SumsFormat: TypeAlias = Literal["json", "csv", "parquet", "arrow"]


async def _question(
    given: Given,
    configuration: CurrentConfiguration,
    asked: ScopeAsked,
    by: Annotated[ScopeKind, Query(description="What is added up: one sum for each of these.")] = "site",
    per: Annotated[Per, Query(description="Period, in the time zone of the site.")] = "total",
    from_: FromTime = None,
    to: ToTime = None,
    carbon: Annotated[bool, Query(description="Also location-based emissions.")] = False,
) -> SumsQuestion:
    plant = configuration.plant
    span = _span(plant, from_, to, given.now(), given.settle_s)
    return SumsQuestion(
        by=by,
        per=per,
        within=(asked.kind, asked.key),
        groups=await groups_of(plant, by, (asked.kind, asked.key)),
        from_=span.from_,
        to=span.to,
        zone=plant.zone,
        factors=configuration.location,
        basis=None if not carbon else "grid_import" if by == asked.kind == "site" else "consumption",
    )


@router.get(
    "/energy/sums",
    summary="Energy and carbon by group and period",
    response_model=EnergySums,
    responses=table_responses(404, 422, beside="The sums, or the same as a table."),
)
async def energy_sums(
    request: Request,
    given: Given,
    configuration: CurrentConfiguration,
    slots: Slots,
    question: Annotated[SumsQuestion, Depends(_question)],
    answer_format: Annotated[
        SumsFormat | None, Query(alias="format", description="absent: what the header Accept prefers, else json.")
    ] = None,
) -> Response:
    """Return energy by area, stage, asset or meter and by month, day or quarter hour; without `from` the month to date.

    Days fill what they can, quarter hours and minutes the edges, so `from` and `to` may be any full minute. Within a
    group no kilowatt-hour counts twice. Groups may overlap: an area includes the areas in it, and a meter those below
    it, so do not add up the groups of an answer. Groups without an energy meter are left out.
    """
    plant = configuration.plant
    chosen = answer_format or accepted_format(request) or "json"
    meter_count = len(plant.energy_meter_ids)
    if chosen != "json":
        return _table(TableFormat(chosen), given, slots, plant, question)
    if (figures := len(question.groups) * (question.edges_us().size - 1)) > _MOST_FIGURES:
        raise refuse(
            "query.per",
            f"these are {figures:,} figures of groups in periods, and an answer in JSON has at most {_MOST_FIGURES:,}",
            "ask for longer periods or a shorter range, or add format=csv",
        )
    periods: list[list[dict[str, Any]]] = [[] for _ in question.groups]
    async with open_sums(given.pool, question, energy_meter_count=meter_count) as chunks:
        async for chunk in chunks:
            for period in chunk:
                for of_group, values in zip(periods, period.of_groups, strict=True):
                    of_group.append(
                        {"period": period.label, "from": period.from_, "to": period.to}
                        | dict(zip(FIGURES, values, strict=True))
                    )
    body = {
        "by": question.by,
        "per": question.per,
        "scope": question.within[0],
        "key": question.within[1],
        "time_zone": plant.site.time_zone,
        "from": question.from_,
        "to": question.to,
        "carbon_basis": question.basis,
        "groups": [
            _group(plant, group) | {"periods": of_group}
            for group, of_group in zip(question.groups, periods, strict=True)
        ],
    }
    # pydantic would take ten times as long for figures that were never anything else; NaN becomes null.
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), media_type="application/json")


def _span(plant: PlantView, from_: datetime | None, to: datetime | None, now: datetime, settle_s: float) -> TimeRange:
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and (instant.second or instant.microsecond):
            raise refuse(field, f"{instant.isoformat()} is no full minute", "sums begin and end at full minutes")
    settled = settled_minute(now, settle_s)
    end = to or settled
    month = local_day_bounds(end.astimezone(plant.zone).date().replace(day=1), plant.zone)[0]
    return time_range(
        from_,
        end,
        now=settled,
        default=max(end - month, timedelta(minutes=1)),
        longest=_LONGEST,
        cure="ask for at most ten years",
    )


def _group(plant: PlantView, group: Group) -> dict[str, Any]:
    return {
        "key": group.key,
        "name": group.name,
        "parent": group.parent,
        "meters": [plant.meters[each].key for each in group.meters.top],
        "generation_meters": [plant.meters[each].key for each in group.meters.generation],
    }


def _table(
    table_format: TableFormat, given: Given, slots: Slots, plant: PlantView, question: SumsQuestion
) -> TableResponse:
    keys = [each.key or "site" for each in question.groups]
    schema = sums_table(plant, question.by, keys, question.from_, question.to, carbon=question.basis is not None)
    figures = len(schema.columns) - 4

    async def batches(chunks: AsyncIterator[list[PeriodSums]]) -> AsyncGenerator[Batch]:
        async for chunk in chunks:
            rows: list[Row] = [
                (period.label, period.from_, period.to, group, *values[:figures])
                for period in chunk
                for group, values in zip(keys, period.of_groups, strict=True)
            ]
            async for batch in in_batches(schema, rows):
                yield batch

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[AsyncIterator[Batch]]:
        async with (
            open_sums(given.pool, question, energy_meter_count=len(plant.energy_meter_ids)) as chunks,
            aclosing(batches(chunks)) as rows,
        ):
            yield rows

    name = file_name(f"sums-by-{question.by}-per-{question.per}", question.from_, question.to)
    return TableResponse(table_format, schema, open_rows, name=name, slots=slots)
