"""Key figures of equipment: what there are, those of one asset, and machines side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query

from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.key_figures import AssetFigures, Per, figures_of, quarter_edges
from emsd.api.parameters import FromTime, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses, raise_unknown
from emsd.api.schemas.kpi import (
    AssetKpiAnswer,
    AssetKpiSeries,
    KpiComparison,
    KpiEntry,
    KpiInput,
    KpiList,
    KpiPeriod,
    KpiRank,
)
from emsd.energy.kpi import KPIS, KpiDefinition, kpis_of_kind
from emsd.energy.series import datetime_from_us
from emsd.store.kpi import AssetSources, read_sources
from emsd.store.plant_view import AssetRow, PlantView
from emsd.store.production import read_production
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["key figures"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=400)
_LONGEST_QUARTERS: Final = timedelta(days=10)
_MOST_QUARTERS: Final = 1_000_000
"""Quarter hours of all machines of a comparison, about 10 s of work."""
_DEFAULT: Final = timedelta(days=1)
_NOTHING: Final = AssetSources()


@router.get("/kpi", summary="Definitions of key figures", responses=problem_responses(422, 503))
async def list_definitions(_: CurrentConfiguration) -> KpiList:
    """Return every key figure with its unit, formula, source and inputs."""
    return KpiList(kpis=[_entry(each) for each in KPIS.values()])


@router.get("/assets/{key}/kpi", summary="Key figures of one asset", responses=problem_responses(404, 422, 503))
async def kpi_of_asset(
    key: Annotated[str, Path(max_length=63, description="Key of an asset.", examples=["chiller-1"])],
    given: Given,
    configuration: CurrentConfiguration,
    from_: FromTime = None,
    to: ToTime = None,
    per: Annotated[Per, Query(description="Periods: the whole, quarter hours, local days or months.")] = "total",
    kpi: Annotated[
        list[str] | None, Query(max_length=20, description="Key figure; repeat it for more; absent: all of the asset.")
    ] = None,
) -> AssetKpiAnswer:
    """Return the key figures of an asset over a window, each with coverage, inputs, and the reason where it has none.

    Figures are ratios of sums over the quarter hours in which every input is measured. Without `from` it is the last 24
    hours. At most 400 days, 10 days of quarter hours. Both ends are moved outwards to full quarter hours.
    """
    plant = configuration.plant
    asset = _asset_called(plant, key)
    known = {each.name: each for each in kpis_of_kind(asset.kind)}
    names = list(dict.fromkeys(kpi)) if kpi is not None else list(known)
    definitions = [known.get(name) or raise_unknown("key figure", name, known) for name in names]
    longest = _LONGEST_QUARTERS if per == "15m" else _LONGEST
    cure = f"ask for at most {longest.days} days" + (", or for per=1d" if per == "15m" else "")
    span = time_range(from_, to, now=given.now(), default=_DEFAULT, longest=longest, cure=cure)
    edges_us = quarter_edges(span.from_, span.to)
    async with snapshot(given.pool, "compute key figures") as connection:
        sources = (await read_sources(connection, given.site_id)).get(asset.asset_id, _NOTHING)
        production = await read_production(connection, given.site_id)
        figures = await figures_of(
            connection, sources, asset.asset_id, definitions, edges_us, per, plant.zone, production.idle_times
        )
    return AssetKpiAnswer(
        asset=asset.key,
        kind=asset.kind,
        time_zone=plant.site.time_zone,
        from_=datetime_from_us(int(edges_us[0])),
        to=datetime_from_us(int(edges_us[-1])),
        per=per,
        facts=dict(sources.facts),
        kpis=[_series(each, sources) for each in figures],
    )


@router.get("/kpi/{name}", summary="One key figure of all machines", responses=problem_responses(404, 422, 503))
async def compare(
    name: Annotated[str, Path(max_length=63, description="Name of a key figure.", examples=["chiller_cop"])],
    given: Given,
    configuration: CurrentConfiguration,
    asset_kind: Annotated[str | None, Query(max_length=63, description="Only assets of this kind.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
) -> KpiComparison:
    """Return one key figure of every asset that has it, over one window, the best first.

    Without `from` it is the last 24 hours; at most 400 days.
    """
    definition = KPIS.get(name) or raise_unknown("key figure", name, KPIS)
    if asset_kind is not None and asset_kind not in definition.asset_kinds:
        those = ", ".join(definition.asset_kinds)
        raise refuse("query.asset_kind", f"{asset_kind[:100]!r} has no {name}", f"kinds that have it are: {those}")
    plant = configuration.plant
    span = time_range(
        from_, to, now=given.now(), default=_DEFAULT, longest=_LONGEST, cure=f"ask for at most {_LONGEST.days} days"
    )
    edges_us = quarter_edges(span.from_, span.to)
    kinds = definition.asset_kinds if asset_kind is None else (asset_kind,)
    assets = [each for each in plant.assets.values() if each.kind in kinds]
    if (quarters := len(assets) * (edges_us.size - 1)) > _MOST_QUARTERS:
        raise refuse(
            "query.from",
            f"{len(assets):,} machines over this time are {quarters:,} quarter hours",
            f"compare at most {_MOST_QUARTERS:,}: ask for a shorter time, or for one asset_kind",
        )
    ranks: list[KpiRank] = []
    async with snapshot(given.pool, "compare key figures") as connection:
        sources = await read_sources(connection, given.site_id)
        production = await read_production(connection, given.site_id)
        for asset in assets:
            known = sources.get(asset.asset_id, _NOTHING)
            (figures,) = await figures_of(
                connection, known, asset.asset_id, [definition], edges_us, "total", plant.zone, production.idle_times
            )
            ranks.append(_rank(plant, asset, known, figures))
    return KpiComparison(
        kpi=_entry(definition),
        from_=datetime_from_us(int(edges_us[0])),
        to=datetime_from_us(int(edges_us[-1])),
        assets=_best_first(ranks, definition),
    )


def _asset_called(plant: PlantView, key: str) -> AssetRow:
    by_key = {asset.key: asset for asset in plant.assets.values()}
    asset = by_key.get(key)
    return raise_unknown("asset", key, by_key) if asset is None else asset


def _best_first(ranks: Sequence[KpiRank], definition: KpiDefinition) -> list[KpiRank]:
    sign = -1.0 if definition.better == "higher" else 1.0
    return sorted(ranks, key=lambda each: (each.value is None, sign * (each.value or 0.0), each.asset))


def _entry(definition: KpiDefinition) -> KpiEntry:
    return KpiEntry(
        name=definition.name,
        title=definition.title,
        unit=definition.unit,
        formula=definition.formula,
        source=definition.source,
        asset_kinds=list(definition.asset_kinds),
        inputs=list(definition.inputs),
        facts=list(definition.facts),
        when=definition.when,
        better=definition.better,
    )


def _series(figures: AssetFigures, sources: AssetSources) -> AssetKpiSeries:
    definition = figures.definition
    return AssetKpiSeries(
        name=definition.name,
        title=definition.title,
        unit=definition.unit,
        better=definition.better,
        reference=sources.reference.get(definition.name),
        inputs=_inputs(definition, sources),
        reason=figures.reason,
        periods=[
            KpiPeriod(
                from_=each.from_,
                to=each.to,
                value=each.value.value,
                coverage=each.value.coverage,
                reason=each.value.reason,
            )
            for each in figures.figures
        ],
    )


def _rank(plant: PlantView, asset: AssetRow, sources: AssetSources, figures: AssetFigures) -> KpiRank:
    (figure,) = figures.figures
    return KpiRank(
        asset=asset.key,
        name=asset.name,
        area=plant.areas[asset.area_id].key if asset.area_id in plant.areas else "",
        value=figure.value.value,
        coverage=figure.value.coverage,
        reference=sources.reference.get(figures.definition.name),
        reason=figure.value.reason,
        inputs=_inputs(figures.definition, sources),
    )


def _inputs(definition: KpiDefinition, sources: AssetSources) -> list[KpiInput]:
    return [
        KpiInput(input=name, meter=part.meter_key, quantity=part.quantity, aggregate=part.method)
        for name in definition.inputs
        for part in sources.sources.get(name, ())
    ]
