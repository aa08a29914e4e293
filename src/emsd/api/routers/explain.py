"""Why a figure is what it is: one operation a kind of figure, all with the same form of answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from emsd.api.asked_scope import AskedScope, ScopeAsked
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.explained.balance import explain_balance
from emsd.api.explained.cost import explain_cost
from emsd.api.explained.demand import explain_demand
from emsd.api.explained.footprint import FootprintMeasure, explain_footprint
from emsd.api.explained.form import Explanation
from emsd.api.explained.kpi import explain_kpi
from emsd.api.explained.ledger import LedgerFigure, explain_ledger, explain_statement
from emsd.api.explained.schemas import ExplainedEnergy
from emsd.api.explained.scopes import explain_energy, explained_meter_ids
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses, raise_unknown
from emsd.energy.demand_forecast import block_begin_us
from emsd.energy.kpi import kpis_of_kind
from emsd.energy.local_windows import month_begin
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, floor_us
from emsd.energy.windows import local_day_bounds, settled_minute
from emsd.readings import instant_us, to_datetime
from emsd.store.contract_demand import read_period_min
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/explain", tags=["explain"], dependencies=[Depends(refuse_unknown_parameters)])

_DAY: Final = timedelta(days=1)
_LONGEST: Final = timedelta(days=31)
_LONGEST_OF_INTERVALS: Final = timedelta(days=366)
_METER_DAYS: Final = 62
"""Every raw reading is read again, which takes a few tenths of a second for a day of a meter polled every second."""
_LONGEST_DAYS: Final = 1100
_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)
_CURE: Final = "ask for less, or use `emsd explain`"


@router.get("/energy", summary="Explain energy", responses=problem_responses(404, 422, 503))
async def energy(
    given: Given, configuration: CurrentConfiguration, asked: ScopeAsked, from_: FromTime = None, to: ToTime = None
) -> ExplainedEnergy:
    """Compute energy again from the raw readings, and return what it rests on.

    For each meter: the first and last reading, every special stretch of the counter with the readings around it, the
    gaps and how the energy in them was found, the events, the rules, and the sum of it all, which must be the figure;
    then the carbon factors. Without `from` and `to` it is the last full local day; without `to` it ends with the last
    settled minute. At most 31 days, and 62 days of single meters; for more use `emsd explain energy`.
    """
    span = _minutes(given, asked, from_, to, longest=_LONGEST)
    meters = len(await explained_meter_ids(given.pool, configuration, asked.kind, asked.key))
    if meters > 1 and meters * (span.length / _DAY) > _METER_DAYS:
        raise refuse("query.from", f"{meters} meters over {span.length} are too much to explain at once", _CURE)
    return await explain_energy(given.pool, configuration, asked.kind, asked.key, span.from_, span.to)


@router.get("/cost", summary="Explain a cost", responses=problem_responses(404, 422, 503))
async def cost(
    given: Given, configuration: CurrentConfiguration, asked: ScopeAsked, from_: FromTime = None, to: ToTime = None
) -> Explanation:
    """Return which energy fell into which rate, at which price of which tariff, and the sum of it all.

    Of the site over whole local months it is the bill, with demand charge, power factor, fixed charge, tax and credit;
    else the cost of the energy. Without `from` since the month began; at most a year; both ends are full quarter hours.
    """
    span = _blocks(given, asked, from_, to, period_min=15)
    return await explain_cost(given.pool, configuration, asked.kind, asked.key, span.from_, span.to)


@router.get("/demand", summary="Explain the highest demand", responses=problem_responses(404, 422, 503))
async def demand(
    given: Given,
    configuration: CurrentConfiguration,
    asked: ScopeAsked,
    from_: FromTime = None,
    to: ToTime = None,
    sliding: Annotated[
        bool, Query(description="The highest window that begins at any minute; at most 31 days.")
    ] = False,
) -> Explanation:
    """Return the settlement period with the highest demand, what each meter drew in it, and by which readings.

    Without `from` since the month began; at most a year.
    """
    async with snapshot(given.pool, "read the settlement period") as connection:
        period_min = await read_period_min(connection, asked.plant.site.site_id)
    span = _blocks(given, asked, from_, to, period_min=period_min)
    if sliding and span.length > _LONGEST:
        raise refuse("query.from", f"the range is longer than {_LONGEST}", "ask for less, or without sliding")
    return await explain_demand(given.pool, configuration, asked.kind, asked.key, span.from_, span.to, sliding=sliding)


@router.get("/carbon", summary="Explain a figure of the carbon ledger", responses=problem_responses(404, 409, 422, 503))
async def carbon(
    given: Given,
    configuration: CurrentConfiguration,
    figure: Annotated[LedgerFigure, Query(description="Scope 2 by one of its methods, or Scope 1.")] = "location",
    from_: Annotated[
        date | None, Query(alias="from", description="First local day; absent: 1 January.", examples=["2026-01-01"])
    ] = None,
    to: Annotated[
        date | None, Query(description="First local day after it; absent: tomorrow.", examples=["2027-01-01"])
    ] = None,
    statement: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="Number of a statement, instead of a time.")
    ] = None,
) -> Explanation:
    """Return the energies with their factors and certificates, or the activities with their gases, behind a figure.

    Of the ledger as the database says it now, or of a statement as it was frozen.
    """
    if statement is not None:
        if from_ is not None or to is not None:
            raise refuse("query.statement", "has a period of its own", "leave out from and to")
        return await explain_statement(given.pool, given.site_id, figure, statement)
    now = given.now()
    today = now.astimezone(configuration.plant.zone).date()
    first_day = today.replace(month=1, day=1) if from_ is None else from_
    end_day = today + _DAY if to is None else to
    for field, day in (("query.from", first_day), ("query.to", end_day)):
        if not _FIRST <= day <= _LAST:
            raise refuse(field, "is not between the years 2000 and 2100", "check the year")
    if not 0 < (end_day - first_day).days <= _LONGEST_DAYS:
        raise refuse("query.from", f"{first_day} to {end_day} is no period", f"ask for 1 to {_LONGEST_DAYS} days")
    return await explain_ledger(given.pool, given.site_id, figure, first_day, end_day, now=now)


@router.get("/kpi", summary="Explain a key figure", responses=problem_responses(404, 422, 503))
async def kpi(
    given: Given,
    configuration: CurrentConfiguration,
    asset: Annotated[str, Query(max_length=63, description="Key of an asset.", examples=["chiller-1"])],
    name: Annotated[str, Query(max_length=63, description="Name of a key figure.", examples=["chiller_cop"])],
    from_: FromTime = None,
    to: ToTime = None,
) -> Explanation:
    """Return the inputs of a key figure by meter and quantity, their sums, coverage and formula, or why it has none.

    Without `from` it is the last 24 hours; at most a year. Both ends are moved outwards to full quarter hours.
    """
    plant = configuration.plant
    by_key = {each.key: each for each in plant.assets.values()}
    row = by_key.get(asset) or raise_unknown("asset", asset, by_key)
    known = {each.name: each for each in kpis_of_kind(row.kind)}
    definition = known.get(name) or raise_unknown("key figure", name, known)
    span = time_range(from_, to, now=given.now(), default=_DAY, longest=_LONGEST_OF_INTERVALS, cure=_CURE)
    return await explain_kpi(given.pool, plant, row, definition, span.from_, span.to)


@router.get("/footprint", summary="Explain the footprint of a product", responses=problem_responses(404, 422, 503))
async def footprint(
    given: Given,
    configuration: CurrentConfiguration,
    product: Annotated[str, Query(max_length=63, description="Key of a product.", examples=["panel-6-5"])],
    measure: Annotated[FootprintMeasure, Query(description="Emissions or energy.")] = "kg_co2e",
    from_: FromTime = None,
    to: ToTime = None,
) -> Explanation:
    """Return the areas, allocation keys and shares that make the footprint of all that was made of a product.

    Without `from` it is the last 31 days; at most a year; both ends are full quarter hours.
    """
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and instant_us(instant) % BUCKET_15M_US:
            raise refuse(field, f"{instant.isoformat()} is no full quarter hour", "write one, such as 08:15")
    end = to or to_datetime(floor_us(instant_us(given.now()), BUCKET_15M_US))
    span = time_range(from_, end, now=end, default=_LONGEST, longest=_LONGEST_OF_INTERVALS, cure=_CURE)
    return await explain_footprint(given.pool, configuration, product, span.from_, span.to, measure)


@router.get("/balance", summary="Explain the residual of a bus", responses=problem_responses(404, 422, 503))
async def balance(
    given: Given,
    configuration: CurrentConfiguration,
    bus: Annotated[str, Query(max_length=80, description="Key of a meter with meters below it.", examples=["incomer"])],
    from_: FromTime = None,
    to: ToTime = None,
) -> Explanation:
    """Return what a bus counted, what each meter below it counted, and what that leaves as losses or unmetered load.

    Without `from` and `to` it is the last full local day; at most a year.
    """
    plant = configuration.plant
    row = plant.meter_by_key.get(bus)
    if row is None or row.meter_id not in plant.buses:
        raise_unknown("bus", bus, [plant.meters[each].key for each in plant.buses])
    begin, end = _minute(from_, "query.from"), _minute(to, "query.to")
    settled = settled_minute(given.now(), given.settle_s)
    if begin is None and end is None:
        begin, end = local_day_bounds(settled.astimezone(plant.zone).date() - _DAY, plant.zone)
    span = time_range(begin, end, now=settled, default=_DAY, longest=_LONGEST_OF_INTERVALS, cure=_CURE)
    if span.from_ >= settled:
        raise refuse("query.from", "no minute of the range has settled yet", "ask for an earlier range")
    return await explain_balance(given.pool, configuration, row, span.from_, min(span.to, settled))


def _minutes(
    given: Given, asked: AskedScope, from_: datetime | None, to: datetime | None, *, longest: timedelta
) -> TimeRange:
    """The range asked for, its bounds full minutes; the last full local day when none is."""
    begin, end = _minute(from_, "query.from"), _minute(to, "query.to")
    now = given.now()
    if begin is None and end is None:
        begin, end = local_day_bounds(now.astimezone(asked.plant.zone).date() - _DAY, asked.plant.zone)
    settled = settled_minute(now, given.settle_s)
    return time_range(begin, end, now=settled, default=_DAY, longest=longest, cure=_CURE)


def _minute(instant: datetime | None, field: str) -> datetime | None:
    if instant is not None and (instant.second or instant.microsecond):
        raise refuse(field, "is no full minute", "write one, as intervals begin and end with minutes")
    return instant


def _blocks(
    given: Given, asked: AskedScope, from_: datetime | None, to: datetime | None, *, period_min: int
) -> TimeRange:
    """The range asked for, its bounds those of settlement periods; since the month began when none is."""
    zone, period_us = asked.plant.zone, period_min * BUCKET_1M_US
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and block_begin_us(instant_us(instant), period_us, zone) != instant_us(instant):
            problem = f"{instant.isoformat()} is not where a period of {period_min} min begins"
            raise refuse(field, problem, f"write a full multiple of {period_min} min")
    settled_us = instant_us(settled_minute(given.now(), given.settle_s))
    end = (to or to_datetime(block_begin_us(settled_us, period_us, zone))).astimezone(UTC)
    month = month_begin(end - timedelta(microseconds=1), zone)
    default = max(end - month, timedelta(minutes=period_min))
    return time_range(from_, end, now=end, default=default, longest=_LONGEST_OF_INTERVALS, cure=_CURE)
