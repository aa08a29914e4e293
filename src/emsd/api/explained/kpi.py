"""A key figure explained: inputs by meter and quantity, their sums over the quarter hours that count, the formula."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from emsd.api.explained.form import Explanation, Part, Rule, Source, energy_path, judged
from emsd.api.key_figures import figures_of, quarter_edges
from emsd.energy.kpi import INPUTS, KpiDefinition
from emsd.energy.kpi.figures import Quarters
from emsd.energy.series import datetime_from_us
from emsd.readings import instant_us
from emsd.store.energy_series import read_energy
from emsd.store.kpi import AssetSources, SourcePart, read_sources
from emsd.store.plant_view import AssetRow, PlantView
from emsd.store.pool import Pool, Session
from emsd.store.production import read_production
from emsd.store.reads import snapshot

__all__ = ["explain_kpi"]

_WHEN = {
    "always": "every quarter hour in which all inputs are known for at least half of it",
    "idle": "quarter hours in which production rests, and all inputs are known for at least half of it",
    "sun": "quarter hours that are not known to be dark, and all inputs are known for at least half of it",
    "running": "quarter hours in which the machine does not stand still, and all inputs are known for at least half",
}


async def explain_kpi(
    pool: Pool, plant: PlantView, asset: AssetRow, definition: KpiDefinition, from_: datetime, to: datetime
) -> Explanation:
    """Return a key figure of an asset over the quarter hours that touch [from_, to), with everything it is made of.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    edges_us = quarter_edges(from_, to)
    kept: list[Quarters] = []

    def keep(quarters: Quarters) -> float | None:
        kept.append(quarters)
        return definition.compute(quarters)

    async with snapshot(pool, "explain a key figure") as connection:
        sources = (await read_sources(connection, plant.site.site_id)).get(asset.asset_id, AssetSources())
        production = await read_production(connection, plant.site.site_id)
        (found,) = await figures_of(
            connection, sources, asset.asset_id, [replace(definition, compute=keep)], edges_us, "total", plant.zone,
            production.idle_times,
        )  # fmt: skip
        counted = await _counted(connection, definition, sources, edges_us)
    figure = found.figures[0].value
    quarters = kept[0] if kept else None
    recomputed = None if quarters is None else definition.compute(quarters)
    agrees, remark = judged(figure.value, recomputed, definition.unit, [figure.reason or ""])
    begin, end = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
    return Explanation(
        kind="kpi",
        of=f"{definition.title} of {asset.key}",
        field=f"/api/v1/assets/{asset.key}/kpi kpis.{definition.name}.periods.value",
        from_=begin,
        to=end,
        time_zone=plant.site.time_zone,
        figure=figure.value,
        unit=definition.unit,
        recomputed=recomputed,
        agrees=agrees,
        remark=remark,
        parts=[
            *(_input(name, sources, quarters, counted, (begin, end)) for name in definition.inputs),
            *_facts(definition, sources),
        ],
        rules=_rules(definition, figure.coverage, quarters, sources),
        sources=[_source(part, (begin, end)) for name in definition.inputs for part in sources.sources.get(name, ())],
    )


async def _counted(
    connection: Session, definition: KpiDefinition, sources: AssetSources, edges_us: np.typing.NDArray[np.int64]
) -> dict[int, tuple[float | None, float]]:
    """Return import less export [kWh] of the meters behind the energy inputs, with their coverage."""
    wanted = [
        part.meter_id for name in definition.inputs if not INPUTS[name].stored for part in sources.sources.get(name, ())
    ]
    found = await read_energy(connection, list(dict.fromkeys(wanted)), "15m", edges_us) if wanted else {}
    return {
        meter_id: (
            float(np.nansum(series.net_kwh)) if np.isfinite(series.net_kwh).any() else None,
            float(series.coverage.mean()),
        )
        for meter_id, series in found.items()
    }


def _input(
    name: str,
    sources: AssetSources,
    quarters: Quarters | None,
    counted: dict[int, tuple[float | None, float]],
    span: tuple[datetime, datetime],
) -> Part:
    """Return what goes into the formula of an input, and which quantity of which meter it comes from."""
    kind, unit = INPUTS[name], name.rpartition("_")[2]
    amounts = None if quarters is None else quarters.inputs[name]
    parts = [_meter(part, unit, counted, span) for part in sources.sources.get(name, ())]
    remark = "" if name in sources.sources else sources.gaps.get(name, f"{kind.title} is not configured")
    how = "" if amounts is None else f"sum of {amounts.size} quarter hours, each at the rate of its measured part"
    return Part(
        what=f"{name}, {kind.title}",
        figure=None if amounts is None else float(np.sum(amounts)),
        unit=unit,
        sign="",
        how=how,
        from_=span[0],
        to=span[1],
        facts={} if amounts is None else {"quarter_hours": int(amounts.size)},
        remark=remark,
        parts=parts,
    )


def _meter(
    part: SourcePart, unit: str, counted: dict[int, tuple[float | None, float]], span: tuple[datetime, datetime]
) -> Part:
    kwh, coverage = counted.get(part.meter_id, (None, None))
    is_energy = part.meter_id in counted
    return Part(
        what=f"{part.quantity} of {part.meter_key}",
        figure=kwh,
        unit="kWh" if is_energy else unit,
        sign="",
        how="import - export over all of the time" if is_energy else f"by {part.method}",
        facts={"method": part.method} | ({"coverage": coverage} if is_energy else {}),
        remark="" if is_energy else "kept by the quarter hour for the asset, see the input above",
        explain=energy_path(part.meter_key, instant_us(span[0]), instant_us(span[1])) if is_energy else None,
    )


def _facts(definition: KpiDefinition, sources: AssetSources) -> list[Part]:
    return [
        Part(
            what=f"{name}, from the plant's description",
            figure=sources.facts.get(name),
            unit=name.rpartition("_")[2],
            sign="",
            remark="" if name in sources.facts else "it is not known",
        )
        for name in definition.facts
    ]


def _rules(definition: KpiDefinition, coverage: float, quarters: Quarters | None, sources: AssetSources) -> list[Rule]:
    hours = 0.0 if quarters is None else quarters.hours_h
    rules = [
        Rule(name="formula", rule=definition.formula, source=definition.source),
        Rule(name="quarter hours", rule=_WHEN.get(definition.when, definition.when)),
        Rule(name="coverage", rule=f"{100 * coverage:.4g} % of the time asked for is measured: {hours:g} h are used"),
    ]
    if definition.as_counted:
        rules[1] = Rule(name="quarter hours", rule="all that was counted, with what was spread over gaps")
    reference = sources.reference.get(definition.name)
    if reference is not None:
        rules.append(Rule(name="reference", rule=f"{reference:g} {definition.unit}", source="the plant's description"))
    return rules


def _source(part: SourcePart, span: tuple[datetime, datetime]) -> Source:
    explain = None
    if part.quantity.startswith("energy_"):
        explain = energy_path(part.meter_key, instant_us(span[0]), instant_us(span[1]))
    return Source(
        kind="meter", name=f"{part.meter_key} {part.quantity}", facts={"method": part.method}, explain=explain
    )
