"""What changes in a simulated plant, and what it truly costs: a route of `simulator.control`.

GET /scenarios, with ?from=&to= for the cost of each in that window, &key= for that of one
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime, BaseModel, Field

from emsd.readings import instant_us
from simulator.physics.scenarios import KINDS, Scenario
from simulator.running import RunningSimulator
from simulator.scenario_truth import ScenarioCost, reach_us
from simulator.tables import US_PER_DAY
from simulator.truth_api import window_us

__all__ = ["router", "state_of"]

_MOST_DAYS: Final = 200
"""Days of physics in one question: a large factory takes a tenth of a second for each."""

State = Literal["to_come", "in_force", "over"]


class CostOfScenario(BaseModel):
    """Energy that a scenario cost in the window that was asked for [kWh]; what it saved is negative."""

    site_kwh: float = Field(description="Of the meters that have no other above them.")
    areas: dict[str, float] = Field(description="By area, with all below it.")
    meters: dict[str, float] = Field(description="By energy meter.")


class ScenarioOfPlant(BaseModel):
    """One change of the plant."""

    key: str
    kind: str
    summary: str = Field(description="What changes.")
    asset: str | None = Field(description="Asset that it concerns; null: all that can have it.")
    amount: float
    unit: str = Field(description="Unit of the amount.")
    start: datetime
    end: datetime | None
    grows_over_days: float
    state: State = Field(description="By the clock of the plant.")
    cost: CostOfScenario | None = Field(description="null when no window was asked for.")


router = APIRouter()

Begin = Annotated[AwareDatetime | None, Query(alias="from", description="Begin, with an offset.")]
End = Annotated[AwareDatetime | None, Query(description="End, exclusive, with an offset.")]
Key = Annotated[str | None, Query(description="Only this scenario.")]


@router.get("/scenarios")
async def scenarios(
    simulator: RunningSimulator, from_: Begin = None, to: End = None, key: Key = None
) -> list[ScenarioOfPlant]:
    """Return the scenarios of the plant, in a window with their true cost."""
    known = [each for each in simulator.scenarios.scenarios if key in {None, each.key}]
    if key is not None and not known:
        names = ", ".join(each.key for each in simulator.scenarios.scenarios) or "none"
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no scenario {key!r}; there are {names}")
    if (from_ is None) != (to is None):
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "a window needs both from and to; add the other")
    now_us = simulator.now_us()
    if from_ is None or to is None:
        return [_told(each, now_us, None) for each in known]
    from_us, to_us = window_us(from_, to, simulator)
    _check_size(known, from_us, to_us)
    # Days of physics take their time, in which devices must go on answering.
    costs = [await asyncio.to_thread(simulator.scenarios.cost, each.key, from_us, to_us) for each in known]
    return [_told(each, now_us, cost) for each, cost in zip(known, costs, strict=True)]


def _check_size(asked: list[Scenario], from_us: int, to_us: int) -> None:
    """Refuse what would take minutes: it is asked in parts, whose costs add up."""
    days = 0.0
    for each in asked:
        first_us, last_us = reach_us(each)
        end_us = to_us if last_us is None else min(to_us, last_us)
        days += 2 * max(end_us - max(from_us, first_us), 0) / US_PER_DAY
    if days > _MOST_DAYS:
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"that takes {days:.0f} days of physics, and {_MOST_DAYS} are the most; "
            "ask for shorter windows, whose costs add up, or for one scenario with key",
        )


def _told(scenario: Scenario, now_us: int, cost: ScenarioCost | None) -> ScenarioOfPlant:
    traits = KINDS[scenario.kind]
    return ScenarioOfPlant(
        key=scenario.key,
        kind=scenario.kind,
        summary=traits.summary,
        asset=scenario.asset,
        amount=scenario.amount,
        unit=traits.unit,
        start=scenario.start,
        end=scenario.end,
        grows_over_days=scenario.grows_over_days,
        state=state_of(scenario, now_us),
        cost=None if cost is None else CostOfScenario(site_kwh=cost.site_kwh, areas=cost.areas, meters=cost.meters),
    )


def state_of(scenario: Scenario, now_us: int) -> State:
    """Return whether a scenario is to come, in force or over; one that grows is in force from its start."""
    if now_us < instant_us(scenario.start):
        return "to_come"
    return "in_force" if scenario.end is None or now_us < instant_us(scenario.end) else "over"
