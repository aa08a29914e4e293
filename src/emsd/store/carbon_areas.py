"""Electricity of areas and its emissions, as if all of it came from the grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.ledger import LedgerInputs
from emsd.energy.series import BUCKET_15M_US, bucket_edges, datetime_to_us
from emsd.energy.windows import Tier, local_day_edges
from emsd.store.best_energy import read_best_energy
from emsd.store.energy_series import EnergySeries
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeMeters, meters_of_scope

__all__ = ["AreaElectricity", "read_area_electricity"]

_BUCKETS_PER_READ: Final = 350_000
"""Of all meters in memory at once, about 110 MB: a year of quarter hours of ten meters, or of days of a thousand."""


@dataclass(frozen=True, slots=True)
class AreaElectricity:
    """Consumption of an area, those below it included, and its location-based emissions; None is unknown."""

    key: str
    name: str
    consumption_kwh: float | None
    location_kg: float | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class _MeterSums:
    """Energy [kWh] and its location-based emissions [kg] of one meter: as a consumer, and as PV; coverage 0..1."""

    net: tuple[float | None, float | None]
    generated: tuple[float | None, float | None]
    coverage: float


async def read_area_electricity(pool: Pool, plant: PlantView, inputs: LedgerInputs) -> list[AreaElectricity]:
    """Return the electricity of every area with energy meters in the period of a ledger, with its factors.

    From local days, and from quarter hours where a factor changes within a day; estimates of gaps are in it, as they
    are in the ledger.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    scopes = {key: meters_of_scope(plant, "area", key) for key in plant.area_by_key}
    ids = sorted({each for scope in scopes.values() for each in (*scope.top, *scope.generation)})
    tier, edges_us = _buckets(plant, inputs)
    factor = _factors(inputs, edges_us)
    portion = max(1, _BUCKETS_PER_READ // (edges_us.size - 1))
    sums: dict[int, _MeterSums] = {}
    async with snapshot(pool, "read the energy of areas") as connection:
        for first in range(0, len(ids), portion):
            energy = await read_best_energy(connection, ids[first : first + portion], tier, edges_us)
            sums |= {meter_id: _sums(series, factor) for meter_id, series in energy.items()}
    return [_electricity(plant, key, scope, sums) for key, scope in scopes.items() if scope.top]


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


def _sums(series: EnergySeries, factor: NDArray[np.float64]) -> _MeterSums:
    return _MeterSums(
        net=(_total(series.net_kwh), _total(series.net_kwh * factor)),
        generated=(_total(series.export_kwh), _total(series.export_kwh * factor)),
        coverage=float(np.average(series.coverage, weights=np.diff(series.edges_us))),
    )


def _electricity(plant: PlantView, key: str, scope: ScopeMeters, sums: Mapping[int, _MeterSums]) -> AreaElectricity:
    parts = [*(sums[each].net for each in scope.top), *(sums[each].generated for each in scope.generation)]
    return AreaElectricity(
        key=key,
        name=plant.area_by_key[key].name,
        consumption_kwh=_known_sum(kwh for kwh, _ in parts),
        location_kg=_known_sum(kg for _, kg in parts),
        coverage=sum(sums[each].coverage for each in scope.top) / len(scope.top),
    )


def _known_sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _total(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else float(np.nansum(values))
