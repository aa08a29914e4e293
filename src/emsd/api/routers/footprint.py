"""The footprint of products: energy and emissions, as JSON or as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from emsd.api.area_uses import area_uses
from emsd.api.dependencies import Configuration, CurrentConfiguration, Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.product_footprint import FootprintAnswer, direct_kg_by_area, footprint_of, outputs_of
from emsd.api.schemas.production import (
    AllocatedArea,
    BurdenAnswer,
    FootprintReport,
    ProductFootprintEntry,
    StageEntry,
    UnallocatedEntry,
    UnusedCount,
)
from emsd.api.tables import TableResponse, accepted_format, file_name, table_response, table_responses
from emsd.energy.kpi.footprint import Burden, Output, ProductFootprint
from emsd.export import Column, ColumnKind, Row, TableFormat, TableSchema
from emsd.export.tables import site_facts
from emsd.store.activities import read_activities
from emsd.store.production import ProductionView, read_gwp_set, read_production
from emsd.store.production_counts import OutputSum, read_output_sums
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["production"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=400)
_DEFAULT: Final = timedelta(days=31)
_QUARTER: Final = timedelta(minutes=15)
_FULL_QUARTER: Final = "let it be a full quarter hour, such as 2026-01-31T00:00:00Z"

FootprintFormat: TypeAlias = Literal["json", "csv", "parquet", "arrow"]


@router.get(
    "/footprint",
    summary="Energy and emissions of products",
    response_model=FootprintReport,
    responses=table_responses(422, beside="The footprint, or its products and stages as a table."),
)
async def footprint_of_products(
    request: Request,
    given: Given,
    configuration: CurrentConfiguration,
    from_: FromTime = None,
    to: ToTime = None,
    answer_format: Annotated[
        FootprintFormat | None, Query(alias="format", description="absent: what the header Accept prefers, else json.")
    ] = None,
) -> Response:
    """Return kWh and kgCO2 of every product: in all, per good unit, per good m2, and stage by stage.

    Without `from` it is the last 31 days, at most 400; both ends must be full quarter hours. What no product bears
    stands under `unallocated`, with the reason, so that everything adds up to what the site used.
    """
    span = _span(from_, to, given.now())
    async with snapshot(given.pool, "compute the footprint of products") as connection:
        production = await read_production(connection, given.site_id)
        uses = await area_uses(connection, configuration.plant, configuration.location, span.from_, span.to)
        activities = await read_activities(connection, given.site_id, span.from_, span.to)
        gwp_set = await read_gwp_set(connection, given.site_id)
        sums = await read_output_sums(connection, given.site_id, production.counters, span.from_, span.to)
    outputs, unused = outputs_of(production.products, sums)
    direct_kg = direct_kg_by_area(configuration.plant, activities, gwp_set, span.from_, span.to)
    answer = footprint_of(configuration.plant, uses, outputs, production.allocation, direct_kg)
    chosen = answer_format or accepted_format(request) or "json"
    if chosen != "json":
        return _table(TableFormat(chosen), configuration, production, answer, span)
    return JSONResponse(_report(production, answer, unused, span).model_dump(mode="json", by_alias=True))


def _span(from_: datetime | None, to: datetime | None, now: datetime) -> TimeRange:
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and instant.timestamp() % _QUARTER.total_seconds():
            raise refuse(field, f"{instant.isoformat()} is no full quarter hour", _FULL_QUARTER)
    end = to or now - timedelta(seconds=now.timestamp() % _QUARTER.total_seconds())
    return time_range(
        from_, end, now=end, default=_DEFAULT, longest=_LONGEST, cure=f"ask for at most {_LONGEST.days} days"
    )


def _burden(burden: Burden, answer: FootprintAnswer) -> BurdenAnswer:
    return BurdenAnswer(**_fields(burden, answer))


def _fields(burden: Burden, answer: FootprintAnswer) -> dict[str, Any]:
    """Return the fields of a burden; emissions are unknown where no energy had a factor, and not 0."""
    known = answer.carbon_coverage != 0
    return {
        "energy_kwh": burden.kwh,
        "kg_co2": burden.kg_co2 if known else None,
        "direct_kg_co2e": burden.direct_kg_co2e,
        "total_kg_co2e": burden.total_kg_co2e if known else None,
    }


def _report(
    production: ProductionView, answer: FootprintAnswer, unused: Sequence[OutputSum], span: TimeRange
) -> FootprintReport:
    return FootprintReport(
        from_=span.from_,
        to=span.to,
        carbon_basis="consumption",
        coverage=answer.coverage,
        estimated_kwh=answer.estimated_kwh,
        carbon_coverage=answer.carbon_coverage,
        products=[
            _product(production, answer, each, output)
            for each, output in zip(answer.footprint.products, answer.outputs, strict=True)
        ],
        shared=[
            AllocatedArea(area=each.area, key=each.key.value, **_fields(each.burden, answer)) for each in answer.shared
        ],
        unallocated=[
            UnallocatedEntry(what=each.what, reason=each.reason, **_fields(each.burden, answer))
            for each in answer.footprint.unallocated
        ],
        unused_counts=[UnusedCount(product=each.product, stage=each.stage or "", units=each.units) for each in unused],
        allocated=_burden(answer.footprint.allocated, answer),
        total=_burden(answer.footprint.total, answer),
    )


def _product(
    production: ProductionView, answer: FootprintAnswer, each: ProductFootprint, output: Output
) -> ProductFootprintEntry:
    return ProductFootprintEntry(
        product=each.product,
        name=production.products[each.product].name,
        area_m2=output.area_m2,
        good_units=each.good_units,
        good_area_m2=each.good_area_m2,
        total=_burden(each.total, answer),
        per_unit=None if each.per_unit is None else _burden(each.per_unit, answer),
        per_m2=None if each.per_m2 is None else _burden(each.per_m2, answer),
        stages=[
            StageEntry(
                stage=stage, units=output.processed[stage], passes=output.passes[stage], **_fields(burden, answer)
            )
            for stage, burden in each.by_stage.items()
        ],
    )


_COLUMNS: Final = (
    Column("product", ColumnKind.TEXT, title="Key of the product; empty: no product bears it"),
    Column("stage", ColumnKind.TEXT, title="Production stage, or what is not allocated"),
    Column("energy_kwh", ColumnKind.DOUBLE, "kWh", "Energy"),
    Column("kg_co2", ColumnKind.DOUBLE, "kg", "Location-based emissions of the energy"),
    Column("direct_kg_co2e", ColumnKind.DOUBLE, "kg", "Direct emissions"),
    Column("units", ColumnKind.DOUBLE, "1", "Units that went through the stage"),
    Column("good_units", ColumnKind.DOUBLE, "1", "Good units of the product"),
    Column("kwh_per_unit", ColumnKind.DOUBLE, "kWh", "Energy of a good unit"),
    Column("kg_co2e_per_unit", ColumnKind.DOUBLE, "kg", "Emissions of a good unit"),
    Column("kwh_per_m2", ColumnKind.DOUBLE, "kWh/m2", "Energy of a square metre of good product"),
    Column("kg_co2e_per_m2", ColumnKind.DOUBLE, "kg/m2", "Emissions of a square metre of good product"),
)


def _table(
    table_format: TableFormat,
    configuration: Configuration,
    production: ProductionView,
    answer: FootprintAnswer,
    span: TimeRange,
) -> TableResponse:
    facts = {**site_facts(configuration.plant, span.from_, span.to), "carbon_basis": "consumption"}
    facts |= {f"product {key}": each.name for key, each in production.products.items()}
    known = answer.carbon_coverage != 0
    rows: list[Row] = []
    for product, output in zip(answer.footprint.products, answer.outputs, strict=True):
        units, area_m2 = product.good_units, product.good_area_m2
        for stage, burden in product.by_stage.items():
            kg = burden.total_kg_co2e if known else None
            rows.append(
                (
                    product.product,
                    stage,
                    burden.kwh,
                    burden.kg_co2 if known else None,
                    burden.direct_kg_co2e,
                    output.processed[stage],
                    units,
                    _over(burden.kwh, units),
                    _over(kg, units),
                    _over(burden.kwh, area_m2),
                    _over(kg, area_m2),
                )
            )
    rows += [
        ("", each.what, each.burden.kwh, each.burden.kg_co2 if known else None, each.burden.direct_kg_co2e, *[None] * 6)
        for each in answer.footprint.unallocated
    ]
    schema = TableSchema("footprint", _COLUMNS, facts)
    return table_response(table_format, schema, rows, name=file_name("footprint", span.from_, span.to))


def _over(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
