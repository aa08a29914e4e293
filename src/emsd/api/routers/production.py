"""Production: products, and counts of what was made."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Query

from emsd.api.dependencies import Given
from emsd.api.parameters import FromTime, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses
from emsd.api.schemas.production import CountEntry, CountList, NewCounts, ProductEntry, ProductList, WrittenCounts
from emsd.api.security import Writer
from emsd.errors import UnknownProduct
from emsd.store.production import read_production
from emsd.store.production_counts import NewCount, add_counts, list_counts
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["production"], dependencies=[Depends(refuse_unknown_parameters)])

_log = structlog.get_logger(__name__)

_LONGEST: Final = timedelta(days=400)
_DEFAULT: Final = timedelta(days=31)
_MOST_COUNTS: Final = 10_000


@router.get("/production/products", summary="Products", responses=problem_responses(422, 503))
async def products(given: Given) -> ProductList:
    """Return the products that are configured now, with their area and mask passes."""
    async with snapshot(given.pool, "read the products") as connection:
        production = await read_production(connection, given.site_id)
    return ProductList(
        products=[
            ProductEntry(product=each.key, name=each.name, area_m2=each.area_m2, passes=dict(each.passes))
            for each in production.products.values()
            if each.removed_at is None
        ]
    )


@router.get("/production/counts", summary="Counts of production", responses=problem_responses(422, 503))
async def counts(
    given: Given,
    from_: FromTime = None,
    to: ToTime = None,
    every_version: Annotated[bool, Query(description="Also what was superseded or withdrawn.")] = False,
) -> CountList:
    """Return the counts whose time touches the range, at most 10,000; without `from` those of the last 31 days."""
    span = time_range(
        from_, to, now=given.now(), default=_DEFAULT, longest=_LONGEST, cure=f"ask for at most {_LONGEST.days} days"
    )
    rows = await list_counts(
        given.pool, given.site_id, span.from_, span.to, every_version=every_version, limit=_MOST_COUNTS + 1
    )
    return CountList(
        more=len(rows) > _MOST_COUNTS,
        counts=[
            CountEntry(
                external_id=row.external_id,
                version=row.version,
                product=row.product,
                stage=row.stage,
                from_=row.from_time,
                to=row.to_time,
                units=row.units,
                good_units=row.good_units,
                withdrawn=row.withdrawn,
                author=row.author,
                note=row.note,
                recorded_at=row.recorded_at,
            )
            for row in rows[:_MOST_COUNTS]
        ],
    )


@router.post(
    "/production/counts", summary="Write counts of production", responses=problem_responses(400, 401, 413, 422, 503)
)
async def write_counts(body: NewCounts, given: Given, writer: Writer) -> WrittenCounts:
    """Write counts, all or none; needs a token.

    The same count again changes nothing, so whoever got no answer may send it again; another content under the same
    `external_id` is a correction, of which every version is kept.
    """
    try:
        written = await add_counts(
            given.pool,
            given.site_id,
            [
                NewCount(
                    external_id=each.external_id,
                    product=each.product,
                    stage=each.stage,
                    from_time=each.from_,
                    to_time=each.to,
                    units=each.units,
                    good_units=each.good_units,
                    withdrawn=each.withdrawn,
                    note=each.note,
                )
                for each in body.counts
            ],
            author=writer.name,
        )
    except UnknownProduct as error:
        raise refuse("body.counts", str(error), "configure it under production.products") from error
    _log.info("production_counted", added=written.added, corrected=written.corrected, token=writer.name)
    return WrittenCounts(added=written.added, corrected=written.corrected, unchanged=written.unchanged)
