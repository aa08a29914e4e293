"""Why a figure is what it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Depends

from emsd.api.asked_scope import ScopeAsked
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.explain_schemas import ExplainedEnergy
from emsd.api.explanations import explain_energy, explained_meter_ids
from emsd.api.parameters import FromTime, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses
from emsd.energy.windows import local_day_bounds

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/explain", tags=["energy"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=31)
_METER_DAYS: Final = 62
"""Every raw reading is read again, which takes a few tenths of a second for a day of a meter polled every second."""


@router.get("/energy", summary="Explain energy", responses=problem_responses(404, 422, 503))
async def explain(
    given: Given, configuration: CurrentConfiguration, asked: ScopeAsked, from_: FromTime = None, to: ToTime = None
) -> ExplainedEnergy:
    """Compute a figure again from the raw readings, and return what it rests on.

    For each meter: the first and last reading, every special stretch of the counter with the readings around it, the
    gaps and how the energy in them was found, the events, the rules, and the sum of it all, which must be the figure;
    then the carbon factors. Without `from` and `to` it is the last full local day. At most 31 days, and 62 days of
    single meters; for more use `emsd explain`.
    """
    zone = configuration.plant.zone
    now = given.now()
    if from_ is None and to is None:
        from_, to = local_day_bounds(now.astimezone(zone).date() - timedelta(days=1), zone)
    cure = "ask for less, or use `emsd explain`"
    span = time_range(from_, to, now=now, default=timedelta(days=1), longest=_LONGEST, cure=cure)
    for field, instant in (("query.from", span.from_), ("query.to", span.to)):
        if instant.second or instant.microsecond:
            raise refuse(field, "is no full minute", "write one, as intervals begin and end with minutes")
    meters = len(explained_meter_ids(configuration, asked.kind, asked.key))
    if meters > 1 and meters * (span.length / timedelta(days=1)) > _METER_DAYS:
        raise refuse("query.from", f"{meters} meters over {span.length} are too much to explain at once", cure)
    return await explain_energy(given.pool, configuration, asked.kind, asked.key, span.from_, span.to)
