"""What energy costs, and the tariff behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query

from emsd.api.asked_scope import AskedScope, ScopeAsked
from emsd.api.dependencies import CurrentConfiguration, Given
from emsd.api.parameters import FromTime, TimeRange, ToTime, refuse, refuse_unknown_parameters, time_range
from emsd.api.problems import problem_responses
from emsd.api.schemas.cost import (
    BillAnswer,
    CostAnswer,
    CostRow,
    DemandExcessBand,
    PeriodCostAnswer,
    PriceStretch,
    TariffAnswer,
    TariffEntry,
)
from emsd.energy.cost import PriceCurve
from emsd.energy.local_windows import local_windows, month_begin
from emsd.energy.series import BUCKET_15M_US, floor_us
from emsd.energy.windows import settled_minute
from emsd.readings import instant_us, to_datetime
from emsd.store.cost import MonthBill, WindowCost, read_costs, read_month_costs, read_total_cost
from emsd.store.pool import Session
from emsd.store.reads import snapshot
from emsd.store.tariff import TariffVersion, read_prices, read_tariffs

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["cost"], dependencies=[Depends(refuse_unknown_parameters)])

CostPer: TypeAlias = Literal["day", "month", "total"]
_LONGEST: Final = timedelta(days=3 * 366)
_LONGEST_PRICES: Final = timedelta(days=366)
_QUARTER: Final = timedelta(minutes=15)


@router.get("/cost", summary="Cost of energy", responses=problem_responses(404, 422, 503))
async def read_cost(
    given: Given,
    asked: ScopeAsked,
    from_: FromTime = None,
    to: ToTime = None,
    per: Annotated[CostPer, Query(description="One row for each, in the site's time zone.")] = "month",
) -> CostAnswer:
    """Return what the energy of a scope cost, by time-of-use period; without `from` since the month began.

    The site pays for what it draws from the grid, and its rows by month have the whole bill: demand charge, power
    factor, fixed charge, tax, feed-in credit. Any other scope is charged for its consumption as if all of it came from
    the grid, at the prices of the hours in which it was used; the demand charge is not shared out.

    Without `to` it ends with the last settled quarter hour.
    """
    span = _quarters(given, asked, from_, to)
    windows = local_windows(span.from_, span.to, per, asked.plant.zone)
    async with snapshot(given.pool, "add up the cost") as connection:
        tariffs = await read_tariffs(connection, asked.plant.site.site_id)
        if asked.kind != "site":
            found = await read_costs(connection, asked.plant, asked.meters, "consumption", windows)
        elif per == "day":
            found = await read_costs(connection, asked.plant, asked.meters, "grid_import", windows)
        elif per == "month":
            found = await read_month_costs(connection, asked.plant, asked.meters, windows)
        else:
            found = [await read_total_cost(connection, asked.plant, asked.meters, windows[0])]
    return CostAnswer(
        scope=asked.kind,
        key=asked.key,
        currency=tariffs[-1].currency if tariffs else None,
        basis="grid_import" if asked.kind == "site" else "consumption",
        time_zone=asked.plant.site.time_zone,
        meters=asked.meter_keys,
        rows=[_row(each) for each in found],
    )


@router.get("/tariff", summary="Tariff and prices", responses=problem_responses(422, 503))
async def read_tariff(
    given: Given, configuration: CurrentConfiguration, from_: FromTime = None, to: ToTime = None
) -> TariffAnswer:
    """Return every version of the contract, and the prices of a range of at most a year; without `from` of today."""
    site_id, now = configuration.plant.site.site_id, given.now()
    span = time_range(
        from_,
        to or (None if from_ is None else from_ + timedelta(days=1)),
        now=now + timedelta(days=1),
        default=timedelta(days=1),
        longest=_LONGEST_PRICES,
        cure="ask for at most a year of prices",
    )
    async with snapshot(given.pool, "read the tariff") as connection:
        return await _tariff(connection, site_id, span, now)


async def _tariff(connection: Session, site_id: int, span: TimeRange, now: datetime) -> TariffAnswer:
    tariffs = await read_tariffs(connection, site_id)
    curve = await read_prices(connection, site_id, span.from_, span.to)
    return TariffAnswer(tariffs=[_entry(each, now) for each in tariffs], prices=[*_stretches(curve)])


def _quarters(given: Given, asked: AskedScope, from_: datetime | None, to: datetime | None) -> TimeRange:
    """The range asked for, its bounds full quarter hours."""
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and instant_us(instant) % BUCKET_15M_US:
            raise refuse(field, f"{instant.isoformat()} is no full quarter hour", "costs are those of quarter hours")
    settled = settled_minute(given.now(), given.settle_s)
    end = to or to_datetime(floor_us(instant_us(settled), BUCKET_15M_US))
    month = month_begin(end - timedelta(microseconds=1), asked.plant.zone)
    return time_range(
        from_,
        end.astimezone(UTC),
        now=end,
        default=max(end - month, _QUARTER),
        longest=_LONGEST,
        cure="ask for at most three years",
    )


def _row(found: WindowCost) -> CostRow:
    cost = found.cost
    return CostRow(
        from_=found.window.from_,
        to=found.window.to,
        complete=found.window.complete,
        drawn_kwh=cost.drawn_kwh,
        given_kwh=cost.given_kwh,
        energy_cost=cost.cost,
        levies=cost.levies,
        feed_in_credit=cost.feed_in_credit,
        priced_share=cost.priced_share,
        coverage=cost.coverage,
        estimated_share=cost.estimated_share,
        periods=[
            PeriodCostAnswer(
                period=each.period, energy_kwh=each.energy_kwh, price_per_kwh=each.price_per_kwh, cost=each.cost
            )
            for each in cost.periods
        ],
        bill=None if found.bill is None else _bill(found.bill),
    )


def _bill(month: MonthBill) -> BillAnswer:
    made, tariff = month.bill, month.tariff
    return BillAnswer(
        tariff=None if tariff is None else tariff.key,
        energy=made.energy,
        levies=made.levies,
        demand_basis=None if tariff is None else tariff.terms.demand_basis,
        demand_billed=made.demand_billed,
        demand_kw=None if month.demand is None else month.demand.demand_kw,
        demand_at=None if month.demand is None else to_datetime(month.demand.from_us),
        untrusted_blocks=None if tariff is None else month.untrusted_blocks,
        contract_demand_kw=month.contract_demand_kw,
        demand_charge=made.demand_charge,
        demand_excess_kw=made.demand_excess_kw,
        demand_surcharge=made.demand_surcharge,
        power_factor=made.power_factor,
        reactive_kvarh=None if month.reactive is None else month.reactive.kvarh,
        reactive_source=None if month.reactive is None else month.reactive.source,
        power_factor_percent=made.power_factor_percent,
        power_factor_adjustment=made.power_factor_adjustment,
        fixed_charge=made.fixed_charge,
        tax=made.tax,
        feed_in_credit=made.feed_in_credit,
        total=made.total,
    )


def _entry(tariff: TariffVersion, now: datetime) -> TariffEntry:
    return TariffEntry(
        key=tariff.key,
        name=tariff.name,
        currency=tariff.currency,
        source=tariff.source,
        valid_from=tariff.valid_from,
        valid_to=tariff.valid_to,
        in_force=tariff.is_valid_at(now),
        demand_basis=tariff.terms.demand_basis,
        demand_price_per_month=tariff.terms.demand_price_per_month,
        demand_minimum_share=tariff.terms.demand_minimum_share,
        demand_excess=[
            DemandExcessBand(above_share_of_contract=each.above_share, price_factor=each.price_factor)
            for each in tariff.terms.demand_excess
        ],
        fixed_per_month=tariff.terms.fixed_per_month,
        tax_percent=tariff.terms.tax_percent,
    )


def _stretches(curve: PriceCurve) -> Sequence[PriceStretch]:
    return [
        PriceStretch(
            from_=to_datetime(from_us),
            to=to_datetime(to_us),
            period=curve.names[period],
            price_per_kwh=_known(price),
            levy_per_kwh=levy,
            feed_in_per_kwh=_known(feed_in),
        )
        for from_us, to_us, period, price, levy, feed_in in zip(
            curve.from_us.tolist(),
            curve.to_us.tolist(),
            curve.period.tolist(),
            curve.price_per_kwh.tolist(),
            curve.levy_per_kwh.tolist(),
            curve.feed_in_per_kwh.tolist(),
            strict=True,
        )
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
