"""Cost of a scope's energy: its intervals and the prices of their time, read and put together when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import numpy as np

from emsd.energy.bill import Bill, bill, summed_bill
from emsd.energy.cost import EnergyCost, PricedEnergy, cut_buckets, energy_costs
from emsd.energy.demand import Demand
from emsd.energy.local_windows import LocalWindow, local_windows
from emsd.energy.power_factor import power_factor
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, BoolArray
from emsd.readings import instant_us
from emsd.store.contract_demand import ContractDemand, read_contract_demands, read_period_min
from emsd.store.demand import read_demand_blocks
from emsd.store.plant_view import PlantView
from emsd.store.pool import Session
from emsd.store.reactive import ReactiveEnergy, read_reactive
from emsd.store.scopes import ScopeMeters
from emsd.store.summed_energy import SummedEnergy, read_summed, read_summed_minutes
from emsd.store.tariff import (
    TariffVersion,
    read_prices,
    read_tariffs,
)

__all__ = [
    "CostBasis",
    "MonthBill",
    "WindowCost",
    "contract_at",
    "read_costs",
    "read_month_costs",
    "read_total_cost",
    "tariff_at",
]

CostBasis: TypeAlias = Literal["grid_import", "consumption"]
"""What is priced: what the site draws from the grid, or what a part of it uses, as if all came from the grid."""

_MINUTES: Final = 15

_ANY_SILENT: Final = """
SELECT NOT coalesce(bool_and(EXISTS (
    SELECT FROM interval_15m WHERE interval_15m.meter_id = wanted.meter_id AND bucket >= $2 AND bucket < $3
        AND energy_export_kwh IS NOT NULL)), true)
FROM unnest($1::integer[]) AS wanted (meter_id)"""


@dataclass(frozen=True, slots=True)
class MonthBill:
    """A month's bill with what it was made from.

    tariff      that with which the month began; None in a sum of several months
    demand      highest trusted block, None when there is none
    untrusted_blocks  settlement periods that are not covered well enough; a higher one may be among them
    reactive    None when it is not known, or no power factor is asked for
    """

    bill: Bill
    tariff: TariffVersion | None
    demand: Demand | None = None
    untrusted_blocks: int = 0
    contract_demand_kw: float | None = None
    reactive: ReactiveEnergy | None = None


@dataclass(frozen=True, slots=True)
class WindowCost:
    """Cost of one window; bill is None where there is none to be had."""

    window: LocalWindow
    cost: EnergyCost
    bill: MonthBill | None = None


async def read_costs(
    connection: Session, plant: PlantView, meters: ScopeMeters, basis: CostBasis, windows: Sequence[LocalWindow]
) -> list[WindowCost]:
    """Return the cost of a scope's energy in windows that follow each other, full quarter hours.

    A quarter hour in which the price changes is priced minute by minute; where its minutes are no longer kept, its
    energy is spread over it evenly, and counts as estimated.
    """
    edges = [windows[0].from_, *(window.to for window in windows)]
    window_us = np.array([instant_us(edge) for edge in edges], dtype=np.int64)
    curve = await read_prices(connection, plant.site.site_id, edges[0], edges[-1])
    edges_us = np.arange(window_us[0], window_us[-1] + 1, BUCKET_15M_US, dtype=np.int64)
    top = await read_summed(connection, meters.top, "15m", edges_us)
    generation = None
    if basis == "consumption":
        # By night an inverter sleeps and says nothing; only one that never says anything leaves the rest unknown.
        silent = await connection.fetchval(_ANY_SILENT, list(meters.generation), edges[0], edges[-1])
        generation = np.nan if silent else await read_summed(connection, meters.generation, "15m", edges_us)
    energy = _priced(top, generation, BUCKET_15M_US)
    cut = cut_buckets(curve, edges_us)
    if cut.any():
        energy = await _by_minutes(connection, energy, meters, generation, cut)
    costs = energy_costs(energy, curve, window_us)
    return [WindowCost(window, cost) for window, cost in zip(windows, costs, strict=True)]


async def read_month_costs(
    connection: Session, plant: PlantView, meters: ScopeMeters, windows: Sequence[LocalWindow]
) -> list[WindowCost]:
    """Return the cost of the site's energy in local months, each with its bill.

    A month that does not begin in the range, or without a tariff, has none; that of the running month is what it comes
    to so far. What is charged by the month goes by the tariff with which it begins.
    """
    site_id = plant.site.site_id
    tariffs = await read_tariffs(connection, site_id)
    contracts = await read_contract_demands(connection, site_id)
    period_min = await read_period_min(connection, site_id)
    found = []
    for month in await read_costs(connection, plant, meters, "grid_import", windows):
        window, cost = month.window, month.cost
        tariff = tariff_at(tariffs, window.from_)
        if tariff is None or not window.from_begin:
            found.append(month)
            continue
        begin_us, end_us = instant_us(window.from_), instant_us(window.to)
        blocks = await read_demand_blocks(
            connection, meters.top, begin_us, end_us, period_min=period_min, resting=meters.resting
        )
        demand = blocks.highest(begin_us, end_us)
        untrusted = int(np.isnan(blocks.trusted_kw).sum())
        asked = tariff.terms.power_factor_percent is not None and cost.drawn_kwh is not None
        reactive = await read_reactive(connection, meters.top, window.from_, window.to) if asked else None
        contract_kw = contract_at(contracts, window.from_)
        made = bill(
            cost,
            tariff.terms,
            maximum_demand_kw=None if demand is None else demand.demand_kw,
            contract_demand_kw=contract_kw,
            power_factor=None if reactive is None else power_factor(cost.drawn_kwh or 0.0, reactive.kvarh),
        )
        found.append(WindowCost(window, cost, MonthBill(made, tariff, demand, untrusted, contract_kw, reactive)))
    return found


async def read_total_cost(
    connection: Session, plant: PlantView, meters: ScopeMeters, window: LocalWindow
) -> WindowCost:
    """Return the cost of the site's energy in one window, with the sum of the bills of its months.

    There is no bill unless every month begins in the window and has one.
    """
    (whole,) = await read_costs(connection, plant, meters, "grid_import", [window])
    months = await read_month_costs(
        connection, plant, meters, local_windows(window.from_, window.to, "month", plant.zone)
    )
    bills = [month.bill.bill for month in months if month.bill is not None]
    summed = summed_bill(bills) if len(bills) == len(months) else None
    return WindowCost(window, whole.cost, None if summed is None else MonthBill(summed, None))


def tariff_at(tariffs: Sequence[TariffVersion], instant: datetime) -> TariffVersion | None:
    """Return the version that is valid at an instant."""
    return next((each for each in tariffs if each.is_valid_at(instant)), None)


def contract_at(contracts: Sequence[ContractDemand], instant: datetime) -> float | None:
    """Return the demand that is agreed at an instant [kW]."""
    begun = [each for each in contracts if each.valid_from is None or each.valid_from <= instant]
    return begun[-1].contract_demand_kw if begun else None


def _priced(top: SummedEnergy, generation: SummedEnergy | float | None, width_us: int) -> PricedEnergy:
    """Return what is priced; `generation` is None for the grid's import, NaN where it is not known."""
    if generation is None:
        drawn, given = top.import_kwh, top.export_kwh
    else:
        made = generation if isinstance(generation, float) else np.nan_to_num(generation.export_kwh)
        drawn, given = top.net_kwh + made, np.full(top.begin_us.size, np.nan)
    width = np.full(top.begin_us.size, width_us)
    return PricedEnergy(top.begin_us, width, drawn, given, top.estimated_kwh, top.coverage)


async def _by_minutes(
    connection: Session,
    energy: PricedEnergy,
    meters: ScopeMeters,
    generation: SummedEnergy | float | None,
    cut: BoolArray,
) -> PricedEnergy:
    """Return the energy with the quarter hours that `cut` marks taken apart into minutes."""
    minute_us = (energy.begin_us[cut][:, None] + np.arange(_MINUTES) * BUCKET_1M_US).ravel()
    top = await read_summed_minutes(connection, meters.top, minute_us)
    if isinstance(generation, SummedEnergy):
        generation = await read_summed_minutes(connection, meters.generation, minute_us)
    minutes = _priced(top, generation, BUCKET_1M_US)
    quarters = np.repeat(np.flatnonzero(cut), _MINUTES)
    for own, whole in ((minutes.drawn_kwh, energy.drawn_kwh), (minutes.given_kwh, energy.given_kwh)):
        gone = np.repeat(np.isnan(own.reshape(-1, _MINUTES)).all(axis=1), _MINUTES) & np.isfinite(whole[quarters])
        own[gone] = whole[quarters][gone] / _MINUTES
        minutes.estimated_kwh[gone] += own[gone]
        minutes.coverage[gone] = energy.coverage[quarters][gone]
    kept = ~cut
    return PricedEnergy(
        *(
            np.concatenate((getattr(energy, name)[kept], getattr(minutes, name)))
            for name in ("begin_us", "width_us", "drawn_kwh", "given_kwh", "estimated_kwh", "coverage")
        )
    )
