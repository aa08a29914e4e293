"""Which meters speak for an area and for the site, so that no kilowatt-hour is counted twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emsd.plant.models import AssetKind, Plant
from emsd.plant.tree import ancestors
from simulator.truth import SimulatedPlant

__all__ = ["inverters_of_areas", "meters_of_areas", "meters_of_asset", "meters_of_site"]


def meters_of_site(physics: SimulatedPlant) -> tuple[str, ...]:
    """Return the energy meters that have no other one above them."""
    return _uppermost(physics.plant, set(_on_buses(physics)))


def meters_of_areas(physics: SimulatedPlant) -> dict[str, tuple[str, ...]]:
    """Return by area the energy meters in it and in the areas below it that have no other one of them above."""
    return _by_area(physics, _on_buses(physics))


def inverters_of_areas(physics: SimulatedPlant) -> dict[str, tuple[str, ...]]:
    """Return by area the energy meters of PV inverters in it and in the areas below it, none of them above another."""
    solar = {asset.key for asset in physics.plant.assets if asset.kind is AssetKind.PV_INVERTER}
    return _by_area(physics, (key for key in _on_buses(physics) if physics.meters[key].asset in solar))


def meters_of_asset(physics: SimulatedPlant, asset_key: str) -> tuple[str, ...]:
    """Return the energy meters of an asset that have no other one of it above them."""
    return _uppermost(physics.plant, {key for key in _on_buses(physics) if physics.meters[key].asset == asset_key})


def _by_area(physics: SimulatedPlant, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    plant = physics.plant
    parents = {area.key: area.parent for area in plant.areas}
    inside: dict[str, set[str]] = {area.key: set() for area in plant.areas}
    area_of = {asset.key: asset.area for asset in plant.assets}
    for key in keys:
        own = area_of[physics.meters[key].asset]
        for area in (own, *ancestors(own, parents)):
            inside[area].add(key)
    return {area: _uppermost(plant, members) for area, members in inside.items()}


def _uppermost(plant: Plant, keys: set[str]) -> tuple[str, ...]:
    parents: Mapping[str, str | None] = {meter.key: meter.parent for meter in plant.meters}
    return tuple(sorted(key for key in keys if keys.isdisjoint(ancestors(key, parents))))


def _on_buses(physics: SimulatedPlant) -> Iterator[str]:
    """Yield the energy meters, without controllers that only repeat what a meter of their asset measures."""
    yield from (key for key in physics.topology.nodes if key not in physics.topology.mirrors)
