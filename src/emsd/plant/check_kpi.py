"""Checks of key figures and production: names that exist, meters that deliver, stages that areas have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from emsd.energy.kpi import INPUTS, KPIS
from emsd.plant.draft import Draft
from emsd.plant.models import Asset
from emsd.plant.production import Production
from emsd.plant.source import Finding, Where, list_or_hint

__all__ = ["check_kpi", "check_production"]


def check_kpi(draft: Draft) -> Iterator[Finding]:
    """Find inputs and key figures that do not exist, and meters that cannot give the input they are named for."""
    for index, asset in draft.assets.items():
        if asset.kpi is None:
            continue
        where: Where = ("assets", index, "kpi")
        yield from _inputs(draft, asset, (*where, "inputs"))
        of_kind = {each.name for each in KPIS.values() if asset.kind.value in each.asset_kinds}
        for name in asset.kpi.reference:
            if name not in of_kind:
                place = (*where, "reference", name)
                yield Finding(place, f"is no key figure of a {asset.kind}", list_or_hint(name, of_kind, "key figures"))


def _inputs(draft: Draft, asset: Asset, where: Where) -> Iterator[Finding]:
    meters = {meter.key: meter for meter in draft.meters.values()}
    for name, keys in asset.kpi.inputs.items() if asset.kpi else ():
        if name not in INPUTS:
            yield Finding((*where, name), "is no input of a key figure", list_or_hint(name, INPUTS, "inputs"))
            continue
        useful = {quantity for offer in INPUTS[name].offers for quantity in offer.quantities}
        for number, key in enumerate(keys):
            place = (*where, name, number)
            if key not in meters:
                # A meter that is wrong elsewhere, or in a list that could not be read, is no fault of this line.
                if draft.surroundings.all_meters_read and key not in draft.keys("meters"):
                    problem = f"{draft.source.shown(place, key)}is not among the meters"
                    yield Finding(place, problem, list_or_hint(key, meters, "meters"))
                continue
            profile = draft.profile_of(meters[key])
            if profile is not None and useful.isdisjoint(profile.quantities):
                problem = f"{key} delivers nothing that {name} is made of"
                yield Finding(place, problem, f"name a meter with one of: {', '.join(sorted(useful))}")


def check_production(draft: Draft) -> Iterator[Finding]:
    """Find products with the same key, and stages and areas that do not exist."""
    written = draft.source.data.get("production") if isinstance(draft.source.data, dict) else None
    if not isinstance(written, dict):
        return
    try:
        production = Production.model_validate(written)
    except ValidationError:
        return
    stages = {str(entry["stage"]) for _, entry in draft.written("areas") if entry.get("stage") is not None}
    first: dict[str, int] = {}
    for index, product in enumerate(production.products):
        where: Where = ("production", "products", index)
        if first.setdefault(product.key, index) != index:
            place = draft.source.place(("production", "products", first[product.key], "key"))
            problem = f"{product.key} is taken by {place.file}:{place.line}"
            yield Finding((*where, "key"), problem, "give each its own key")
        yield from _unknown((*where, "passes"), product.passes, stages)
    areas = draft.keys("areas")
    said: dict[str, int] = {}
    for index, allocation in enumerate(production.allocation):
        where = ("production", "allocation", index)
        if said.setdefault(allocation.area, index) != index:
            place = draft.source.place(("production", "allocation", said[allocation.area], "area"))
            yield Finding((*where, "area"), f"{allocation.area} is spread by {place.file}:{place.line} too", "keep one")
        if allocation.area not in areas:
            place_of = (*where, "area")
            problem = f"{draft.source.shown(place_of, allocation.area)}is not among the areas"
            yield Finding(place_of, problem, list_or_hint(allocation.area, areas, "areas"))
        yield from _unknown((*where, "shares"), allocation.shares, set(production.stages))
    yield from _counters(draft, production)


def _counters(draft: Draft, production: Production) -> Iterator[Finding]:
    passes = {product.key: product.passes for product in production.products}
    assets = draft.keys("assets")
    counting: dict[str, int] = {}
    for index, counter in enumerate(production.counters):
        where: Where = ("production", "counters", index)
        if counting.setdefault(counter.asset, index) != index:
            first = draft.source.place(("production", "counters", counting[counter.asset], "asset"))
            problem = f"the pieces of {counter.asset} count by {first.file}:{first.line} already"
            yield Finding((*where, "asset"), problem, "let an asset count for one product at one place")
        yield from _counts_nothing(draft, counter.asset, (*where, "asset"))
        for field, name, known in (("asset", counter.asset, assets), ("product", counter.product, passes)):
            if name not in known:
                place = (*where, field)
                problem = f"{draft.source.shown(place, name)}is not among the {field}s"
                yield Finding(place, problem, list_or_hint(name, known, f"{field}s"))
        stages = passes.get(counter.product, {})
        if counter.stage is not None and stages and counter.stage not in stages:
            place = (*where, "stage")
            problem = f"{draft.source.shown(place, counter.stage)}is no stage of {counter.product}"
            yield Finding(place, problem, list_or_hint(counter.stage, stages, "stages"))


def _counts_nothing(draft: Draft, asset_key: str, where: Where) -> Iterator[Finding]:
    """Find a counter whose asset has no meter, or several, that count pieces: its count would stay empty unnoticed."""
    asset = next((each for each in draft.assets.values() if each.key == asset_key), None)
    if asset is None or not draft.surroundings.all_meters_read:
        return
    named = asset.kpi.inputs.get("pieces") if asset.kpi else None
    counting = []
    for meter in draft.meters.values():
        profile = draft.profile_of(meter)
        if profile is None:
            if meter.asset == asset_key:
                return  # what it delivers is not known
            continue
        if (meter.key in named if named else meter.asset == asset_key) and "pieces_count" in profile.quantities:
            counting.append(meter.key)
    if not counting:
        yield Finding(where, f"{asset_key} has no meter that delivers pieces_count", "give it one, or leave this out")
    elif len(counting) > 1:
        cure = "name one under kpi.inputs.pieces of the asset"
        yield Finding(where, f"{' and '.join(counting)} both deliver pieces_count", cure)


def _unknown(where: Where, named: Any, stages: set[str]) -> Iterator[Finding]:
    for stage in named:
        if stage not in stages:
            yield Finding((*where, stage), "is no stage of any area", list_or_hint(stage, stages, "stages"))
