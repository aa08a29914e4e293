"""Rolling energy and carbon, and the factors behind them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Query, Request

from emsd.api.dependencies import Configuration, CurrentConfiguration, Given
from emsd.api.parameters import refuse, refuse_unknown_parameters
from emsd.api.problems import problem_responses, raise_unknown
from emsd.api.rolling import RollingAnswer, SumsCache, rolling_answer
from emsd.api.schemas.energy import (
    CarbonRolling,
    CarbonWindow,
    EnergyRolling,
    EnergyWindow,
    FactorEntry,
    FactorList,
    UsedFactor,
)
from emsd.energy.factors import CarbonFactor, CarbonMethod, factor_at
from emsd.energy.rollup import RollingWindow
from emsd.energy.windows import WINDOW_NAMES, WindowName
from emsd.store.scopes import ScopeKind, keys_of_scope

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", dependencies=[Depends(refuse_unknown_parameters)])


def _sums(request: Request) -> SumsCache:
    cache: SumsCache = request.app.state.sums
    return cache


async def _asked(
    given: Given,
    cache: Annotated[SumsCache, Depends(_sums)],
    configuration: CurrentConfiguration,
    scope: Annotated[ScopeKind, Query(description="Of what.")] = "site",
    key: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Key of the area or meter, name of the stage, or kind of asset; none for the site.",
            examples=["fab"],
        ),
    ] = None,
    window: Annotated[
        list[WindowName] | None,
        Query(min_length=1, max_length=12, description="Window; repeat it for more; absent: all six."),
    ] = None,
) -> RollingAnswer:
    if scope == "site":
        if key is not None:
            raise refuse("query.key", "the site has no key", "leave it out")
    elif key is None:
        raise refuse("query.key", f"is missing for scope {scope}", "add it")
    elif key not in (known := keys_of_scope(configuration.plant, scope)):
        raise_unknown(scope.replace("_", " "), key, known)
    names = tuple(dict.fromkeys(window or WINDOW_NAMES))
    return await rolling_answer(given, cache, configuration, scope, key, names)


@router.get(
    "/energy/rolling", summary="Rolling energy and carbon", tags=["energy"], responses=problem_responses(404, 422, 503)
)
async def rolling_energy(answer: Annotated[RollingAnswer, Depends(_asked)]) -> EnergyRolling:
    """Return kWh and kgCO2 over 15 min, 1 h, 24 h, 7 d, today and the month to date, in the site's time zone.

    Windows end at the last settled minute. Each kilowatt-hour counts once: only meters without another energy meter of
    the scope upstream are added up. What is not known is null, never 0.
    """
    return EnergyRolling(
        scope=answer.scope,
        key=answer.key,
        time_zone=answer.time_zone,
        meter_count=len(answer.meters),
        meters=answer.meters,
        generation_meters=answer.generation_meters,
        windows=[_energy_window(each, answer) for each in answer.windows],
    )


@router.get("/carbon/rolling", summary="Rolling carbon", tags=["carbon"], responses=problem_responses(404, 422, 503))
async def rolling_carbon(answer: Annotated[RollingAnswer, Depends(_asked)]) -> CarbonRolling:
    """Return kgCO2 over the same windows and scopes as rolling energy, without the energy."""
    return CarbonRolling(
        scope=answer.scope,
        key=answer.key,
        time_zone=answer.time_zone,
        meter_count=len(answer.meters),
        meters=answer.meters,
        generation_meters=answer.generation_meters,
        windows=[_carbon_window(each, answer) for each in answer.windows],
    )


@router.get("/carbon/factors", summary="Carbon factors", tags=["carbon"], responses=problem_responses(422, 503))
async def list_factors(given: Given, configuration: CurrentConfiguration) -> FactorList:
    """Return every factor by period of the site's region, superseded versions included.

    Where a factor by the hour applies now (`emsd carbon factors list`), none of these is in force.
    """
    return FactorList(factors=_factor_entries(given.now(), configuration))


def _factor_entries(now: datetime, configuration: Configuration) -> list[FactorEntry]:
    in_force = {
        method: factor_at([each for each in configuration.factors if each.method == method], now)
        for method in get_args(CarbonMethod)
    }
    in_force["location"] = configuration.location.at(now)
    return [
        FactorEntry(
            region=each.region,
            method=each.method,
            kg_per_kwh=each.kg_per_kwh,
            source=each.source,
            valid_from=each.valid_from,
            valid_to=each.valid_to,
            version=each.version,
            in_force=each == in_force[each.method],
        )
        for each in configuration.factors
    ]


def _carbon_window(window: RollingWindow, answer: RollingAnswer) -> CarbonWindow:
    return CarbonWindow(
        window=window.name,
        from_=window.from_,
        to=window.to,
        coverage=window.coverage,
        estimated_share=window.estimated_share,
        carbon_basis=answer.basis,
        kg_co2=window.kg_co2,
        carbon_coverage=window.carbon_coverage,
        avoided_kg_co2=window.avoided_kg_co2,
        factors=[_used(list(group)) for _, group in groupby(window.factors, key=_publication)],
    )


def _publication(factor: CarbonFactor) -> object:
    """What factors of one series have in common; each by period is one of its own."""
    return factor if factor.resolution == "period" else (factor.version, factor.source)


def _used(factors: Sequence[CarbonFactor]) -> UsedFactor:
    one = factors[0]
    return UsedFactor(
        region=one.region,
        method=one.method,
        version=one.version,
        resolution=one.resolution,
        kg_per_kwh=one.kg_per_kwh if one.resolution == "period" else None,
        source=one.source,
        valid_from=one.valid_from,
        valid_to=factors[-1].valid_to,
    )


def _energy_window(window: RollingWindow, answer: RollingAnswer) -> EnergyWindow:
    carbon = _carbon_window(window, answer)
    return EnergyWindow(
        **dict(carbon),
        import_kwh=window.import_kwh,
        export_kwh=window.export_kwh,
        net_kwh=window.net_kwh,
        generation_kwh=window.generation_kwh,
        generation_coverage=window.generation_coverage,
        consumption_kwh=window.consumption_kwh,
    )
