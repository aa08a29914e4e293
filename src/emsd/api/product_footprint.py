"""The footprint of products over a window: what areas used and emitted, counts of production, shared out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from emsd.api.area_uses import OUTSIDE, AreaUse, area_key
from emsd.energy.kpi.footprint import (
    AllocationKey,
    Burden,
    Footprint,
    Output,
    SharedBurden,
    footprint,
)
from emsd.energy.ledger.activities import Activity, emitted_kg, resolve
from emsd.energy.ledger.gwp import GwpSet
from emsd.plant.production import AreaAllocation
from emsd.store.plant_view import PlantView
from emsd.store.production import ProductRow
from emsd.store.production_counts import OutputSum

__all__ = ["FootprintAnswer", "direct_kg_by_area", "footprint_of", "outputs_of"]


@dataclass(frozen=True, slots=True)
class FootprintAnswer:
    """The footprint, and what it rests on."""

    footprint: Footprint
    outputs: Sequence[Output]
    shared: Sequence[SharedBurden]
    used_kwh: float
    estimated_kwh: float
    coverage: float | None
    carbon_coverage: float | None


def outputs_of(products: Mapping[str, ProductRow], sums: Iterable[OutputSum]) -> tuple[list[Output], list[OutputSum]]:
    """Return what was made of every product, and the sums that count for nothing: of stages that it does not pass.

    Counts of a stage go before those of the whole line. Good units are those of the whole line, else of the last stage
    at which they are known.
    """
    counted = {(each.product, each.stage): each for each in sums}
    outputs = []
    for key, product in products.items():
        of_product = {stage: each for (name, stage), each in counted.items() if name == key}
        if product.removed_at is not None and not of_product:
            continue
        # What has passed a stage was not counted there, but the whole line was.
        at = {stage: of_product.get(stage, of_product.get(None)) for stage in product.passes}
        processed = {stage: 0.0 if each is None else each.units for stage, each in at.items()}
        places = [of_product[place] for place in (None, *reversed(list(product.passes))) if place in of_product]
        good_units = next((each.good_units for each in places if each.good_units is not None), None)
        outputs.append(Output(key, product.area_m2, product.passes, processed, good_units))
    unused = [
        each
        for each in counted.values()
        if each.stage is not None and each.product in products and each.stage not in products[each.product].passes
    ]
    return outputs, unused


def direct_kg_by_area(
    plant: PlantView, activities: Iterable[Activity], gwp_set: GwpSet, from_: datetime, to: datetime
) -> dict[str, float]:
    """Return the direct emissions (Scope 1) of every area over [from_, to) [kg CO2e], by area key.

    An activity that lies partly in it counts for that part; one of an asset counts in the asset's area.
    """
    area_of = {asset.key: area_key(plant, asset.asset_id) for asset in plant.assets.values()}
    kg: dict[str, float] = defaultdict(float)
    for each in activities:
        resolved = resolve(each, gwp_set)
        inside = (min(each.period_to, to) - max(each.period_from, from_)) / (each.period_to - each.period_from)
        where = area_of.get(each.asset or "") or each.area or OUTSIDE
        kg[where] += inside * sum(float(emitted_kg(resolved, term) * term.gwp) for term in resolved.terms)
    return dict(kg)


def footprint_of(
    plant: PlantView,
    uses: Mapping[str, AreaUse],
    outputs: Sequence[Output],
    allocation: Iterable[AreaAllocation],
    direct_kg: Mapping[str, float],
) -> FootprintAnswer:
    """Return the footprint of every product; `direct_kg` as of `direct_kg_by_area`."""
    keys = {each.area: each for each in allocation}
    stages: dict[str, Burden] = {stage: Burden() for output in outputs for stage in output.passes}
    shared: list[SharedBurden] = []
    for area in dict.fromkeys((*uses, *direct_kg)):
        row, use = plant.area_by_key.get(area), uses.get(area)
        burden = Burden(0.0 if use is None else use.kwh, 0.0 if use is None else use.kg_co2, direct_kg.get(area, 0.0))
        if row is not None and row.stage is not None and row.stage in stages:
            stages[row.stage] += burden
            continue
        above = [] if row is None else [each.key for each in plant.areas_above(row.area_id)]
        said = next((keys[each] for each in above if each in keys), None)
        if said is None:
            shared.append(SharedBurden(area, burden))
        else:
            shared.append(SharedBurden(area, burden, AllocationKey(said.by), said.shares))
    used_kwh = sum(use.kwh for use in uses.values())
    with_factor_kwh = sum(use.with_factor_kwh for use in uses.values())
    meters = sum(use.meters for use in uses.values())
    return FootprintAnswer(
        footprint=footprint(stages, shared, outputs, _floor_areas(plant)),
        outputs=outputs,
        shared=shared,
        used_kwh=used_kwh,
        estimated_kwh=sum(use.estimated_kwh for use in uses.values()),
        coverage=sum(use.coverage * use.meters for use in uses.values()) / meters if meters else None,
        carbon_coverage=with_factor_kwh / used_kwh if used_kwh else None,
    )


def _floor_areas(plant: PlantView) -> dict[str, float]:
    """Return the floor area of every stage [m2]: that of its outermost areas, which hold the others."""
    floor: dict[str, float] = defaultdict(float)
    for area in plant.areas.values():
        above = plant.areas.get(area.parent_area_id) if area.parent_area_id is not None else None
        if area.stage is not None and area.floor_area_m2 is not None and (above is None or above.stage != area.stage):
            floor[area.stage] += area.floor_area_m2
    return dict(floor)
