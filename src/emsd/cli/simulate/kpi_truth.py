"""Key figures of what really happened: the same formulas over what the physics does, not over what devices show.

    GET /truth/kpis?from=...&to=...

A route of `simulator.control`, added here because formulas and sources are the service's, which the simulator does not
know. Quantities come unrounded, every ten seconds, from before any device, fault or poll; a day at a time, so that
devices go on answering meanwhile. Of areas it tells power by floor area, from the exact integrals of
`simulator.kpi_truth`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Final

import numpy as np
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from emsd.accounting.given import GivenSamples, sample_times
from emsd.accounting.kpi_samples import compute_input
from emsd.energy.kpi import STORED_INPUTS, InputSeries, Method, kpi_value, kpis_of_kind
from emsd.energy.series import BUCKET_15M_US, FloatArray, TimeArray
from emsd.plant.expression import factors_of
from emsd.plant.kpi import AssetKpis, KpiSource, kpis_of_plant
from emsd.plant.loader import LoadedPlant
from emsd.readings import to_datetime
from simulator import SimulatedPlant
from simulator.kpi_truth import TrueKpi, kpis_of_areas
from simulator.running import RunningSimulator
from simulator.tables import US_PER_DAY
from simulator.truth_api import Begin, End, prepare_days, window_us

__all__ = ["kpi_router", "true_kpis"]

_EVERY_S: Final = 10
_MOST_DAYS: Final = 31


class KpiTruth(BaseModel):
    """A key figure of an asset or area as it really was."""

    value: float | None
    unit: str
    reason: str | None = Field(description="Why there is none.")


class KpisTruth(BaseModel):
    """Key figures over [from, to), full quarter hours."""

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    assets: dict[str, dict[str, KpiTruth]]
    areas: dict[str, dict[str, KpiTruth]]


def kpi_router(loaded: LoadedPlant) -> APIRouter:
    """Return the route for a simulator of this plant."""
    router = APIRouter()

    @router.get("/truth/kpis")
    async def kpis(simulator: RunningSimulator, from_: Begin, to: End) -> KpisTruth:
        """Return the key figures of every asset and area over full quarter hours, at most 31 days."""
        from_us, to_us = window_us(from_, to, simulator)
        if from_us % BUCKET_15M_US or to_us % BUCKET_15M_US or to_us - from_us > _MOST_DAYS * US_PER_DAY:
            most = f"{_MOST_DAYS} days at most"
            raise HTTPException(422, f"key figures are of full quarter hours, {most}; move from or to")
        await prepare_days(simulator.truth, from_us, to_us)
        assets = await true_kpis(loaded, simulator.truth, from_us, to_us)
        areas = await asyncio.to_thread(kpis_of_areas, simulator.truth.apart(), from_us, to_us)
        return KpisTruth(from_=to_datetime(from_us), to=to_datetime(to_us), assets=assets, areas=_told(areas))

    return router


async def true_kpis(
    loaded: LoadedPlant, physics: SimulatedPlant, from_us: int, to_us: int
) -> dict[str, dict[str, KpiTruth]]:
    """Return the key figures of every asset over full quarter hours [us], by asset and name.

    Those that need what the plant has no meter for say so as their reason.
    """
    assets = {key: each for key, each in kpis_of_plant(loaded).items() if each.sources}
    parts: defaultdict[tuple[str, str], list[InputSeries]] = defaultdict(list)
    for first_us, last_us in _days(from_us, to_us):
        edges_us = np.arange(first_us, last_us + 1, BUCKET_15M_US, dtype=np.int64)
        samples = await _samples(loaded, physics, assets, edges_us)
        for key, asset in assets.items():
            for name, source in asset.sources.items():
                parts[key, name].append(await _input(samples, asset, name, source, physics))
            await asyncio.sleep(0)
    found: dict[str, dict[str, KpiTruth]] = {}
    for key, asset in assets.items():
        found[key] = _figures(asset, {name: _joined(parts[key, name]) for name in asset.sources})
    return found


def _days(from_us: int, to_us: int) -> Iterator[tuple[int, int]]:
    while from_us < to_us:
        next_us = min(from_us - from_us % US_PER_DAY + US_PER_DAY, to_us)
        yield from_us, next_us
        from_us = next_us


async def _samples(
    loaded: LoadedPlant, physics: SimulatedPlant, assets: Mapping[str, AssetKpis], edges_us: TimeArray
) -> GivenSamples:
    times_us = sample_times(int(edges_us[0]), int(edges_us[-1]), _EVERY_S)
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for asset in assets.values():
        for part in (part for source in asset.sources.values() for part in source.parts):
            if part.meter in physics.meters:
                wanted[part.meter].add(part.quantity)
    shown: dict[str, Mapping[str, FloatArray]] = {}
    for key, names in wanted.items():
        shown[key] = physics.quantity_series(key, times_us, sorted(names))
        await asyncio.sleep(0)
    return GivenSamples(loaded, times_us, edges_us, _EVERY_S, shown)


async def _input(
    samples: GivenSamples, asset: AssetKpis, name: str, source: KpiSource, physics: SimulatedPlant
) -> InputSeries:
    if name not in STORED_INPUTS:
        return _energy(samples.loaded, physics, source, samples.edges_us)
    value, coverage = await compute_input(samples, source, asset.facts)
    return InputSeries(value, coverage, is_amount=not name.endswith("_percent"))


def _joined(parts: list[InputSeries]) -> InputSeries:
    value, coverage = (np.concatenate([getattr(part, name) for part in parts]) for name in ("value", "coverage"))
    return InputSeries(value, coverage, is_amount=parts[0].is_amount)


def _figures(asset: AssetKpis, inputs: Mapping[str, InputSeries]) -> dict[str, KpiTruth]:
    found: dict[str, KpiTruth] = {}
    everything = np.ones(next(iter(inputs.values())).value.size, dtype=np.bool_)
    for definition in kpis_of_kind(asset.kind.value):
        lacking = asset.lacks(definition)
        if lacking:
            found[definition.name] = KpiTruth(value=None, unit=definition.unit, reason="; ".join(lacking))
            continue
        figure = kpi_value(definition, inputs, asset.facts, everything)
        found[definition.name] = KpiTruth(value=figure.value, unit=definition.unit, reason=figure.reason)
    return found


def _told(areas: Mapping[str, Mapping[str, TrueKpi]]) -> dict[str, dict[str, KpiTruth]]:
    reason = "the area has no floor_area_m2"  # power it has always
    return {
        area: {
            name: KpiTruth(value=each.value, unit=each.unit, reason=reason if each.value is None else None)
            for name, each in figures.items()
        }
        for area, figures in areas.items()
    }


def _energy(loaded: LoadedPlant, physics: SimulatedPlant, source: KpiSource, edges_us: TimeArray) -> InputSeries:
    """Return the true energy of an asset in quarter hours [kWh]: what was generated, or what was used net."""
    total = np.zeros(edges_us.size - 1)
    for key in dict.fromkeys(part.meter for part in source.parts):
        virtual = loaded.virtual_meters_by_key.get(key)
        for meter, factor in {key: 1.0}.items() if virtual is None else factors_of(virtual.expression).items():
            flowed = [physics.true_energy_kwh(meter, *edges) for edges in pairwise(edges_us.tolist())]
            exports = source.method is Method.YIELD
            total += factor * np.array(
                [each.export_kwh if exports else each.import_kwh - each.export_kwh for each in flowed]
            )
    return InputSeries(total, np.ones(total.size))
