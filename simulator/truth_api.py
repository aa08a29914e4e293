"""What really flowed, of every meter and area in any window: a route of `simulator.control`.

GET /truth?from=...&to=...
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime, BaseModel, Field

from emsd.quantities import BY_NAME
from emsd.readings import instant_us, to_datetime
from simulator.running import RunningSimulator
from simulator.scopes import inverters_of_areas, meters_of_areas
from simulator.service import Simulator
from simulator.tables import US_PER_DAY
from simulator.truth import EnergyTruth, SimulatedPlant

__all__ = ["Begin", "End", "area_energy", "energy_meters", "prepare_days", "router", "true_energy", "window_us"]

_METERS_AT_ONCE: Final = 100
"""Meters between two turns of the event loop, on which devices answer too."""
_MOST_DAYS_BACK: Final = 3660
_MOST_DAYS_AHEAD: Final = 366
_DIRECTIONS: Final = ("import", "export")


# --- answers ------------------------------------------------------------------------------------------------------


class Energy(BaseModel):
    """Energy through a meter [kWh], both >= 0."""

    import_kwh: float
    export_kwh: float


class MeterTruth(Energy):
    """What flowed through a meter."""

    count_kwh: float = Field(description="Resolution of its counter at the end of the window [kWh]; 0 without one.")
    directions: list[str] = Field(description="What its profile delivers: import, export.")


class AreaTruth(Energy):
    """What flowed into and out of an area and all below it, by the uppermost meters in it, and what its PV made."""

    generation_kwh: float
    consumption_kwh: float = Field(description="Import less export, and what was generated.")


class Truth(BaseModel):
    """Energy that really flowed in [from, to)."""

    from_: datetime = Field(serialization_alias="from")
    to: datetime
    meters: dict[str, MeterTruth]
    areas: dict[str, AreaTruth]


# --- what is true -------------------------------------------------------------------------------------------------


def energy_meters(truth: SimulatedPlant) -> list[str]:
    """Return the keys of the meters that measure energy, in the order of the plant."""
    return [meter.key for meter in truth.plant.meters if truth.profile_of(meter.key).measures_energy]


async def prepare_days(truth: SimulatedPlant, from_us: int, to_us: int) -> None:
    """Compute the days between a window and the plant's anchor, giving the event loop its turn after each."""
    back, ahead = range(truth.anchor_us, from_us, -US_PER_DAY), range(truth.anchor_us, to_us, US_PER_DAY)
    for day_us in (*back, *ahead):
        truth.prepare(day_us)
        await asyncio.sleep(0)


async def true_energy(truth: SimulatedPlant, from_us: int, to_us: int) -> dict[str, EnergyTruth]:
    """Return the energy of every energy meter in a window, giving the event loop its turn now and then.

    Raises:
        ValueError: to_us is before from_us.
    """
    await prepare_days(truth, from_us, to_us)
    found = {}
    for place, key in enumerate(energy_meters(truth), start=1):
        found[key] = truth.true_energy_kwh(key, from_us, to_us)
        if place % _METERS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def area_energy(physics: SimulatedPlant, energy: Mapping[str, EnergyTruth]) -> dict[str, AreaTruth]:
    """Return what flowed in every area by the energy of the meters, none of it counted twice.

    Only the uppermost meters of an area count: those without another meter of it above them, and no controller that
    repeats what a meter of its machine measures.
    """
    uppermost, inverters = meters_of_areas(physics), inverters_of_areas(physics)
    found = {}
    for area, keys in uppermost.items():
        taken, given = (sum(getattr(energy[key], f"{way}_kwh") for key in keys) for way in _DIRECTIONS)
        made = sum(energy[key].export_kwh for key in inverters[area])
        found[area] = AreaTruth(
            import_kwh=taken, export_kwh=given, generation_kwh=made, consumption_kwh=taken - given + made
        )
    return found


def _meter(physics: SimulatedPlant, key: str, energy: EnergyTruth, at_us: int) -> MeterTruth:
    quantities = physics.profile_of(key).quantities
    counted = [each for each in _DIRECTIONS if BY_NAME[f"energy_{each}_kwh"].name in quantities]
    return MeterTruth(
        import_kwh=energy.import_kwh,
        export_kwh=energy.export_kwh,
        count_kwh=physics.counter_count_kwh(key, at_us=at_us) if counted else 0.0,
        directions=counted or list(_DIRECTIONS),  # without a counter its power is integrated, both ways
    )


# --- routes -------------------------------------------------------------------------------------------------------

router = APIRouter()

Begin = Annotated[AwareDatetime, Query(alias="from", description="Begin, with an offset: 2026-01-31T08:00:00Z.")]
End = Annotated[AwareDatetime, Query(description="End, exclusive, with an offset.")]


def window_us(from_: datetime, to: datetime, simulator: Simulator) -> tuple[int, int]:
    """Return a window that was asked for [us].

    Raises:
        HTTPException: with 422, it is none, begins ages before the counters do, or ends ages from now.
    """
    from_us, to_us = instant_us(from_), instant_us(to)
    if not from_us < to_us:
        raise HTTPException(422, f"the window ends ({to.isoformat()}) before it begins ({from_.isoformat()})")
    if simulator.truth.anchor_us - from_us > _MOST_DAYS_BACK * US_PER_DAY:
        raise HTTPException(422, f"the window begins more than {_MOST_DAYS_BACK} days before the counters do")
    if to_us - simulator.now_us() > _MOST_DAYS_AHEAD * US_PER_DAY:
        raise HTTPException(422, f"the window ends more than {_MOST_DAYS_AHEAD} days from now")
    return from_us, to_us


@router.get("/truth")
async def truth(simulator: RunningSimulator, from_: Begin, to: End) -> Truth:
    """Return what really flowed through every meter and area in a window."""
    from_us, to_us = window_us(from_, to, simulator)
    energy = await true_energy(simulator.truth, from_us, to_us)
    return Truth(
        from_=to_datetime(from_us),
        to=to_datetime(to_us),
        meters={key: _meter(simulator.truth, key, each, to_us) for key, each in energy.items()},
        areas=area_energy(simulator.truth, energy),
    )
