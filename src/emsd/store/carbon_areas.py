"""Electricity of areas and its emissions, as if all of it came from the grid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from emsd.energy.ledger import LedgerInputs
from emsd.energy.series import BUCKET_15M_US, bucket_edges, datetime_to_us
from emsd.energy.windows import Tier, local_day_edges
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeMeters, meters_of_scope

__all__ = ["AreaElectricity", "read_area_electricity"]


@dataclass(frozen=True, slots=True)
class AreaElectricity:
    """Consumption of an area, those below it included, and its location-based emissions; None is unknown."""

    key: str
    name: str
    consumption_kwh: float | None
    location_kg: float | None
    coverage: float | None


async def read_area_electricity(pool: Pool, plant: PlantView, inputs: LedgerInputs) -> list[AreaElectricity]:
    """Return the electricity of every area with energy meters in the period of a ledger, with its factors.

    From local days, and from quarter hours where a factor changes within a day.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    scopes = {key: meters_of_scope(plant, "area", key) for key in plant.area_by_key}
    ids = sorted({each for scope in scopes.values() for each in (*scope.top, *scope.generation)})
    tier, edges_us = _buckets(plant, inputs)
    factor = _factors(inputs, edges_us)
    async with snapshot(pool, "read the energy of areas") as connection:
        energy = await read_energy(connection, ids, tier, edges_us)
    return [_electricity(plant, key, scope, energy, factor, edges_us) for key, scope in scopes.items() if scope.top]


def _buckets(plant: PlantView, inputs: LedgerInputs) -> tuple[Tier, NDArray[np.int64]]:
    from_us, to_us = datetime_to_us(inputs.period_from), datetime_to_us(inputs.period_to)
    if any(use.resolution == "hour" for use in inputs.location.uses):
        return "15m", bucket_edges(from_us, to_us, BUCKET_15M_US)
    first, last = (each.astimezone(plant.zone).date() for each in (inputs.period_from, inputs.period_to))
    edges_us = local_day_edges(first, last, plant.zone)
    # A period that is still running ends within a day; that day is read as far as it goes.
    return "1d", edges_us if edges_us[-1] >= to_us else local_day_edges(first, last + timedelta(days=1), plant.zone)


def _factors(inputs: LedgerInputs, edges_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the location-based factor of each bucket [kg/kWh], NaN where there is none."""
    slot_edges_us = np.array([datetime_to_us(edge) for edge in inputs.edges[:-1]], dtype=np.int64)
    by_slot = np.array([np.nan if kg is None else float(kg) for kg in inputs.location.kg_per_kwh])
    return np.asarray(by_slot[np.searchsorted(slot_edges_us, edges_us[:-1], side="right") - 1])


def _electricity(
    plant: PlantView,
    key: str,
    scope: ScopeMeters,
    energy: dict[int, EnergySeries],
    factor: NDArray[np.float64],
    edges_us: NDArray[np.int64],
) -> AreaElectricity:
    consumed = _known_sum(
        [*(energy[each].net_kwh for each in scope.top), *(energy[each].export_kwh for each in scope.generation)]
    )
    kg = consumed * factor
    lengths = np.diff(edges_us)
    coverage = np.mean([np.average(energy[each].coverage, weights=lengths) for each in scope.top])
    return AreaElectricity(
        key=key,
        name=plant.area_by_key[key].name,
        consumption_kwh=_total(consumed),
        location_kg=_total(kg),
        coverage=float(coverage),
    )


def _known_sum(columns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add series bucket by bucket; a bucket of which none knows anything stays NaN."""
    stacked = np.vstack(columns)
    total = np.nansum(stacked, axis=0)
    return np.where(np.isnan(stacked).all(axis=0), np.nan, total)


def _total(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else float(np.nansum(values))
