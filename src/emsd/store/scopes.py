"""Which meters speak for the site, an area, a stage, a kind of asset, an asset or one meter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from emsd.plant.models import AssetKind
from emsd.store.plant_view import PlantView

__all__ = ["ScopeKind", "ScopeMeters", "keys_of_scope", "meters_of_scope"]

ScopeKind: TypeAlias = Literal["site", "area", "stage", "asset_kind", "asset", "meter"]


@dataclass(frozen=True, slots=True)
class ScopeMeters:
    """Ids of the meters of a scope, each tuple in ascending order.

    top         energy meters in the scope that have no other energy meter of the scope upstream: they count each
                kilowatt-hour once. Virtual meters are among them only where they count, or where one is asked for
    generation  energy meters of PV inverters in the scope or below a top meter; never one above another
    """

    top: tuple[int, ...]
    generation: tuple[int, ...]

    @property
    def resting(self) -> frozenset[int]:
        """Top meters of which nothing need be known: inverters that sleep by night, where there are others."""
        resting = frozenset(self.generation).intersection(self.top)
        return resting if len(resting) < len(self.top) else frozenset()


def keys_of_scope(plant: PlantView, kind: ScopeKind) -> list[str]:
    """Return the keys that a scope of this kind may have; a site has none."""
    match kind:
        case "site":
            return []
        case "area":
            return sorted(plant.area_by_key)
        case "stage":
            return sorted({area.stage for area in plant.areas.values() if area.stage is not None})
        case "asset_kind":
            return sorted({asset.kind for asset in plant.assets.values()})
        case "asset":
            return sorted(asset.key for asset in plant.assets.values())
        case "meter":
            return sorted(plant.meter_by_key)


def meters_of_scope(
    plant: PlantView, kind: ScopeKind, key: str | None, *, within: tuple[ScopeKind, str | None] = ("site", None)
) -> ScopeMeters:
    """Return the meters of a scope; `key` is one of `keys_of_scope`, None for the site.

    `within` is a second scope in which they must be too: the process tools of one area.
    """
    in_scope = _energy_meters(plant, kind, key)
    if within[0] != "site":
        in_scope &= _energy_meters(plant, *within)
    top = _without_descendants(plant, in_scope)
    inverters = _assets(plant, "asset_kind", AssetKind.PV_INVERTER)
    generation = {
        meter.meter_id
        for meter in plant.meters.values()
        if meter.asset_id in inverters
        and meter.measures_energy
        and meter.counts
        and (meter.meter_id in in_scope or not top.isdisjoint(plant.ancestors(meter.meter_id)))
    }
    return ScopeMeters(tuple(sorted(top)), tuple(sorted(_without_descendants(plant, generation))))


def _energy_meters(plant: PlantView, kind: ScopeKind, key: str | None) -> set[int]:
    if kind == "meter":
        found = None if key is None else plant.meter_by_key.get(key)
        return set() if found is None or not found.measures_energy else {found.meter_id}
    assets = _assets(plant, kind, key)
    return {
        meter.meter_id
        for meter in plant.meters.values()
        if meter.asset_id in assets and meter.measures_energy and meter.counts
    }


def _without_descendants(plant: PlantView, meter_ids: Iterable[int]) -> set[int]:
    members = set(meter_ids)
    return {each for each in members if members.isdisjoint(plant.ancestors(each))}


def _assets(plant: PlantView, kind: ScopeKind, key: str | None) -> set[int]:
    if kind == "asset_kind":
        return {asset.asset_id for asset in plant.assets.values() if asset.kind == key}
    if kind == "asset":
        return {asset.asset_id for asset in plant.assets.values() if asset.key == key}
    if kind == "site":
        return set(plant.assets)
    if kind == "stage":
        areas = {area.area_id for area in plant.areas.values() if area.stage == key}
    else:
        areas = {each for each in plant.areas if any(area.key == key for area in plant.areas_above(each))}
    return {asset.asset_id for asset in plant.assets.values() if asset.area_id in areas}
