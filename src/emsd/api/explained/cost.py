"""Cost explained: which energy fell into which rate, at which price and by which tariff; and the bill of each month."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from emsd.api.dependencies import Configuration
from emsd.api.explained.bill import BesideEnergy, bill_part, bill_rules
from emsd.api.explained.form import (
    MOST_PARTS,
    Explanation,
    Part,
    Rule,
    Source,
    added,
    energy_path,
    first_parts,
    judged,
    times,
)
from emsd.energy.local_windows import LocalWindow, local_windows
from emsd.readings import instant_us, to_datetime
from emsd.store.cost import CostBasis, WindowCost, read_costs, read_month_costs, read_total_cost
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool, Session
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeKind, ScopeMeters, meters_of_scope
from emsd.store.tariff import TariffVersion, read_prices, read_tariffs

__all__ = ["explain_cost"]

_BY_QUARTERS = Rule(
    name="quarter hours",
    rule="a quarter hour goes by the price at its begin; one in which the price changes goes minute by minute",
)


@dataclass(frozen=True, slots=True)
class _Rate:
    """What a kilowatt-hour costs in one or more stretches of time; None: there is no price."""

    period: str | None
    price: float | None
    levy: float
    feed_in: float | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The energy of a time in which nothing of the price changes."""

    rate: _Rate
    found: WindowCost


async def explain_cost(
    pool: Pool, configuration: Configuration, scope: ScopeKind, key: str | None, from_: datetime, to: datetime
) -> Explanation:
    """Return what the energy of a scope cost in [from_, to), full quarter hours, rate by rate.

    Of the site over whole months it is the bill; else the cost of the energy.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    plant = configuration.plant
    from_, to = from_.astimezone(UTC), to.astimezone(UTC)
    meters = meters_of_scope(plant, scope, key)
    basis: CostBasis = "grid_import" if scope == "site" else "consumption"
    whole = LocalWindow(from_, to, from_begin=True, complete=True)
    months = local_windows(from_, to, "month", plant.zone)
    async with snapshot(pool, "explain the cost") as connection:
        tariffs = await read_tariffs(connection, plant.site.site_id)
        stretches = await _stretches(connection, plant, meters, basis, months)
        if scope == "site":
            found = await read_total_cost(connection, plant, meters, whole)
            bills = [] if found.bill is None else await read_month_costs(connection, plant, meters, months)
        else:
            (found,), bills = await read_costs(connection, plant, meters, basis, [whole]), []
    used = [each for each in tariffs if each.valid_from < to and (each.valid_to is None or each.valid_to > from_)]
    currency = tariffs[-1].currency if tariffs else ""
    if bills:
        parts = [_bill(each, stretches, currency) for each in bills]
        figure, recomputed = (None if found.bill is None else found.bill.bill.total), _strict(parts)
    else:
        beside = _beside(stretches, currency)
        parts = _energy_parts(stretches, currency)
        parts += [each.model_copy(update={"sign": ""}) for each in (*beside.levies, *beside.credit)]
        figure, recomputed = found.cost.cost, added(parts)
    agrees, remark = judged(figure, recomputed, currency, _reasons(found, tariffs, parts))
    return Explanation(
        kind="cost",
        of=f"{'bill' if bills else 'cost of the energy'} of {scope.replace('_', ' ')} {key or ''}".rstrip(),
        field="/api/v1/cost rows.bill.total" if bills else "/api/v1/cost rows.energy_cost",
        from_=from_,
        to=to,
        time_zone=plant.site.time_zone,
        figure=figure,
        unit=currency,
        recomputed=recomputed,
        agrees=agrees,
        remark=remark,
        parts=parts,
        rules=[_BY_QUARTERS, _basis_rule(basis), *bill_rules(bills, currency)],
        sources=[*map(_tariff_source, used), *_meter_sources(plant, meters, basis, from_, to)],
    )


async def _stretches(
    connection: Session, plant: PlantView, meters: ScopeMeters, basis: CostBasis, months: Sequence[LocalWindow]
) -> list[_Stretch]:
    """Return the energy of every time in which neither price nor month changes, in order."""
    from_, to = months[0].from_, months[-1].to
    curve = await read_prices(connection, plant.site.site_id, from_, to)
    edges_us = np.unique(
        [
            *curve.from_us.tolist(),
            *curve.to_us.tolist(),
            *(instant_us(bound) for m in months for bound in (m.from_, m.to)),
        ]
    )
    edges_us = edges_us[(edges_us >= instant_us(from_)) & (edges_us <= instant_us(to))]
    edges = [to_datetime(edge) for edge in edges_us.tolist()]
    windows = [LocalWindow(begin, end, from_begin=True, complete=True) for begin, end in pairwise(edges)]
    stretches = []
    for place, found in zip(
        curve.places(edges_us[:-1]).tolist(), await read_costs(connection, plant, meters, basis, windows), strict=True
    ):
        rate = _Rate(None, None, 0.0, None)
        if place >= 0:
            price, feed_in = float(curve.price_per_kwh[place]), float(curve.feed_in_per_kwh[place])
            rate = _Rate(
                period=curve.names[int(curve.period[place])],
                price=None if np.isnan(price) else price,
                levy=float(curve.levy_per_kwh[place]),
                feed_in=None if np.isnan(feed_in) else feed_in,
            )
        stretches.append(_Stretch(rate, found))
    return stretches


def _bill(month: WindowCost, stretches: Sequence[_Stretch], currency: str) -> Part:
    inside = [each for each in stretches if month.window.from_ <= each.found.window.from_ < month.window.to]
    return bill_part(month, _energy_parts(inside, currency), _beside(inside, currency), currency)


def _energy_parts(stretches: Sequence[_Stretch], currency: str) -> list[Part]:
    """Return a part for each rate with the times at which it held; energy without a price stands beside.

    Prices that change by the hour make more rates than anybody reads; they are put together by period.
    """
    known = [each for each in stretches if each.found.cost.drawn_kwh is not None]
    rates = {(each.rate.period, each.rate.price) for each in known}
    by_rate: dict[tuple[object, ...], list[_Stretch]] = {}
    for each in known:
        rate = (each.rate.period, each.rate.price if len(rates) <= MOST_PARTS else each.rate.price is None)
        by_rate.setdefault(rate, []).append(each)
    return [_rate_part(of_rate, currency) for of_rate in by_rate.values()]


def _rate_part(stretches: Sequence[_Stretch], currency: str) -> Part:
    """Return what stretches of one period cost, which all have a price or all have none."""
    parts = [_stretch_part(each, currency) for each in stretches]
    period, prices = stretches[0].rate.period, {each.rate.price for each in stretches}
    kwh = math.fsum(each.found.cost.drawn_kwh or 0.0 for each in stretches)
    is_priced = None not in prices
    figure = added(parts) if is_priced else None
    price = prices.pop() if len(prices) == 1 else None
    how = times((kwh, "kWh"), (price, f"{currency}/kWh"))
    if is_priced and price is None:
        how = f"{times((kwh, 'kWh'))}, each at the price of its time"
    return Part(
        what=f"energy, {period}" if is_priced else "energy without a price",
        figure=figure,
        unit=currency,
        sign="+" if is_priced else "",
        how=how,
        facts={"energy_kwh": kwh, "price_per_kwh": price},
        remark="" if is_priced else "no tariff says what it costs; it is not in the figure",
        parts=first_parts(parts),
        part_count=len(parts),
    )


def _stretch_part(stretch: _Stretch, currency: str) -> Part:
    cost, rate = stretch.found.cost, stretch.rate
    return Part(
        what=rate.period or "without a price",
        figure=None if cost.drawn_kwh is None or rate.price is None else cost.drawn_kwh * rate.price,
        unit=currency,
        how=times((cost.drawn_kwh, "kWh"), (rate.price, f"{currency}/kWh")),
        from_=stretch.found.window.from_,
        to=stretch.found.window.to,
        facts={"energy_kwh": cost.drawn_kwh, "coverage": cost.coverage, "estimated_share": cost.estimated_share},
    )


def _beside(stretches: Sequence[_Stretch], currency: str) -> BesideEnergy:
    """Return levies and feed-in credit, which are no part of the cost of the energy, but of a bill."""
    levied: dict[float, list[float]] = {}
    paid: dict[float, list[float]] = {}
    for each in stretches:
        cost = each.found.cost
        if each.rate.levy and each.rate.price is not None and cost.drawn_kwh is not None:
            levied.setdefault(each.rate.levy, []).append(cost.drawn_kwh)
        if each.rate.feed_in is not None and cost.given_kwh is not None:
            paid.setdefault(each.rate.feed_in, []).append(cost.given_kwh)
    return BesideEnergy(
        levies=[_flat("levies", math.fsum(kwh), price, currency) for price, kwh in levied.items()],
        credit=[_flat("feed-in credit", math.fsum(kwh), price, currency) for price, kwh in paid.items()],
    )


def _flat(what: str, kwh: float, price: float, currency: str) -> Part:
    return Part(
        what=what,
        figure=kwh * price,
        unit=currency,
        how=times((kwh, "kWh"), (price, f"{currency}/kWh")),
        facts={"energy_kwh": kwh, "price_per_kwh": price},
    )


def _reasons(found: WindowCost, tariffs: Sequence[TariffVersion], parts: Sequence[Part]) -> list[str]:
    reasons = []
    if not tariffs:
        reasons.append("the plant describes no tariff, so nothing has a price; docs/tariff.md shows how")
    elif found.cost.drawn_kwh is None:
        reasons.append("no energy of this time is known")
    elif found.cost.priced_share is not None and not np.isclose(found.cost.priced_share, 1.0, atol=1e-9):
        reasons.append(f"{100 * (1 - found.cost.priced_share):.3g} % of the energy has no price")
    if found.cost.drawn_kwh is not None and found.cost.coverage < 1 - 1e-6:
        reasons.append(f"{100 * found.cost.coverage:.4g} % of the time is measured")
    return reasons + [f"{each.what}: {each.remark}" for each in parts if each.figure is None and each.remark]


def _basis_rule(basis: CostBasis) -> Rule:
    rule = "what the site draws from the grid is priced"
    if basis == "consumption":
        rule = "what the scope consumes is priced as if all of it came from the grid: import - export + own PV"
    return Rule(name="basis", rule=rule)


def _tariff_source(tariff: TariffVersion) -> Source:
    facts = {"source": tariff.source, "currency": tariff.currency, "valid_from": tariff.valid_from.isoformat()}
    facts["valid_to"] = "open" if tariff.valid_to is None else tariff.valid_to.isoformat()
    return Source(kind="tariff", name=f"{tariff.key}, {tariff.name}", facts=facts)


def _meter_sources(
    plant: PlantView, meters: ScopeMeters, basis: CostBasis, from_: datetime, to: datetime
) -> list[Source]:
    wanted = dict.fromkeys((*meters.top, *(meters.generation if basis == "consumption" else ())))
    return [
        Source(
            kind="meter",
            name=plant.meters[each].key,
            facts={"role": "top" if each in meters.top else "generation"},
            explain=energy_path(plant.meters[each].key, instant_us(from_), instant_us(to)),
        )
        for each in wanted
    ]


def _strict(parts: Sequence[Part]) -> float | None:
    return None if any(each.figure is None for each in parts if each.sign) else added(parts)
