"""Activities of Scope 1: fuels, process gases and losses."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query

from emsd.api.dependencies import Given
from emsd.api.parameters import FromTime, ToTime, refuse, refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.schemas.activity import ActivityEntered, ActivityEntry, ActivityList, NewActivity
from emsd.api.security import Writer
from emsd.energy.ledger import Activity, check_activity
from emsd.store.activities import add_activities, list_activities

__all__ = ["router"]

router = APIRouter(
    prefix="/api/v1/carbon/activities", tags=["carbon"], dependencies=[Depends(refuse_unknown_parameters)]
)

_log = structlog.get_logger(__name__)


@router.get("", summary="Activities of Scope 1", responses=problem_responses(422, 503))
async def activities(
    given: Given,
    from_: FromTime = None,
    to: ToTime = None,
    all_versions: Annotated[bool, Query(description="Also what was replaced or taken back.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most activities of one answer.")] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="How many to pass over.")] = 0,
) -> ActivityList:
    """Return activities whose period touches the range, the latest first, with their emissions."""
    rows = await list_activities(
        given.pool, given.site_id, from_=from_, to=to, all_versions=all_versions, limit=limit, offset=offset
    )
    return ActivityList(
        activities=[
            ActivityEntry(
                activity_id=row.activity_id,
                activity=row.activity.model_dump(mode="json"),
                in_force=row.in_force,
                recorded_at=row.recorded_at,
                kg_co2e={gwp_set: float(kg) for gwp_set, kg in row.kg_co2e.items()},
            )
            for row in rows
        ]
    )


@router.post("", summary="Enter an activity", responses=problem_responses(400, 401, 404, 409, 413, 422, 503))
async def enter_activity(body: NewActivity, given: Given, writer: Writer) -> ActivityEntered:
    """Enter fuel that was burned, process gas that was used, or gas that was lost; needs a token.

    The same entry twice is one. Another content under a reference that is there already is refused with 409, unless
    `replace` says that it replaces it; the earlier one stays in the ledger.
    """
    activity = Activity(version=1, **body.model_dump(exclude={"replace"}))
    for field, problem in check_activity(activity):
        raise refuse(f"body.{field}", problem, "see docs/carbon.md for what belongs there")
    (outcome,) = await add_activities(given.pool, given.site_id, [activity], replace=body.replace)
    _log.info("activity_entered", reference=body.reference, outcome=outcome, author=body.author, token=writer.name)
    return ActivityEntered(reference=body.reference, outcome=outcome)
