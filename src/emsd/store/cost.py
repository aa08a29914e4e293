"""Cost of a scope's energy: its intervals and the prices of their time, read and put together when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import asyncpg
import numpy as np

from emsd.energy.bill import Bill, bill, summed_bill
from emsd.energy.cost import EnergyCost, PricedEnergy, cut_buckets, energy_costs
from emsd.energy.demand import Demand
from emsd.energy.local_windows import LocalWindow, local_windows
from emsd.energy.power_factor import power_factor
from emsd.energy.series import BUCKET_1M_US, BUCKET_15M_US, BoolArray, FloatArray, TimeArray
from emsd.readings import instant_us, to_datetime
from emsd.store.demand import read_demand_blocks
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.plant_view import PlantView
from emsd.store.pool import Session
from emsd.store.reactive import ReactiveEnergy, read_reactive
from emsd.store.scopes import ScopeMeters
from emsd.store.tariff import (
    ContractDemand,
    TariffVersion,
    read_contract_demands,
    read_period_min,
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

_COLUMNS: Final[Mapping[str, float]] = {
    "energy_import_kwh": np.nan,
    "energy_export_kwh": np.nan,
    "estimated_import_kwh": 0.0,
    "estimated_export_kwh": 0.0,
    "coverage": 0.0,
}
"""Columns of an interval in the order of EnergySeries, and what they are where no row is."""
_READ_MINUTES: Final = f"""
SELECT meter_id, array_agg((extract(epoch FROM bucket) * 1000000)::bigint) AS bucket_us,
    {", ".join(f"array_agg({name}::float8) AS {name}" for name in _COLUMNS)}
FROM interval_1m WHERE meter_id = ANY($1::integer[]) AND bucket = ANY($2::timestamptz[]) GROUP BY meter_id
"""  # noqa: S608 - only constants of this module are put together


@dataclass(frozen=True, slots=True)
class MonthBill:
    """A month's bill with what it was made from.

    tariff      that with which the month began; None in a sum of several months
    demand      highest trusted block, None when there is none
    reactive    None when it is not known, or no power factor is asked for
    """

    bill: Bill
    tariff: TariffVersion | None
    demand: Demand | None = None
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
    found = await read_energy(connection, _wanted(meters, basis), "15m", edges_us)
    energy = _priced(found, meters, basis, edges_us[:-1], BUCKET_15M_US)
    cut = cut_buckets(curve, edges_us)
    if cut.any():
        energy = await _by_minutes(connection, energy, meters, basis, cut)
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
        blocks = await read_demand_blocks(connection, meters.top, begin_us, end_us, period_min=period_min)
        demand = blocks.highest(begin_us, end_us)
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
        found.append(WindowCost(window, cost, MonthBill(made, tariff, demand, contract_kw, reactive)))
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


def _wanted(meters: ScopeMeters, basis: CostBasis) -> list[int]:
    return [*meters.top, *(meters.generation if basis == "consumption" else ())]


def _priced(
    found: Mapping[int, EnergySeries], meters: ScopeMeters, basis: CostBasis, begin_us: TimeArray, width_us: int
) -> PricedEnergy:
    top = [found[meter_id] for meter_id in meters.top]
    if not top:
        unknown = np.full(begin_us.size, np.nan)
        nothing = np.zeros(begin_us.size)
        return PricedEnergy(begin_us, np.full(begin_us.size, width_us), unknown, unknown, nothing, nothing)
    if basis == "grid_import":
        drawn, given = _known_sum([each.import_kwh for each in top]), _known_sum([each.export_kwh for each in top])
    else:
        # By night an inverter sleeps and says nothing; only one that never says anything leaves the rest unknown.
        yields = [found[meter_id].export_kwh for meter_id in meters.generation]
        silent = any(not np.isfinite(each).any() for each in yields)
        generated = np.full(begin_us.size, np.nan) if silent else _known_sum([np.zeros(begin_us.size), *yields])
        drawn = _known_sum([each.net_kwh for each in top]) + generated
        given = np.full(begin_us.size, np.nan)
    estimated = np.sum([each.estimated_import_kwh + each.estimated_export_kwh for each in top], axis=0)
    coverage = np.mean([each.coverage for each in top], axis=0)
    return PricedEnergy(begin_us, np.full(begin_us.size, width_us), drawn, given, estimated, coverage)


def _known_sum(columns: Sequence[FloatArray]) -> FloatArray:
    """Sum of what is known; NaN where nothing is."""
    stacked = np.stack(columns)
    return np.where(np.isnan(stacked).all(axis=0), np.nan, np.nansum(stacked, axis=0))


async def _by_minutes(
    connection: Session, energy: PricedEnergy, meters: ScopeMeters, basis: CostBasis, cut: BoolArray
) -> PricedEnergy:
    """Return the energy with the quarter hours that `cut` marks taken apart into minutes."""
    minute_us = (energy.begin_us[cut][:, None] + np.arange(_MINUTES) * BUCKET_1M_US).ravel()
    found = await _read_minutes(connection, _wanted(meters, basis), minute_us)
    minutes = _priced(found, meters, basis, minute_us, BUCKET_1M_US)
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


async def _read_minutes(connection: Session, meter_ids: Sequence[int], minute_us: TimeArray) -> dict[int, EnergySeries]:
    rows = await connection.fetch(_READ_MINUTES, meter_ids, [to_datetime(each) for each in minute_us.tolist()])
    by_meter = {row["meter_id"]: row for row in rows}
    return {meter_id: _minute_series(by_meter.get(meter_id), minute_us) for meter_id in meter_ids}


def _minute_series(row: asyncpg.Record | None, minute_us: TimeArray) -> EnergySeries:
    columns = {name: np.full(minute_us.size, absent) for name, absent in _COLUMNS.items()}
    if row is not None:
        places = np.searchsorted(minute_us, np.array(row["bucket_us"], dtype=np.int64))
        for name, column in columns.items():
            column[places] = np.array(row[name], dtype=np.float64)
    return EnergySeries(minute_us, *columns.values())
