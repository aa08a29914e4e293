"""Demand: what was drawn at most over a settlement period, and where the running one will end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from emsd.api.asked_scope import AskedScope, ScopeAsked
from emsd.api.dependencies import Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses
from emsd.api.schemas.demand import DemandAnswer, DemandForecastAnswer, DemandPeak, DemandRow, UntrustedBlock
from emsd.energy.demand import TRUSTED_COVERAGE, Demand
from emsd.energy.demand_forecast import DemandForecast, Tail, block_begin_us, forecast_from_minutes
from emsd.energy.demand_series import DemandSeries
from emsd.energy.local_windows import LocalWindow, WindowPer, local_windows, month_begin
from emsd.energy.series import BUCKET_1M_US
from emsd.energy.windows import settled_minute
from emsd.readings import instant_us, to_datetime
from emsd.store.contract_demand import ContractDemand, read_contract_demands, read_period_min
from emsd.store.cost import contract_at
from emsd.store.demand import (
    read_demand_blocks,
    read_demand_sliding,
    read_running_minutes,
    read_tail,
    summed_power_kw,
)
from emsd.store.reads import snapshot

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["demand"], dependencies=[Depends(refuse_unknown_parameters)])

_LONGEST: Final = timedelta(days=3 * 366)
_LONGEST_SLIDING: Final = timedelta(days=93)
_MOST_SLIDING_MINUTES: Final = 10_000_000
"""Minutes of all meters that are read for windows that slide: some ten seconds."""
_MOST_UNTRUSTED: Final = 100


@router.get("/demand", summary="Highest demand", responses=problem_responses(404, 422, 503))
async def read_demand(
    given: Given,
    asked: ScopeAsked,
    from_: FromTime = None,
    to: ToTime = None,
    per: Annotated[WindowPer, Query(description="One row for each, in the site's time zone.")] = "month",
    sliding: Annotated[bool, Query(description="Also the highest window that begins at any minute; 93 days.")] = True,
) -> DemandAnswer:
    """Return the highest demand of a scope with its time; without `from` since the month began.

    Demand is the mean power drawn over a settlement period; that of several meters is of their sum. Only periods
    that are at least 90 % covered count, the others are listed.
    """
    async with snapshot(given.pool, "read the demand") as connection:
        site_id = asked.plant.site.site_id
        period_min = await read_period_min(connection, site_id)
        contracts = await read_contract_demands(connection, site_id) if asked.kind == "site" else []
        span = _blocks(given, asked, from_, to, period_min, longest=_LONGEST_SLIDING if sliding else _LONGEST)
        bounds_us = instant_us(span.from_), instant_us(span.to)
        top, resting = asked.meters.top, asked.meters.resting
        blocks = await read_demand_blocks(connection, top, *bounds_us, period_min=period_min, resting=resting)
        slid = None
        if sliding:
            _refuse_too_many_minutes(len(top), span)
            slid = await read_demand_sliding(connection, top, *bounds_us, period_min=period_min, resting=resting)
    untrusted = [place for place, share in enumerate(blocks.coverage.tolist()) if share < TRUSTED_COVERAGE]
    return DemandAnswer(
        scope=asked.kind,
        key=asked.key,
        period_min=period_min,
        time_zone=asked.plant.site.time_zone,
        meters=asked.meter_keys,
        rows=[
            _row(window, blocks, slid, contracts)
            for window in local_windows(span.from_, span.to, per, asked.plant.zone)
        ],
        untrusted=[
            UntrustedBlock(from_=to_datetime(int(blocks.begin_us[place])), coverage=float(blocks.coverage[place]))
            for place in untrusted[:_MOST_UNTRUSTED]
        ],
    )


@router.get(
    "/demand/forecast", summary="Forecast of the running settlement period", responses=problem_responses(404, 422, 503)
)
async def forecast_demand(given: Given, asked: ScopeAsked) -> DemandForecastAnswer:
    """Return where the running settlement period will end, and what may still be drawn in it.

    What was drawn so far is known to the latest readings where all meters of the scope have counters, else to the last
    settled minute. The mean power of the last minutes is taken to go on.
    """
    now = given.now().astimezone(UTC)
    settled_us, now_us = instant_us(settled_minute(now, given.settle_s)), instant_us(now)
    plant, meter_ids = asked.plant, asked.meters.top
    async with snapshot(given.pool, "read the running demand") as connection:
        site_id = plant.site.site_id
        period_min = await read_period_min(connection, site_id)
        contracts = await read_contract_demands(connection, site_id) if asked.kind == "site" else []
        begin_us = block_begin_us(now_us, period_min * BUCKET_1M_US, plant.zone)
        running = await read_running_minutes(connection, meter_ids, settled_us)
        resting = asked.meters.resting
        gaps = {each: plant.meters[each].max_gap_s for each in meter_ids if each not in resting}
        tail = await read_tail(connection, gaps, settled_us, begin_us, now_us) if gaps else None
    if tail is None:
        # What a period that began after the last settled minute has drawn is not known yet; the one before still runs.
        begin_us = block_begin_us(settled_us, period_min * BUCKET_1M_US, plant.zone)
    contract_kw = contract_at(contracts, to_datetime(begin_us))
    found = None
    if meter_ids:
        minute_kw = summed_power_kw(running, meter_ids, resting=resting)
        found = forecast_from_minutes(
            minute_kw, settled_us, begin_us, period_min=period_min, contract_kw=contract_kw, tail=tail
        )
    return _forecast(asked, begin_us, period_min, settled_us, tail, contract_kw, found)


def _forecast(
    asked: AskedScope,
    begin_us: int,
    period_min: int,
    settled_us: int,
    tail: Tail | None,
    contract_kw: float | None,
    found: DemandForecast | None,
) -> DemandForecastAnswer:
    return DemandForecastAnswer(
        scope=asked.kind,
        key=asked.key,
        meters=asked.meter_keys,
        from_=to_datetime(begin_us),
        to=to_datetime(begin_us + period_min * BUCKET_1M_US),
        until=to_datetime(
            tail.until_us if tail else settled_us - (0 if found is None else found.assumed_min * BUCKET_1M_US)
        ),
        source="intervals" if tail is None else "readings",
        energy_kwh=None if found is None else found.energy_kwh,
        present_kw=None if found is None else found.present_kw,
        forecast_kw=None if found is None else found.forecast_kw,
        error_kw=None if found is None else found.error_kw,
        contract_demand_kw=contract_kw,
        headroom_kw=None if found is None else found.headroom_kw,
        minutes_left=None if found is None else found.minutes_left,
    )


def _blocks(
    given: Given,
    asked: AskedScope,
    from_: datetime | None,
    to: datetime | None,
    period_min: int,
    *,
    longest: timedelta,
) -> TimeRange:
    """The range asked for, its bounds those of settlement periods."""
    zone, period_us = asked.plant.zone, period_min * BUCKET_1M_US
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and block_begin_us(instant_us(instant), period_us, zone) != instant_us(instant):
            problem = f"{instant.isoformat()} is not where a period of {period_min} min begins"
            raise refuse(field, problem, f"write a full multiple of {period_min} min")
    settled = settled_minute(given.now(), given.settle_s)
    end = (to or to_datetime(block_begin_us(instant_us(settled), period_us, zone))).astimezone(UTC)
    month = month_begin(end - timedelta(microseconds=1), zone)
    cure = "ask for a shorter range, or with sliding=false for up to three years"
    return time_range(
        from_, end, now=end, default=max(end - month, timedelta(minutes=period_min)), longest=longest, cure=cure
    )


def _refuse_too_many_minutes(meters: int, span: TimeRange) -> None:
    minutes = meters * int((span.to - span.from_) / timedelta(minutes=1))
    if minutes > _MOST_SLIDING_MINUTES:
        problem = f"windows that slide over {minutes:,} minutes of {meters} meters would take too long"
        raise refuse("query.sliding", problem, "write sliding=false, or ask for a shorter range")


def _row(
    window: LocalWindow, blocks: DemandSeries, slid: DemandSeries | None, contracts: list[ContractDemand]
) -> DemandRow:
    begin_us, end_us = instant_us(window.from_), instant_us(window.to)
    inside = (blocks.begin_us >= begin_us) & (blocks.begin_us < end_us)
    return DemandRow(
        from_=window.from_,
        to=window.to,
        contract_demand_kw=contract_at(contracts, window.from_),
        block=_peak(blocks.highest(begin_us, end_us)),
        sliding=None if slid is None else _peak(slid.highest(begin_us, end_us)),
        blocks=int(inside.sum()),
        untrusted_blocks=int((blocks.coverage[inside] < TRUSTED_COVERAGE).sum()),
    )


def _peak(demand: Demand | None) -> DemandPeak | None:
    return None if demand is None else DemandPeak(demand_kw=demand.demand_kw, from_=to_datetime(demand.from_us))
